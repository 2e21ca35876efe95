//! The `preflight` command line and server.
//!
//! Reading order: `values` reads what people write and says what is wrong with it; [`cli`] takes the command; [`reports`] answers what CLI and HTTP share; [`import`] reads rows of load
//! configs. [`launcher`] starts a worker and [`worker_client`] talks to it; [`climb`] runs the steps of a
//! ladder. [`serve`] is the server's life and [`http`]
//! its routes: [`registry`] knows models, [`ask`] makes a request an attempt, [`attempts`] are what goes on, [`runner`]
//! runs them, [`ladders`] makes them rung after rung, [`ledger`] keeps them in the [`store`], [`loaded`] hands out loaded models, [`events`] tells of it all.
//!
//! It opens models through `preflight-files` only, and never computes one: a model lives in a worker process.

mod values;
mod toml_text;
pub mod settings;
pub mod cli;
pub mod reports;
pub mod import;
pub mod launcher;
pub mod log_ring;
mod kernel_log;
pub mod worker_client;
pub mod climb;
pub mod processes;
pub mod devices;
pub mod environment;
pub mod store;
mod evidence;
mod outcome;
pub mod ledger;
pub mod registry;
pub mod events;
pub mod attempts;
mod alike;
pub mod ask;
mod streams;
pub mod loaded;
pub mod runner;
pub mod ladders;
pub mod state;
mod stage;
pub mod metrics;
pub mod http;
pub mod serve;
pub mod error;
