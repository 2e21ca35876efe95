//! Why a path or a file is refused.

use std::io;
use std::path::{Path, PathBuf};

use phi3::api::ErrorObject;
use phi3::config::ConfigError;
use phi3::decoder::Family;
use phi3::weights::{WeightsError, WeightsProblem};
use thiserror::Error;

use crate::hub::HubError;

/// A path or a file that cannot be used.
#[derive(Debug, Error)]
pub enum FilesError {
    /// Nothing of that name.
    #[error("{path}: no such file or directory{hint}")]
    NotFound {
        /// The path as it was given.
        path: String,
        /// How what may have been meant is written, or nothing.
        hint: &'static str,
    },
    /// A link whose target is gone, as an interrupted download or a cleaned cache leaves it.
    #[error("{}: is a link to {}, which is not there; download the file again", path.display(), target.display())]
    BrokenLink {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// No such preset.
    #[error("{path}: no such preset; did you mean preset:{nearest}? There are: {known}")]
    UnknownPreset {
        /// The source as it was given.
        path: String,
        /// The name that is most likely meant.
        nearest: &'static str,
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
    /// A directory of several models: mostly one in several formats.
    #[error("{}: holds {} GGUF models; name one: {}", path.display(), files.len(), files.join(", "))]
    SeveralGguf {
        /// The directory.
        path: PathBuf,
        /// Each, as it may be given.
        files: Vec<String>,
    },
    /// Weights in a directory that nothing says to be the model's.
    #[error(
        "{name}: holds {}, but no model.safetensors and no model.safetensors.index.json that says which tensors lie where; name one file, or add the index",
        first_of(files)
    )]
    NoIndex {
        /// The directory or repository, as it was given.
        name: String,
        /// The files of weights in it.
        files: Vec<String>,
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
    /// A family whose tensors are known, and which no engine here computes.
    #[error("{file}: `{model_type}` {}", Family::NOT_RUN)]
    NotRun {
        /// The config's file, as it was given.
        file: String,
        /// The family.
        model_type: String,
    },
    /// Weights that are refused; names their file itself.
    #[error(transparent)]
    Weights(WeightsError),
    /// The Hub or its cache; names what was asked for itself.
    #[error(transparent)]
    Hub(#[from] HubError),
}

/// Names in a list, the first of many with their number.
fn first_of(names: &[String]) -> String {
    const MOST: usize = 8;
    match names.len() {
        0..=MOST => names.join(", "),
        many => format!("{} and {} more", names[..MOST].join(", "), many - MOST),
    }
}

impl FilesError {
    /// A failed read of `path`; absence is told as such.
    #[must_use]
    pub fn io(path: &Path, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => match path.read_link() {
                Ok(target) => Self::BrokenLink { path: path.to_owned(), target },
                Err(_) => Self::NotFound { path: path.display().to_string(), hint: "" },
            },
            _ => Self::Io { path: path.to_owned(), error },
        }
    }

    /// Where weights are not those of the config: every difference, one line each.
    #[must_use]
    pub fn differences(&self) -> Option<&[String]> {
        match self {
            Self::Weights(WeightsError { problem: WeightsProblem::Mismatch(lines), .. }) => Some(lines),
            _ => None,
        }
    }

    /// A stable name for programs: the `code` of an error object.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::BrokenLink { .. } => "broken_link",
            Self::UnknownPreset { .. } => "unknown_preset",
            Self::NotAFile { .. } => "not_a_file",
            Self::UnknownKind { .. } => "unknown_file_kind",
            Self::Lacks { .. } | Self::NoIndex { .. } | Self::SeveralGguf { .. } => "incomplete_model",
            Self::TooLarge { .. } => "too_large",
            Self::Io { .. } => "io_error",
            Self::Config { error, .. } => error.code(),
            Self::NotRun { .. } => "unknown_architecture",
            Self::Weights(error) => error.code(),
            Self::Hub(error) => error.code(),
        }
    }

    /// The file or JSON path that it is about.
    #[must_use]
    pub fn path(&self) -> String {
        match self {
            Self::NotFound { path, .. } | Self::UnknownPreset { path, .. } => path.clone(),
            Self::NoIndex { name, .. } => name.clone(),
            Self::NotAFile { path, .. }
            | Self::BrokenLink { path, .. }
            | Self::UnknownKind { path, .. }
            | Self::Lacks { path, .. }
            | Self::SeveralGguf { path, .. }
            | Self::TooLarge { path, .. }
            | Self::Io { path, .. } => path.display().to_string(),
            Self::NotRun { .. } => "model_type".to_owned(),
            Self::Config { file, error } => error.field().unwrap_or(file).to_owned(),
            Self::Weights(error) => error.file.clone(),
            Self::Hub(error) => error.path(),
        }
    }
}

impl From<WeightsError> for FilesError {
    /// A read that failed on the Hub stays the Hub's error: it knows what to do about it.
    fn from(error: WeightsError) -> Self {
        let WeightsProblem::Io(io) = &error.problem else { return Self::Weights(error) };
        match io.get_ref().and_then(|inner| inner.downcast_ref::<HubError>()) {
            Some(hub) => Self::Hub(hub.clone()),
            None => Self::Weights(error),
        }
    }
}

impl From<FilesError> for ErrorObject {
    fn from(error: FilesError) -> Self {
        Self::new(error.code(), error.to_string()).at(error.path())
    }
}
