//! The server over real sockets: its routes, its workers' faults, who may ask it.

mod bodies;
mod endings;
mod faults;
mod ledger;
mod loads;
mod registry;
mod routes;
mod security;
mod validate;
