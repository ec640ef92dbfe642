
ALTER TABLE keys ADD COLUMN allowed_cidrs text[] NOT NULL DEFAULT '{}';

CREATE TABLE settings (
  single            boolean PRIMARY KEY DEFAULT true CHECK (single),
  bound_us          bigint NOT NULL CHECK (bound_us BETWEEN 2000000 AND 60000000),
  previous_bound_us bigint NOT NULL CHECK (previous_bound_us BETWEEN 2000000 AND 60000000),
  changed_at        timestamptz NOT NULL,
  revision          bigint NOT NULL DEFAULT 0
);
INSERT INTO settings (bound_us, previous_bound_us, changed_at) VALUES (5000000, 5000000, 'epoch');

CREATE TABLE replica_lease (
  replica          text COLLATE "C" PRIMARY KEY,
  beat             bigint NOT NULL DEFAULT 0,
  applied_rev      bigint NOT NULL DEFAULT 0,
  acknowledged_rev bigint NOT NULL DEFAULT 0,
  doorbell         text NOT NULL,
  seen_at          timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 10, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0,
        autovacuum_vacuum_cost_delay = 0);

CREATE TABLE proofs (
  kid        text COLLATE "C" NOT NULL,
  version    integer NOT NULL,
  generation "char" NOT NULL,
  digest     bytea NOT NULL CHECK (length(digest) = 16),
  PRIMARY KEY (kid, version),
  FOREIGN KEY (kid, version) REFERENCES secret_versions (kid, version) ON DELETE CASCADE
);

-- Usage: no foreign keys, so that counting locks no row of a key.
CREATE TABLE key_use (
  kid          text COLLATE "C" NOT NULL,
  version      integer NOT NULL,
  last_used_at timestamptz NOT NULL,
  PRIMARY KEY (kid, version)
) WITH (fillfactor = 80);
CREATE TABLE key_use_hours (
  kid      text COLLATE "C" NOT NULL,
  version  integer NOT NULL,
  hour     timestamptz NOT NULL,
  decision smallint NOT NULL,
  count    bigint NOT NULL,
  PRIMARY KEY (kid, version, hour, decision)
) WITH (fillfactor = 80);
CREATE TABLE use_reports (
  reporter   text COLLATE "C" NOT NULL,
  request_id text COLLATE "C" NOT NULL,
  at         timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (reporter, request_id)
);
CREATE INDEX use_reports_oldest_first ON use_reports (at);

CREATE FUNCTION forget_uses_of_purged_keys() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM key_use AS u USING gone WHERE u.kid = gone.kid;
  DELETE FROM key_use_hours AS u USING gone WHERE u.kid = gone.kid;
  RETURN NULL;
END
$$;
CREATE TRIGGER purged_keys_take_their_uses_along AFTER DELETE ON keys REFERENCING OLD TABLE AS gone
  FOR EACH STATEMENT EXECUTE FUNCTION forget_uses_of_purged_keys();

ALTER TABLE change_log ADD COLUMN kid text COLLATE "C";

CREATE OR REPLACE FUNCTION append_changes(bodies bytea[], kinds text[], organizations text[], ids text[])
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  last_rev   bigint;
  last_chain bytea;
  row_at     timestamptz;
BEGIN
  SELECT h.rev, h.chain INTO STRICT last_rev, last_chain FROM log_head AS h FOR NO KEY UPDATE;
  FOR i IN 1 .. cardinality(bodies) LOOP
    last_rev := last_rev + 1;
    row_at := clock_timestamp();
    last_chain := sha256(last_chain || int8send(last_rev) || int8send((extract(epoch FROM row_at) * 1000000)::bigint)
                         || int4send(length(bodies[i])) || bodies[i]);
    INSERT INTO change_log (rev, at, body, chain, kid)
      VALUES (last_rev, row_at, bodies[i], last_chain, CASE WHEN kinds[i] = 'key' THEN ids[i] END);
    CASE kinds[i]
      WHEN 'key' THEN
        UPDATE keys AS k SET revision = last_rev WHERE k.kid = ids[i];
      WHEN 'organization' THEN
        UPDATE organizations AS o SET revision = last_rev WHERE o.id = ids[i];
      WHEN 'role' THEN
        UPDATE roles AS r SET revision = last_rev WHERE r.organization = organizations[i] AND r.id = ids[i];
      WHEN 'settings' THEN
        UPDATE settings AS s SET revision = last_rev;
    END CASE;
  END LOOP;
  UPDATE log_head AS h SET rev = last_rev, chain = last_chain;
  RETURN last_rev;
END
$$;
