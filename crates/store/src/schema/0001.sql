-- schema.create
-- Amounts are nano-coins, times milliseconds since 1970, identifiers their bytes.

CREATE TABLE wallets (
  address BLOB PRIMARY KEY CHECK (length(address) = 33),
  public_key BLOB NOT NULL CHECK (length(public_key) = 32),
  created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE nonces (
  nonce BLOB PRIMARY KEY CHECK (length(nonce) = 16),
  expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX nonces_by_end ON nonces (expires_at);

CREATE TABLE api_keys (
  id BLOB PRIMARY KEY CHECK (length(id) = 8),
  wallet BLOB NOT NULL REFERENCES wallets (address),
  secret_sha256 BLOB NOT NULL UNIQUE CHECK (length(secret_sha256) = 32),
  name TEXT NOT NULL CHECK (octet_length(name) <= 200),
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  spend_cap INTEGER CHECK (spend_cap >= 0),
  spent INTEGER NOT NULL DEFAULT 0 CHECK (spent >= 0),
  reserved INTEGER NOT NULL DEFAULT 0 CHECK (reserved >= 0),
  last_used_at INTEGER,
  revoked_at INTEGER,
  CHECK (spent + reserved <= spend_cap)
) STRICT, WITHOUT ROWID;
CREATE INDEX api_keys_by_wallet ON api_keys (wallet, created_at);

-- kind: 1 wallet, 2 payee, 3 revenue, 4 clearing, 5 development credit.
-- Only the last one, the boundary, may owe more than it has.
CREATE TABLE accounts (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  kind INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 5),
  owner BLOB CHECK (length(owner) = 33),
  debits_pending INTEGER NOT NULL CHECK (debits_pending >= 0),
  debits_posted INTEGER NOT NULL CHECK (debits_posted >= 0),
  credits_pending INTEGER NOT NULL CHECK (credits_pending >= 0),
  credits_posted INTEGER NOT NULL CHECK (credits_posted >= 0),
  created_at INTEGER NOT NULL,
  CHECK ((owner IS NOT NULL) = (kind IN (1, 2))),
  CHECK (kind = 5 OR debits_pending + debits_posted <= credits_posted)
) STRICT, WITHOUT ROWID;

-- kind: 1 posted, 2 pending, 3 post, 4 void, 5 expire.
CREATE TABLE transfers (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  debit BLOB NOT NULL REFERENCES accounts (id),
  credit BLOB NOT NULL REFERENCES accounts (id),
  amount INTEGER NOT NULL CHECK (amount >= 0),
  kind INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 5),
  pending BLOB REFERENCES transfers (id),
  expires_at INTEGER,
  at INTEGER NOT NULL,
  CHECK (debit <> credit),
  CHECK ((kind = 2) = (expires_at IS NOT NULL)),
  CHECK ((kind >= 3) = (pending IS NOT NULL))
) STRICT, WITHOUT ROWID;
-- A pending transfer ends once.
CREATE UNIQUE INDEX transfers_by_pending ON transfers (pending) WHERE pending IS NOT NULL;
CREATE TRIGGER transfers_are_immutable BEFORE UPDATE ON transfers
BEGIN SELECT raise(ABORT, 'a transfer never changes'); END;
CREATE TRIGGER transfers_are_kept BEFORE DELETE ON transfers
BEGIN SELECT raise(ABORT, 'a transfer is never deleted'); END;

-- state: 0 open, 1 completed, 2 client gone, 3 worker lost, 4 failed, 5 refused, 6 expired.
CREATE TABLE requests (
  seq INTEGER PRIMARY KEY,
  id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
  wallet BLOB NOT NULL CHECK (length(wallet) = 33),
  key BLOB REFERENCES api_keys (id),
  model TEXT NOT NULL,
  price_prompt INTEGER NOT NULL CHECK (price_prompt >= 0),
  price_cached INTEGER NOT NULL CHECK (price_cached >= 0),
  price_completion INTEGER NOT NULL CHECK (price_completion >= 0),
  reserved INTEGER NOT NULL CHECK (reserved >= 0),
  max_prompt INTEGER NOT NULL CHECK (max_prompt >= 0),
  max_completion INTEGER NOT NULL CHECK (max_completion >= 0),
  streamed INTEGER NOT NULL CHECK (streamed IN (0, 1)),
  commission_bp INTEGER NOT NULL CHECK (commission_bp BETWEEN 0 AND 65535),
  pay_blind BLOB NOT NULL CHECK (length(pay_blind) = 32),
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  worker BLOB CHECK (length(worker) = 32),
  payee BLOB CHECK (length(payee) = 33),
  attempt INTEGER CHECK (attempt >= 0),
  state INTEGER NOT NULL DEFAULT 0 CHECK (state BETWEEN 0 AND 6),
  prompt_tokens INTEGER NOT NULL DEFAULT 0 CHECK (prompt_tokens >= 0),
  cached_tokens INTEGER NOT NULL DEFAULT 0 CHECK (cached_tokens >= 0),
  completion_tokens INTEGER NOT NULL DEFAULT 0 CHECK (completion_tokens >= 0),
  reasoning_tokens INTEGER NOT NULL DEFAULT 0 CHECK (reasoning_tokens >= 0),
  charge INTEGER NOT NULL DEFAULT 0 CHECK (charge BETWEEN 0 AND reserved),
  worker_share INTEGER NOT NULL DEFAULT 0 CHECK (worker_share BETWEEN 0 AND charge),
  settled_at INTEGER,
  CHECK ((state = 0) = (settled_at IS NULL)),
  CHECK (charge = 0 OR state BETWEEN 1 AND 5)
) STRICT;
CREATE INDEX requests_by_wallet ON requests (wallet, created_at, id);
CREATE INDEX requests_open ON requests (expires_at) WHERE state = 0;

-- One receipt for each request: the first that was verified.
CREATE TABLE receipts (
  request INTEGER PRIMARY KEY REFERENCES requests (seq),
  attempt INTEGER NOT NULL CHECK (attempt >= 0),
  core BLOB NOT NULL CHECK (length(core) <= 4096),
  signature BLOB NOT NULL CHECK (length(signature) = 64),
  salt BLOB NOT NULL CHECK (length(salt) = 32),
  worker_key BLOB NOT NULL CHECK (length(worker_key) = 32),
  late INTEGER NOT NULL CHECK (late IN (0, 1)),
  received_at INTEGER NOT NULL,
  root BLOB CHECK (length(root) = 32),
  gateway_signature BLOB CHECK (length(gateway_signature) = 64),
  gateway_key BLOB CHECK (length(gateway_key) = 32),
  proof BLOB CHECK (length(proof) <= 4096),
  CHECK (gateway_signature IS NULL
    OR (root IS NOT NULL AND gateway_key IS NOT NULL AND proof IS NOT NULL))
) STRICT;
CREATE INDEX receipts_uncountersigned ON receipts (request)
  WHERE gateway_signature IS NULL AND late = 0;
