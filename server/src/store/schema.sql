-- Version 1. Attempts are append-only: the triggers refuse what the code must never do.

CREATE TABLE models (
  id          TEXT PRIMARY KEY,
  name        TEXT NOT NULL,
  source      TEXT NOT NULL,
  notes       TEXT NOT NULL DEFAULT '',
  load_config TEXT NOT NULL DEFAULT '{}',
  card        TEXT,
  created_ms  INTEGER NOT NULL,
  updated_ms  INTEGER NOT NULL
) STRICT;

CREATE TABLE attempts (
  id             INTEGER PRIMARY KEY AUTOINCREMENT,
  model          TEXT NOT NULL,
  kind           TEXT NOT NULL,
  parent         INTEGER REFERENCES attempts (id),
  fingerprint    TEXT NOT NULL,
  created_ms     INTEGER NOT NULL,
  state          TEXT NOT NULL,
  outcome        TEXT,
  record         TEXT NOT NULL,
  log            TEXT NOT NULL DEFAULT '',
  note           TEXT NOT NULL DEFAULT '',
  worker_pid     INTEGER,
  worker_started INTEGER
) STRICT;

CREATE INDEX attempts_of_a_model ON attempts (model, id);
CREATE INDEX attempts_that_go_on ON attempts (state) WHERE state NOT IN ('stopped', 'failed', 'cancelled', 'lost');
CREATE INDEX attempts_alike ON attempts (fingerprint, id);

CREATE TRIGGER attempts_are_kept BEFORE DELETE ON attempts
BEGIN
  SELECT RAISE(ABORT, 'attempts are never deleted');
END;

CREATE TRIGGER what_was_asked_stays BEFORE UPDATE OF id, model, kind, parent, fingerprint, created_ms ON attempts
BEGIN
  SELECT RAISE(ABORT, 'what an attempt was asked to do never changes');
END;

CREATE TRIGGER what_has_ended_stays
BEFORE UPDATE OF state, outcome, record, log, worker_pid, worker_started ON attempts
WHEN OLD.state IN ('stopped', 'failed', 'cancelled', 'lost')
BEGIN
  SELECT RAISE(ABORT, 'an attempt that has ended never changes');
END;

CREATE TABLE known_good (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  model       TEXT NOT NULL,
  attempt     INTEGER NOT NULL REFERENCES attempts (id),
  certificate TEXT NOT NULL,
  created_ms  INTEGER NOT NULL
) STRICT;

CREATE INDEX known_good_of_a_model ON known_good (model, id);

-- SHA-256 of files that have not changed since: by place, length and time of change.
CREATE TABLE file_hashes (
  path        TEXT PRIMARY KEY,
  bytes       INTEGER NOT NULL,
  modified_ns INTEGER NOT NULL,
  sha256      TEXT NOT NULL
) STRICT;
