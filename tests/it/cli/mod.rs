//! The command line as its contract has it: fields, defaults, exit codes, bad input.

mod bad_input;
mod contract;
mod convert;
mod directories;
mod knobs;
mod ladder;
mod link;
mod memory;
mod config;
mod profiles;
mod runs;
mod sentences;
mod templates;
mod verify;
