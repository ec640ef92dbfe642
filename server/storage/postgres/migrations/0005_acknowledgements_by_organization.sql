-- Level 3.

-- How far a server's clients are, by organization: those named are behind, all others at others_rev. NULL = all are at
-- acknowledged_rev, which is what servers of before write alone.
ALTER TABLE replica_lease
  ADD COLUMN others_rev bigint,
  ADD COLUMN behind_organizations text[],
  ADD COLUMN behind_revs bigint[];
