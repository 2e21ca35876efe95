//! The one place that turns a failure of a command into an exit code.

use phi3::api::ErrorObject;
use preflight_files::FilesError;

use crate::worker_client::WorkerError;

/// Exit codes of the CLI's contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It does not fit, ran out of memory, or a validation failed.
    Failed = 1,
    /// Bad input, usage, absent device.
    BadInput = 2,
    /// Unknown architecture, or free memory not readable.
    Unknown = 3,
    /// A fault of ours.
    Internal = 4,
    /// Somebody pressed Ctrl-C, as shells count it.
    Interrupted = 130,
}

/// A command that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CliError {
    /// What is told.
    pub object: ErrorObject,
    /// How the process ends.
    pub exit: Exit,
}

impl CliError {
    /// A wrong use of the command line.
    pub fn usage(message: impl Into<String>) -> Self {
        ErrorObject::new("usage", message).into()
    }

    /// A fault of ours or of the system.
    pub fn internal(message: impl Into<String>) -> Self {
        ErrorObject::new("internal", message).into()
    }
}

/// Exit code of an error's code; what is not listed is bad input.
fn exit(code: &str) -> Exit {
    match code {
        "oom" | "validation_failed" | "nan_logits" | "does_not_fit" | "over_budget" => Exit::Failed,
        "internal" | "backend" | "sequence" | "worker_not_started" | "worker_killed" | "worker_stalled"
        | "protocol_error" => Exit::Internal,
        "cancelled" => Exit::Interrupted,
        _ => Exit::BadInput,
    }
}

impl From<ErrorObject> for CliError {
    fn from(object: ErrorObject) -> Self {
        Self { exit: exit(&object.code), object }
    }
}

/// The system refused something that it never should: a thread, a timer.
impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> Self {
        Self::internal(error.to_string())
    }
}

impl From<FilesError> for CliError {
    fn from(error: FilesError) -> Self {
        ErrorObject::from(error).into()
    }
}

impl From<WorkerError> for CliError {
    fn from(error: WorkerError) -> Self {
        ErrorObject::from(error).into()
    }
}
