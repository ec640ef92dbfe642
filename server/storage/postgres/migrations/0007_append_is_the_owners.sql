-- Level 3.

-- PostgreSQL lets everybody call a new function: whoever may write the tables could append rows that no server decided.
REVOKE ALL ON FUNCTION append_changes(bytea[], text[], text[], text[]) FROM PUBLIC;
