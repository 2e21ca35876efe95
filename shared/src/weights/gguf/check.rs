//! A GGUF file under its own names, held against a config.

use std::collections::{BTreeMap, HashSet};

use super::names;
use crate::decoder::Decoder;
use crate::tensors;
use crate::weights::StoredTensor;
use crate::weights::checkpoint::is_buffer;
use crate::weights::differences::Differences;

/// What is missing, misshapen or unexpected, a line each.
pub(in crate::weights) fn differences(
    stored: &BTreeMap<String, StoredTensor>,
    decoder: &Decoder,
) -> Vec<String> {
    let has = |name: &str| stored.contains_key(name);
    let mut differences = Differences::default();
    let mut expected = HashSet::new();
    for part in tensors::parts(decoder) {
        for (name, shape) in names::spelled(decoder, &part, &has) {
            match stored.get(&name) {
                None => differences.push(&name, format!("is missing, expected {shape:?}")),
                Some(found) if found.shape != shape => {
                    differences.push(&name, format!("is {:?}, expected {shape:?}", found.shape));
                }
                Some(_) => {}
            }
            expected.insert(name);
        }
    }
    for (name, found) in stored {
        let counts = !is_buffer(name) && !tensors::is_apart(decoder, name);
        if counts && !expected.contains(name) {
            differences.push(name, format!("{:?} is not in the config", found.shape));
        }
    }
    differences.lines()
}
