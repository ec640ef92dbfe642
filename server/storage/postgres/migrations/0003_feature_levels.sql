-- Level 3.

-- Both at once, in the order in which a renewal takes them.
LOCK TABLE replica_lease, settings IN ACCESS EXCLUSIVE MODE;

ALTER TABLE settings ADD COLUMN level integer NOT NULL DEFAULT 2;

-- The defaults are what servers of release 0 read; those write neither column.
ALTER TABLE replica_lease
  ADD COLUMN newest_level integer NOT NULL DEFAULT 2,
  ADD COLUMN oldest_level integer NOT NULL DEFAULT 1;

-- A server that can't read the installation's level must not get a lease, however it comes back. The lock keeps the
-- level from rising before this row is seen by whoever raises it.
CREATE FUNCTION refuse_replica_of_another_level() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  installed integer;
BEGIN
  SELECT s.level INTO STRICT installed FROM settings AS s FOR SHARE;
  IF installed NOT BETWEEN NEW.oldest_level AND NEW.newest_level THEN
    RAISE EXCEPTION 'the database is at feature level %, this server reads % to %',
      installed, NEW.oldest_level, NEW.newest_level USING ERRCODE = 'object_not_in_prerequisite_state';
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER replicas_read_the_level BEFORE INSERT ON replica_lease
  FOR EACH ROW EXECUTE FUNCTION refuse_replica_of_another_level();

-- A replica that came after it was looked for is contention: whoever raises the level looks again.
CREATE FUNCTION refuse_unreadable_level() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.level < OLD.level THEN
    RAISE EXCEPTION 'a feature level never falls';
  END IF;
  IF NEW.level > OLD.level AND EXISTS (SELECT 1 FROM replica_lease AS r WHERE r.newest_level < NEW.level) THEN
    RAISE EXCEPTION 'a replica can not read feature level %', NEW.level USING ERRCODE = 'serialization_failure';
  END IF;
  -- From here on no older server starts, whether or not what it used is gone already.
  INSERT INTO schema_migrations (version) SELECT e.version FROM schema_expansions AS e WHERE e.level <= NEW.level
    ON CONFLICT DO NOTHING;
  RETURN NEW;
END
$$;
CREATE TRIGGER levels_are_readable BEFORE UPDATE OF level ON settings
  FOR EACH ROW EXECUTE FUNCTION refuse_unreadable_level();
