//! One loaded model in one process, spoken to in framed messages on stdio; see `phi3::api::worker`.
//!
//! It ends with its stdin: no worker outlives whoever started it. Whatever goes wrong beyond an error that can be
//! answered (an abort, memory, a file cut while it is read) ends this process and no other.

mod process;
mod link;
mod plan;
mod template;
mod text;
mod logits;
mod session;

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == template::ARGUMENT) {
        return template::main();
    }
    let stdout = match process::harden() {
        Ok(stdout) => stdout,
        Err(error) => return process::fail(&format!("cannot be set up: {error}")),
    };
    let link = match link::Link::open(stdout) {
        Ok(link) => link,
        Err(error) => return process::fail(&format!("nobody listens: {error}")),
    };
    session::run(&link);
    ExitCode::SUCCESS
}
