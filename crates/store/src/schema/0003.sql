-- schema.attestation
-- The log of leases and policies: what it said once it says for ever. The gateway keeps a Merkle
-- tree over `entry` and signs its root, so a change here would show; the triggers are against
-- mistakes.
CREATE TABLE evidence (
  digest BLOB PRIMARY KEY CHECK (length(digest) = 32),
  bytes BLOB NOT NULL CHECK (length(bytes) <= 1048576),
  created_at INTEGER NOT NULL
) STRICT;

-- kind: 1 lease, 2 renewal, 3 policy. A policy rests on no evidence.
CREATE TABLE attestation_log (
  idx INTEGER PRIMARY KEY CHECK (idx >= 0),
  at INTEGER NOT NULL,
  kind INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 3),
  entry BLOB NOT NULL CHECK (length(entry) BETWEEN 1 AND 1048704),
  evidence_digest BLOB REFERENCES evidence (digest),
  CHECK ((kind = 3) = (evidence_digest IS NULL))
) STRICT;
CREATE INDEX attestation_log_by_evidence ON attestation_log (evidence_digest)
  WHERE evidence_digest IS NOT NULL;

CREATE TRIGGER attestation_log_has_no_gaps BEFORE INSERT ON attestation_log
WHEN new.idx <> (SELECT coalesce(max(idx) + 1, 0) FROM attestation_log)
BEGIN SELECT raise(ABORT, 'an entry follows the last one'); END;
CREATE TRIGGER attestation_log_is_immutable BEFORE UPDATE ON attestation_log
BEGIN SELECT raise(ABORT, 'an entry never changes'); END;
CREATE TRIGGER attestation_log_is_kept BEFORE DELETE ON attestation_log
BEGIN SELECT raise(ABORT, 'an entry is never deleted'); END;
CREATE TRIGGER evidence_is_immutable BEFORE UPDATE ON evidence
BEGIN SELECT raise(ABORT, 'evidence never changes'); END;
CREATE TRIGGER evidence_is_kept BEFORE DELETE ON evidence
BEGIN SELECT raise(ABORT, 'evidence is never deleted'); END;
