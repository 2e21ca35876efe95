//! One binary of integration tests, in the order of the floors they stand on.

mod support;

mod config;
mod estimate;
mod reference;
mod parity;
mod wgpu;
mod smollm2;
mod tiny;
mod cli;
mod server;

mod tidy;
mod faults;
mod walkthrough;
