//! Generation: the loop over an engine that turns a prompt into ids, one at a time.
