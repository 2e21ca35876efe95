//! A checkpoint that somebody packed, held against a config module by module: names and shapes of its tensors are those
//! of the format. Sources: what AutoAWQ, GPTQModel, transformers' fp8, gpt-oss and compressed-tensors store.

use std::collections::{BTreeMap, HashSet};

use super::StoredTensor;
use super::checkpoint::is_buffer;
use super::differences::Differences;
use crate::decoder::{Decoder, Quantization};
use crate::dtype::DType;
use crate::tensors::{self, Role};

type Tensors = BTreeMap<String, StoredTensor>;

/// The model that a checkpoint's tensors are of. Where all of them are plain floats, and as many as it has parameters,
/// nobody packed them, whatever a `quantization_config` says.
#[must_use]
pub fn as_stored(decoder: Decoder, stored: &BTreeMap<String, StoredTensor>) -> Decoder {
    let is_plain = || {
        let held = stored.values().fold(0, |sum: u64, tensor| sum.saturating_add(tensor.count()));
        let listed = tensors::parts(&decoder).fold(0, |sum: u64, part| sum.saturating_add(part.count()));
        held >= listed && stored.values().all(|tensor| tensor.dtype.is_float())
    };
    if decoder.is_packed() && is_plain() { decoder.unpacked() } else { decoder }
}

/// What is missing, holds another number of weights, or is unexpected; a line each. Of a method that is not known here
/// only what is missing.
pub(super) fn differences(stored: &Tensors, decoder: &Decoder) -> Vec<String> {
    let mut differences = Differences::default();
    let mut used: HashSet<&str> = HashSet::new();
    for spec in tensors::list(decoder) {
        if differences.is_full() {
            return differences.lines();
        }
        let own = of_module(stored, &spec.name);
        used.extend(own.iter().map(|(name, _)| *name));
        if own.is_empty() {
            differences.push(&spec.name, format!("is missing, expected {:?}", spec.shape));
        } else if let Some(quantization) = decoder.quantization {
            differ(&own, &spec.name, &spec.shape, quantization, &mut differences);
        }
    }
    if decoder.quantization.is_some() {
        let head = decoder.tie_word_embeddings.then(|| tensors::module(decoder, Role::LmHead, None));
        for (name, found) in stored {
            // Scales of a cache stand beside the modules.
            let last = name.rsplit('.').next().unwrap_or_default();
            let counts = !is_buffer(name) && !tensors::is_apart(decoder, name) && !last.ends_with("_scale");
            let again = head.as_ref().is_some_and(|head| name.starts_with(head.as_str()));
            // GPTQ's tools store one of zeros with each matrix.
            let matrix = name.strip_suffix(".bias").map(|module| format!("{module}.qweight"));
            let zeros = matrix.is_some_and(|matrix| used.contains(matrix.as_str()));
            if counts && !again && !zeros && !used.contains(name.as_str()) {
                differences.push(name, format!("{:?} is not in the config", found.shape));
            }
        }
    }
    differences.lines()
}

/// The tensors that hold one of the list: `NAME.weight` as it is or as `NAME.qweight`, `NAME.scales`, `NAME.weight_scale`;
/// `NAME` as `NAME_blocks`, `NAME_scales`. A bias is a tensor of its own.
fn of_module<'a>(stored: &'a Tensors, name: &str) -> Vec<(&'a str, &'a StoredTensor)> {
    let exactly = || stored.get_key_value(name).map(|(name, tensor)| (name.as_str(), tensor));
    let (module, mark) = match name.strip_suffix(".weight") {
        Some(module) => (module, '.'),
        None if name.ends_with("bias") => return exactly().into_iter().collect(),
        None => (name, '_'),
    };
    let after = |name: &str| name.strip_prefix(module).is_some_and(|rest| rest.starts_with(mark));
    let first = format!("{module}{mark}");
    let beside = stored.range(first..).map(|(name, tensor)| (name.as_str(), tensor));
    let beside = beside.take_while(|(name, _)| after(name)).filter(|(name, _)| !name.ends_with("bias"));
    let whole = exactly().filter(|_| mark == '_');
    whole.into_iter().chain(beside).collect()
}

/// Whether the tensors of a module hold as many weights as the list says, and the scales that they need.
fn differ(
    own: &[(&str, &StoredTensor)],
    name: &str,
    shape: &[usize],
    quantization: Quantization,
    differences: &mut Differences,
) {
    let has = |part: &str| own.iter().any(|(name, _)| name.ends_with(part));
    let expected = shape.iter().fold(1u64, |count, d| count.saturating_mul(*d as u64));
    let bits = match quantization {
        Quantization::Gptq { bits, .. } | Quantization::Compressed { bits, .. } => bits as u64,
        _ => 4,
    };
    let mut held = 0u64;
    for (name, tensor) in own {
        held = held.saturating_add(match () {
            () if name.ends_with(".qweight") || name.ends_with(".weight_packed") => {
                tensor.len.saturating_mul(8) / bits
            }
            () if name.ends_with("_blocks") => tensor.count().saturating_mul(2),
            () if name.ends_with(".weight") || !name.contains("scale") && tensor.dtype.is_float() => {
                tensor.count()
            }
            () => 0,
        });
    }
    // One tensor as it is: its shape says more than its count.
    if let [(_, tensor)] = own
        && tensor.dtype.is_float()
    {
        if tensor.shape != shape {
            differences.push(name, format!("is {:?}, expected {shape:?}", tensor.shape));
        }
        return;
    }
    if held != expected {
        differences.push(name, format!("holds {held} weights, expected {shape:?}"));
    }
    let is_scaled =
        has(".weight_packed") || own.iter().any(|(_, tensor)| matches!(tensor.dtype, DType::Fp8 | DType::I8));
    let needed: &[&str] = match () {
        () if has(".qweight") => &[".scales", ".qzeros"],
        () if has("_blocks") => &["_scales"],
        () if is_scaled && !has(".weight_scale_inv") => &[".weight_scale"],
        () => &[],
    };
    for part in needed.iter().filter(|part| !has(part)) {
        differences.push(name, format!("has no {}", part.trim_start_matches(['.', '_'])));
    }
}

#[cfg(test)]
#[path = "packed_tests.rs"]
mod tests;
