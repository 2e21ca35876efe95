//! What is odd about a checkpoint but does not stop it from being used.

use std::collections::BTreeMap;
use std::fmt;

use super::checkpoint::is_recomputed;
use super::{OtherParts, StoredTensor};
use crate::dtype::DType;
use crate::units::{format_count, format_counted};

/// An oddity; its text is for people, its code for programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WeightsFinding {
    /// The index's `metadata.total_size` is not the sum of the tensors.
    TotalSize {
        /// As the index says.
        claimed: u64,
        /// As the headers say.
        stored: u64,
    },
    /// Buffers that are ignored, as Hugging Face does.
    IgnoredBuffers(Vec<String>),
    /// The name of a head that is the embedding again.
    TiedHead(String),
    /// Tensors that the model's class does not load.
    NotLoaded(OtherParts),
    /// Tensors that are loaded beside the language model, and what they are of.
    OtherParts {
        /// How many, and their bytes.
        parts: OtherParts,
        /// As the config calls them.
        names: String,
    },
    /// Buffers that are held as they are stored and are no parameters.
    HeldBuffers(OtherParts),
    /// Formats of GGUF that are sized here and that no engine of this build reads.
    NotRead(Vec<DType>),
    /// Parts of a split model that are not there; which are, and how many there should be.
    MissingParts(String),
}

impl WeightsFinding {
    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TotalSize { .. } => "index_total_size",
            Self::IgnoredBuffers(_) => "ignored_buffers",
            Self::TiedHead(_) => "tied_head_stored",
            Self::NotLoaded(_) => "tensors_not_loaded",
            Self::OtherParts { .. } => "other_parts",
            Self::HeldBuffers(_) => "held_buffers",
            Self::NotRead(_) => "formats_not_read",
            Self::MissingParts(_) => "gguf_parts_missing",
        }
    }
}

impl fmt::Display for WeightsFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TotalSize { claimed, stored } => {
                let (claimed, stored) = (format_count(*claimed), format_count(*stored));
                write!(f, "the index claims total_size {claimed}, the headers add up to {stored} bytes")
            }
            Self::IgnoredBuffers(names) => {
                write!(
                    f,
                    "{} stored and not counted, since computed anew: {}",
                    format_counted(names.len() as u64, "buffer"),
                    names.join(", ")
                )
            }
            Self::TiedHead(name) => {
                write!(f, "`{name}` is stored beside the embedding it is tied to: counted and held once")
            }
            Self::NotLoaded(parts) => {
                write!(f, "{parts} stored and not loaded by the model's class: not counted")
            }
            Self::OtherParts { parts, names } => {
                write!(
                    f,
                    "{parts} beside the language model, of {names}: a term of the need, `other_parts`, not among its parameters"
                )
            }
            Self::HeldBuffers(buffers) => {
                write!(f, "{buffers} correct a router's scores: held, counted in bytes and not as parameters")
            }
            Self::NotRead(formats) => {
                let formats: Vec<_> = formats.iter().map(ToString::to_string).collect();
                write!(f, "weights in {}: sized here, not read by this build's engines", formats.join(", "))
            }
            Self::MissingParts(held) => {
                write!(
                    f,
                    "a split model, of which only part {held} is here: what is counted is not all of it"
                )
            }
        }
    }
}

pub(super) fn of_tensors(tensors: &BTreeMap<String, StoredTensor>) -> Vec<WeightsFinding> {
    let buffers: Vec<String> = tensors.keys().filter(|name| is_recomputed(name)).cloned().collect();
    if buffers.is_empty() { Vec::new() } else { vec![WeightsFinding::IgnoredBuffers(buffers)] }
}
