
CREATE TABLE organizations (
  id           text COLLATE "C" PRIMARY KEY,
  display_name text NOT NULL,
  created_at   timestamptz NOT NULL,
  updated_at   timestamptz NOT NULL,
  deleted_at   timestamptz NOT NULL DEFAULT 'infinity',
  revision     bigint NOT NULL DEFAULT 0
);

CREATE TABLE roles (
  organization      text COLLATE "C" NOT NULL REFERENCES organizations (id),
  id                text COLLATE "C" NOT NULL,
  display_name      text NOT NULL,
  description       text NOT NULL,
  documentation_uri text NOT NULL,
  permissions       text[] NOT NULL,
  created_at        timestamptz NOT NULL,
  updated_at        timestamptz NOT NULL,
  revision          bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (organization, id)
);

CREATE TABLE keys (
  kid           text COLLATE "C" PRIMARY KEY,
  organization  text COLLATE "C" NOT NULL REFERENCES organizations (id),
  display_name  text NOT NULL,
  description   text NOT NULL,
  role          text COLLATE "C" NOT NULL,
  owner         text NOT NULL,
  labels        jsonb NOT NULL,
  key_hint      text NOT NULL,
  creator       text NOT NULL,
  creator_kid   text COLLATE "C" NOT NULL,
  created_at    timestamptz NOT NULL,
  updated_at    timestamptz NOT NULL,
  expires_at    timestamptz NOT NULL,
  deleted_at    timestamptz NOT NULL,
  purge_at      timestamptz NOT NULL,
  delete_reason smallint NOT NULL,
  revision      bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 80);
CREATE INDEX keys_newest_first ON keys (organization, created_at DESC, kid DESC);
CREATE INDEX keys_by_creator ON keys (creator_kid) WHERE creator_kid <> '';
CREATE INDEX keys_of_owners ON keys (organization) WHERE role = 'owner';

CREATE TABLE secret_versions (
  kid        text COLLATE "C" NOT NULL REFERENCES keys (kid) ON DELETE CASCADE,
  version    integer NOT NULL,
  hash       text,
  pepper_id  text,
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  PRIMARY KEY (kid, version)
);

CREATE TABLE request_ids (
  scope      text COLLATE "C" NOT NULL,
  request_id text COLLATE "C" NOT NULL,
  name       text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (scope, request_id)
);

CREATE TABLE key_ring_checks (
  id          text COLLATE "C" PRIMARY KEY,
  check_value bytea NOT NULL
);

-- What has happened once and for all, whatever is purged later: 'system_owner'.
CREATE TABLE milestones (
  name text COLLATE "C" PRIMARY KEY,
  at   timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE change_log (
  rev   bigint PRIMARY KEY,
  at    timestamptz NOT NULL,
  body  bytea NOT NULL,
  chain bytea NOT NULL CHECK (length(chain) = 32)
);

CREATE TABLE log_head (
  single boolean PRIMARY KEY DEFAULT true CHECK (single),
  rev    bigint NOT NULL,
  chain  bytea NOT NULL
) WITH (fillfactor = 10, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0,
        autovacuum_vacuum_cost_delay = 0);

CREATE FUNCTION refuse_change_log_rewrite() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'change_log is append-only' USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER change_log_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON change_log
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_log_rewrite();

INSERT INTO organizations (id, display_name, created_at, updated_at)
  SELECT 'system', 'System', t, t FROM (SELECT clock_timestamp() AS t) AS now;
-- Revision 0 carries a random chain: the identity of this database's history.
INSERT INTO change_log (rev, at, body, chain)
  SELECT 0, clock_timestamp(), ''::bytea,
         sha256(convert_to(string_agg(gen_random_uuid()::text, ''), 'UTF8')) FROM generate_series(1, 4);
INSERT INTO log_head (rev, chain) SELECT rev, chain FROM change_log WHERE rev = 0;

CREATE FUNCTION append_changes(bodies bytea[], kinds text[], organizations text[], ids text[]) RETURNS bigint
LANGUAGE plpgsql AS $$
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
    INSERT INTO change_log (rev, at, body, chain) VALUES (last_rev, row_at, bodies[i], last_chain);
    CASE kinds[i]
      WHEN 'key' THEN
        UPDATE keys SET revision = last_rev WHERE kid = ids[i];
      WHEN 'organization' THEN
        UPDATE organizations AS o SET revision = last_rev WHERE o.id = ids[i];
      WHEN 'role' THEN
        UPDATE roles AS r SET revision = last_rev WHERE r.organization = organizations[i] AND r.id = ids[i];
    END CASE;
  END LOOP;
  UPDATE log_head AS h SET rev = last_rev, chain = last_chain;
  RETURN last_rev;
END
$$;
