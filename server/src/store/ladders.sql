-- Version 2. Ladders with the profile that they were started with, and profiles by name.

CREATE TABLE ladders (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  model      TEXT NOT NULL,
  state      TEXT NOT NULL,
  profile    TEXT NOT NULL,
  ladder     TEXT NOT NULL,
  created_ms INTEGER NOT NULL
) STRICT;

CREATE INDEX ladders_of_a_model ON ladders (model, id);
CREATE INDEX ladders_that_go_on ON ladders (state) WHERE state IN ('queued', 'running');

CREATE TRIGGER what_was_climbed_stays BEFORE UPDATE OF id, model, profile, created_ms ON ladders
BEGIN
  SELECT RAISE(ABORT, 'what a ladder was started with never changes');
END;

CREATE TRIGGER what_was_climbed_is_kept BEFORE DELETE ON ladders
BEGIN
  SELECT RAISE(ABORT, 'ladders are never deleted');
END;

CREATE TABLE profiles (
  name       TEXT PRIMARY KEY,
  toml       TEXT NOT NULL,
  updated_ms INTEGER NOT NULL
) STRICT;
