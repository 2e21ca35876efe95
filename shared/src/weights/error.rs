//! Why a file of weights is refused.

use std::io;

use thiserror::Error;

/// What is wrong with one file or one tensor of a checkpoint.
#[derive(Debug, Error)]
#[error("{file}: {problem}")]
pub struct WeightsError {
    /// Name of the file, as the user gave it.
    pub file: String,
    /// What is wrong.
    #[source]
    pub problem: WeightsProblem,
}

/// What can be wrong with a file of weights.
#[derive(Debug, Error)]
pub enum WeightsProblem {
    /// Reading failed; the system's message.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// Writing failed; the system's message.
    #[error("cannot be written: {0}")]
    Write(#[source] io::Error),
    /// Something else under a weight file's name: a Git-LFS pointer, HTML, gzip, pickle, nothing at all.
    #[error("is not a weight file: {0}")]
    NotWeights(String),
    /// A header that lies or is cut; what, where and which numbers.
    #[error("is corrupt: {0}")]
    Corrupt(String),
    /// Understood, but not read by this build.
    #[error("is not supported: {0}")]
    Unsupported(String),
    /// An index names a file that is no plain name in the same folder.
    #[error("names `{0}`, which is no plain file name `*.safetensors` in the same folder")]
    UnsafePath(String),
    /// Shards named by the index and not there; all of them.
    #[error("names shards that are missing: {}", some(.0))]
    MissingShards(Vec<String>),
    /// The tensors are not those of the config; every difference, one line each.
    #[error("does not match the config: {}", .0.join("; "))]
    Mismatch(Vec<String>),
}

/// Names in a list, the first of many with their number.
fn some(names: &[String]) -> String {
    const MOST: usize = 200;
    match names.len() {
        0..=MOST => names.join(", "),
        many => format!("{} and {} more", names[..MOST].join(", "), many - MOST),
    }
}

impl WeightsError {
    /// An error about `file`.
    pub fn new(file: impl Into<String>, problem: impl Into<WeightsProblem>) -> Self {
        Self { file: file.into(), problem: problem.into() }
    }

    /// A stable name for programs: the `code` of an error object.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self.problem {
            WeightsProblem::Io(_) | WeightsProblem::Write(_) => "io_error",
            WeightsProblem::NotWeights(_) => "not_a_weight_file",
            WeightsProblem::Corrupt(_) => "weights_corrupt",
            WeightsProblem::Unsupported(_) => "weights_unsupported",
            WeightsProblem::UnsafePath(_) => "unsafe_path",
            WeightsProblem::MissingShards(_) => "missing_shards",
            WeightsProblem::Mismatch(_) => "weights_mismatch",
        }
    }
}
