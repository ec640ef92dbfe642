-- Level 3.

-- Live keys of an organization at most; 0 = the default.
ALTER TABLE organizations ADD COLUMN max_keys integer NOT NULL DEFAULT 0;

-- A request id is forgotten after a day, and when its caller has made many more: the newest of one caller, and the
-- oldest of all.
CREATE INDEX request_ids_by_age ON request_ids (created_at);
CREATE INDEX request_ids_of_callers_by_age ON request_ids (scope, created_at);
