-- Level 3.

-- A page of live keys reads no deleted ones, however many there are of them.
CREATE INDEX live_keys_newest_first ON keys (organization, created_at DESC, kid DESC) WHERE deleted_at = 'infinity';
