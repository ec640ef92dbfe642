-- Level 3.

-- A transaction that appends to the change log inserts its token, so that its outcome can be found out. `rev` is the
-- head as the transaction saw it before it appended.
CREATE TABLE commit_tokens (
  token bytea PRIMARY KEY CHECK (length(token) = 16),
  rev   bigint NOT NULL,
  at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX commit_tokens_by_revision ON commit_tokens (rev);
