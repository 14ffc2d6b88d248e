-- schema.idempotency
-- One row for each Idempotency-Key that is claimed. `lookup` and `request_mac` are derived from an
-- API key's secret, which is not in this file, and `answer` is sealed under a key derived so too.
-- A row without an answer stands as its request does.
CREATE TABLE idempotency_claims (
  seq INTEGER PRIMARY KEY,
  lookup BLOB NOT NULL UNIQUE CHECK (length(lookup) = 32),
  wallet BLOB NOT NULL CHECK (length(wallet) = 33),
  request_mac BLOB NOT NULL CHECK (length(request_mac) = 32),
  request BLOB NOT NULL CHECK (length(request) = 16),
  expires_at INTEGER NOT NULL,
  bytes INTEGER NOT NULL DEFAULT 0 CHECK (bytes >= 0),
  answer BLOB,
  CHECK (bytes = coalesce(octet_length(answer), 0))
) STRICT;
CREATE INDEX idempotency_claims_by_end ON idempotency_claims (expires_at);

-- What each account holds of it, and all of them together: the triggers keep both in step.
CREATE TABLE idempotency_accounts (
  wallet BLOB PRIMARY KEY CHECK (length(wallet) = 33),
  claims INTEGER NOT NULL CHECK (claims >= 0),
  bytes INTEGER NOT NULL CHECK (bytes >= 0)
) STRICT, WITHOUT ROWID;
CREATE TABLE idempotency_total (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  bytes INTEGER NOT NULL CHECK (bytes >= 0)
) STRICT;
INSERT INTO idempotency_total (id, bytes) VALUES (1, 0);

CREATE TRIGGER idempotency_claims_start_empty BEFORE INSERT ON idempotency_claims
WHEN new.bytes <> 0
BEGIN SELECT raise(ABORT, 'a claim starts without an answer'); END;
CREATE TRIGGER idempotency_claims_inserted AFTER INSERT ON idempotency_claims
BEGIN
  INSERT INTO idempotency_accounts (wallet, claims, bytes) VALUES (new.wallet, 1, 0)
    ON CONFLICT (wallet) DO UPDATE SET claims = claims + 1;
END;
CREATE TRIGGER idempotency_claims_answered AFTER UPDATE OF bytes ON idempotency_claims
BEGIN
  UPDATE idempotency_accounts SET bytes = bytes - old.bytes + new.bytes WHERE wallet = old.wallet;
  UPDATE idempotency_total SET bytes = bytes - old.bytes + new.bytes;
END;
CREATE TRIGGER idempotency_claims_deleted AFTER DELETE ON idempotency_claims
BEGIN
  UPDATE idempotency_accounts SET claims = claims - 1, bytes = bytes - old.bytes
    WHERE wallet = old.wallet;
  DELETE FROM idempotency_accounts WHERE wallet = old.wallet AND claims = 0;
  UPDATE idempotency_total SET bytes = bytes - old.bytes;
END;

-- Whether a key is still referred to, which decides whether it may be forgotten.
CREATE INDEX requests_by_key ON requests (key) WHERE key IS NOT NULL;
