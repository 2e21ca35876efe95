//! Why a path or a file is refused.

use std::io;
use std::path::{Path, PathBuf};

use phi3::api::ErrorObject;
use phi3::config::ConfigError;
use phi3::weights::WeightsError;
use thiserror::Error;

/// A path or a file that cannot be used.
#[derive(Debug, Error)]
pub enum FilesError {
    /// Nothing of that name.
    #[error("{path}: no such file or directory; a preset is written preset:NAME")]
    NotFound {
        /// The path as it was given.
        path: String,
    },
    /// A source that this build cannot fetch.
    #[error(
        "{path}: fetching from the Hugging Face Hub is not in this build; download the files and give their directory"
    )]
    HubNotInThisBuild {
        /// The source as it was given.
        path: String,
    },
    /// No such preset.
    #[error("{path}: no such preset; there are: {known}")]
    UnknownPreset {
        /// The source as it was given.
        path: String,
        /// Names of all presets.
        known: String,
    },
    /// A FIFO, a device, a socket, or a directory where a file is needed.
    #[error("{}: is {found}, not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// A file of a kind that holds no model.
    #[error("{}: is not a file that holds a model; give a directory, config.json, *.safetensors, its index JSON or *.gguf{hint}", path.display())]
    UnknownKind {
        /// The path.
        path: PathBuf,
        /// What to do about a kind that is known, or nothing.
        hint: &'static str,
    },
    /// A directory without the file that the command needs.
    #[error("{}: holds no {what}", path.display())]
    Lacks {
        /// The directory.
        path: PathBuf,
        /// What is not there.
        what: &'static str,
    },
    /// A small file that is too large.
    #[error("{}: has {bytes} bytes, more than the {limit} that are read", path.display())]
    TooLarge {
        /// The path.
        path: PathBuf,
        /// Size found.
        bytes: u64,
        /// Largest size read.
        limit: u64,
    },
    /// The system's message.
    #[error("{}: {error}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A config that is refused.
    #[error("{file}: {error}")]
    Config {
        /// The file, as it was given.
        file: String,
        /// Why.
        error: ConfigError,
    },
    /// Weights that are refused; names their file itself.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

impl FilesError {
    /// A failed read of `path`; absence is told as such.
    #[must_use]
    pub fn io(path: &Path, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::NotFound { path: path.display().to_string() },
            _ => Self::Io { path: path.to_owned(), error },
        }
    }

    /// A stable name for programs: the `code` of an error object.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::HubNotInThisBuild { .. } => "not_in_this_build",
            Self::UnknownPreset { .. } => "unknown_preset",
            Self::NotAFile { .. } => "not_a_file",
            Self::UnknownKind { .. } => "unknown_file_kind",
            Self::Lacks { .. } => "incomplete_model",
            Self::TooLarge { .. } => "too_large",
            Self::Io { .. } => "io_error",
            Self::Config { error, .. } => error.code(),
            Self::Weights(error) => error.code(),
        }
    }

    /// The file or JSON path that it is about.
    #[must_use]
    pub fn path(&self) -> String {
        match self {
            Self::NotFound { path } | Self::HubNotInThisBuild { path } | Self::UnknownPreset { path, .. } => {
                path.clone()
            }
            Self::NotAFile { path, .. }
            | Self::UnknownKind { path, .. }
            | Self::Lacks { path, .. }
            | Self::TooLarge { path, .. }
            | Self::Io { path, .. } => path.display().to_string(),
            Self::Config { file, error } => error.field().unwrap_or(file).to_owned(),
            Self::Weights(error) => error.file.clone(),
        }
    }
}

impl From<FilesError> for ErrorObject {
    fn from(error: FilesError) -> Self {
        Self::new(error.code(), error.to_string()).at(error.path())
    }
}
