//! One loaded model in one process, spoken to in framed messages on stdio; see `phi3::api::worker`.
//!
//! It ends with its stdin: no worker outlives whoever started it. Whatever goes wrong beyond an error that can be
//! answered (an abort, memory, a file cut while it is read) ends this process and no other.
//!
//! Each binary of this package is a list of engines handed to [`main`]; nothing else knows which there are.

mod process;
mod link;
mod template;
mod text;
mod logits;
mod plan;
mod stop;
mod batch;
mod reference;
mod session;
mod backend;
mod placed;
mod serve;

use std::process::ExitCode;

pub use backend::Backend;

/// The argument that makes a worker print the devices that it can use, as JSON, and end.
const PROBE: &str = "--probe";

/// The life of a worker with these engines, the preferred ones first.
#[must_use]
pub fn main(backends: &[Backend]) -> ExitCode {
    let argument = std::env::args().nth(1);
    if argument.as_deref() == Some(phi3::api::worker::RENDER_TEMPLATE) {
        // Its own limits end it.
        return template::main();
    }
    if let Err(error) = process::end_with_parent() {
        return process::fail(&format!("cannot be set up: {error}"));
    }
    match argument.as_deref() {
        Some(PROBE) => return backend::print_probe(backends),
        Some(other) => {
            return process::fail(&format!("knows no argument {other}; it is started by preflight"));
        }
        None => {}
    }
    let stdout = match process::harden() {
        Ok(stdout) => stdout,
        Err(error) => return process::fail(&format!("cannot be set up: {error}")),
    };
    let link = match link::Link::open(stdout) {
        Ok(link) => link,
        Err(error) => return process::fail(&format!("nobody listens: {error}")),
    };
    serve::run(backends, &link)
}
