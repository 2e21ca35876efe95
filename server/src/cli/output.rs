//! What a command writes: one answer on stdout, one line of failure.

use std::io::{self, Write as _};

use phi3::api::ErrorBody;
use serde::Serialize;

use crate::error::CliError;

/// Writes text to stdout; a reader that has gone is no failure.
pub(super) fn print(text: &str) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::internal(format!("stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes one JSON object to stdout.
pub(super) fn print_json(value: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| CliError::internal(error.to_string()))?;
    print(&(text + "\n"))
}

/// Tells of a failure: JSON on stdout, or one line on stderr.
pub(super) fn failure(error: &CliError, json: bool) {
    if json {
        // Nothing is left to be told where even this cannot be written.
        print_json(&ErrorBody { error: error.object.clone() }).ok();
    } else {
        let line = error.object.message.replace('\n', " ");
        writeln!(io::stderr(), "preflight: {line}").ok();
    }
}
