//! Load config: the overrides of a load.
