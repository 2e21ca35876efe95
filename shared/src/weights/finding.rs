//! What is odd about a checkpoint but does not stop it from being used.

use std::collections::BTreeMap;
use std::fmt;

use super::checkpoint::{is_correction, is_recomputed};
use super::{OtherParts, StoredTensor};
use crate::units::{format_bytes, format_count, format_counted};

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
    /// Buffers that are held, and no parameters.
    HeldBuffers(Vec<String>),
    /// Tensors beside the language model, and what they are.
    OtherParts(OtherParts, Vec<&'static str>),
    /// The name of a head that is the embedding again.
    TiedHead(String),
    /// Tensors that the model's class does not load, and their bytes.
    NotLoaded {
        /// How many.
        tensors: usize,
        /// Bytes of all of them.
        bytes: u64,
    },
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
            Self::HeldBuffers(_) => "held_buffers",
            Self::OtherParts(..) => "other_parts",
            Self::TiedHead(_) => "tied_head_stored",
            Self::NotLoaded { .. } => "tensors_not_loaded",
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
            Self::HeldBuffers(names) => {
                let (count, first) = (format_counted(names.len() as u64, "buffer"), names.first());
                let first = first.map_or("", String::as_str);
                write!(f, "{count} held, counted in bytes and not as parameters: `{first}` and its like")
            }
            Self::OtherParts(OtherParts { tensors, bytes }, names) => {
                write!(
                    f,
                    "{} ({}) of {}, beside the language model: counted as `other_parts` of the need, not as its parameters",
                    format_counted(*tensors as u64, "tensor"),
                    format_bytes(*bytes),
                    listed(names)
                )
            }
            Self::TiedHead(name) => {
                write!(f, "`{name}` is stored beside the embedding it is tied to: counted and held once")
            }
            Self::NotLoaded { tensors, bytes } => {
                write!(
                    f,
                    "{} tensors ({}) are stored and not loaded by the model's class: not counted",
                    format_count(*tensors as u64),
                    format_bytes(*bytes)
                )
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

/// Names in words, each once.
fn listed(names: &[&str]) -> String {
    let mut names = names.to_vec();
    names.dedup();
    match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

pub(super) fn of_tensors(tensors: &BTreeMap<String, StoredTensor>) -> Vec<WeightsFinding> {
    let named = |is_it: fn(&str) -> bool, finding: fn(Vec<String>) -> WeightsFinding| {
        let names: Vec<String> = tensors.keys().filter(|name| is_it(name)).cloned().collect();
        (!names.is_empty()).then(|| finding(names))
    };
    let ignored = named(is_recomputed, WeightsFinding::IgnoredBuffers);
    ignored.into_iter().chain(named(is_correction, WeightsFinding::HeldBuffers)).collect()
}
