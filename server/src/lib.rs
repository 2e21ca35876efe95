//! The `preflight` command line and server.
//!
//! Reading order: [`cli`] takes the command; [`reports`] answers what CLI and HTTP share; [`import`]
//! reads rows of load configs; [`launcher`] starts a
//! worker and [`worker_client`] talks to it; [`serve`] is the server's life, [`http`] its routes, [`attempts`] what
//! was tried, [`runner`] who tries it, [`events`] what is told about it.
//!
//! It opens models through `preflight-files` only, and never computes one: a model lives in a worker process.

pub mod cli;
pub mod reports;
pub mod import;
pub mod launcher;
pub mod log_ring;
pub mod worker_client;
pub mod models;
pub mod events;
pub mod attempts;
pub mod runner;
pub mod state;
pub mod http;
pub mod serve;
pub mod error;
