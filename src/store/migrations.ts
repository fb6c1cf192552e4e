/**
 * The schema of the register, as numbered steps: step n leads from version n - 1 to version n. A step that was ever
 * released is never edited; the next change is a further step.
 */
export const migrations: readonly string[] = [
  `
  CREATE TABLE change_counter (revision INTEGER NOT NULL) STRICT;
  INSERT INTO change_counter VALUES (0);

  CREATE TABLE device (
    device_id TEXT PRIMARY KEY COLLATE NOCASE,
    node_id TEXT NOT NULL UNIQUE,
    fqdn TEXT NOT NULL UNIQUE,
    host INTEGER NOT NULL UNIQUE,
    vip4 TEXT UNIQUE,
    vip6 TEXT UNIQUE,
    groups TEXT NOT NULL,
    kind TEXT NOT NULL,
    adapter TEXT COLLATE NOCASE REFERENCES device (device_id),
    mac TEXT UNIQUE,
    auth TEXT NOT NULL,
    mode TEXT NOT NULL,
    enrolled INTEGER NOT NULL,
    disabled INTEGER NOT NULL,
    sign_key BLOB,
    handshake_key BLOB,
    certificate BLOB,
    common_key BLOB,
    pending_common_key BLOB,
    key_expires INTEGER,
    revision INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX device_adapter ON device (adapter);
  CREATE INDEX device_revision ON device (revision);

  -- A table of its own: only the AS may read it.
  CREATE TABLE credential (
    device_id TEXT PRIMARY KEY COLLATE NOCASE REFERENCES device (device_id) ON DELETE CASCADE,
    secret_hash TEXT,
    secret_expires INTEGER,
    secret_used INTEGER NOT NULL,
    keys_replaceable INTEGER NOT NULL,
    trusted_ca TEXT
  ) STRICT;

  CREATE TABLE presence (
    node_id TEXT PRIMARY KEY REFERENCES device (node_id) ON DELETE CASCADE,
    last_seen INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE removed (
    node_id TEXT PRIMARY KEY,
    device_id TEXT NOT NULL,
    host INTEGER NOT NULL,
    held_until INTEGER NOT NULL,
    revision INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX removed_revision ON removed (revision);

  CREATE TABLE service (
    name TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    node_id TEXT NOT NULL UNIQUE,
    public_key BLOB NOT NULL,
    address4 TEXT,
    address6 TEXT,
    port INTEGER NOT NULL
  ) STRICT;
  `,
  `
  CREATE TABLE audit (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    author TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL
  ) STRICT;
  `,
  'ALTER TABLE service ADD COLUMN tls_port INTEGER;',
];
