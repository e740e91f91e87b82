-- A run, with what its journal says in short. `head` is the checksum of its last event.
CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    workflow TEXT NOT NULL,
    deployment TEXT NOT NULL,
    host TEXT NOT NULL,
    phase TEXT NOT NULL,
    over INTEGER NOT NULL DEFAULT 0,
    started TEXT NOT NULL,
    updated TEXT NOT NULL,
    events INTEGER NOT NULL,
    head BLOB NOT NULL
) STRICT;

-- A deployment has one unfinished run at most.
CREATE UNIQUE INDEX run_open ON run (deployment) WHERE over = 0;

-- The journals. `sum` is SHA-256 over the sum before it and this row.
CREATE TABLE event (
    run INTEGER NOT NULL REFERENCES run (id),
    seq INTEGER NOT NULL,
    at TEXT NOT NULL,
    json TEXT NOT NULL,
    sum BLOB NOT NULL,
    PRIMARY KEY (run, seq)
) STRICT, WITHOUT ROWID;

-- What fedi made: the row of greatest `layer` counts; `json` is null for what it removed.
CREATE TABLE ledger (
    layer INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    deployment TEXT,
    run INTEGER NOT NULL REFERENCES run (id),
    step TEXT NOT NULL,
    at TEXT NOT NULL,
    json TEXT,
    sum BLOB NOT NULL,
    UNIQUE (run, step)
) STRICT;

CREATE INDEX ledger_id ON ledger (id, layer);
CREATE INDEX ledger_deployment ON ledger (deployment);

-- Who writes. The row stays when the lease is given back, for its fence.
CREATE TABLE lease (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    fence INTEGER NOT NULL,
    held INTEGER NOT NULL,
    user TEXT NOT NULL,
    machine TEXT NOT NULL,
    pid INTEGER NOT NULL,
    process_start TEXT NOT NULL,
    place TEXT NOT NULL,
    instance TEXT NOT NULL,
    acquired TEXT NOT NULL,
    heartbeat TEXT NOT NULL
) STRICT;

-- Addresses as 16 bytes, IPv4 in the last four, so that they sort.
CREATE TABLE address (
    network TEXT NOT NULL,
    address BLOB NOT NULL CHECK (length(address) = 16),
    host TEXT NOT NULL,
    deployment TEXT NOT NULL,
    family TEXT NOT NULL,
    gateway TEXT NOT NULL,
    quarantine_hours INTEGER NOT NULL,
    free_at INTEGER,
    PRIMARY KEY (network, address)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX address_held ON address (host, deployment, family) WHERE free_at IS NULL;

CREATE TABLE setting (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
