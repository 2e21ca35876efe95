//! What a command writes: one answer on stdout, one line of failure.

use std::io::{self, Write as _};

use phi3::api::ErrorBody;
use serde::Serialize;

use super::page::Page;
use crate::error::CliError;

/// Writes text to stdout.
pub(super) fn print(text: &str) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    written(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))
}

/// Writes a page to stdout, coloured if it is a terminal and `NO_COLOR` is not set.
pub(super) fn print_page(page: Page) -> Result<(), CliError> {
    let mut stdout = anstream::AutoStream::auto(io::stdout().lock());
    written(stdout.write_all(page.into_text().as_bytes()).and_then(|()| stdout.flush()))
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
        let line = super::page::plain(&error.object.message);
        writeln!(io::stderr(), "preflight: {line}").ok();
    }
}

/// A reader that has gone is no failure.
fn written(result: io::Result<()>) -> Result<(), CliError> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::internal(format!("stdout: {error}")))
        }
        _ => Ok(()),
    }
}
