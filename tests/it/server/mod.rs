//! The server over real sockets: its routes, its workers' faults, who may ask it.

mod answers;
mod api;
mod bad_models;
mod bodies;
mod canary;
mod crashes;
mod endings;
mod faults;
mod gpu;
mod hazards;
mod ladders;
mod ledger;
mod load;
mod loads;
mod machine;
mod orders;
mod paths;
mod readers;
mod registry;
mod routes;
mod schema;
mod security;
mod staging;
mod v1;
mod validate;
mod wire;
