//! Weights without a config: what their headers hold. No byte of a cache and no shape of a layer is told, since only a
//! config could.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{Finding, InspectReport, Severity, Support, TotalParams};
use crate::dtype::DType;
use crate::estimate::{GroupCount, StoredTensors};
use crate::tensors::Group;
use crate::units::{format_bytes, format_count, format_counted};
use crate::weights::is_buffer;

/// What is stored in one format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FormatCount {
    /// The format.
    pub dtype: DType,
    /// Tensors in it.
    pub tensors: usize,
    /// Numbers in them.
    pub numbers: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Tensors by the format that they are stored in, the one with the most numbers first.
#[must_use]
pub fn by_format(stored: &StoredTensors) -> Vec<FormatCount> {
    let mut found: BTreeMap<DType, FormatCount> = BTreeMap::new();
    for tensor in stored.values() {
        let none = FormatCount { dtype: tensor.dtype, tensors: 0, numbers: 0, bytes: 0 };
        let count = found.entry(tensor.dtype).or_insert(none);
        count.tensors += 1;
        count.numbers = count.numbers.saturating_add(tensor.count());
        count.bytes = count.bytes.saturating_add(tensor.len);
    }
    let mut all: Vec<_> = found.into_values().collect();
    all.sort_by_key(|count| Reverse(count.numbers));
    all
}

/// What the headers of weights tell where no config lies beside them. Parameters are of the groups that their names speak of:
/// those of the others are in the total alone.
#[must_use]
pub fn weights_alone(stored: &StoredTensors) -> InspectReport {
    let formats = by_format(stored);
    let bytes = formats.iter().fold(0, |sum: u64, count| sum.saturating_add(count.bytes));
    let by_format = formats.iter().map(|count| format!("{} in {}", format_count(count.numbers), count.dtype));
    let held = format!(
        "{}, {}; numbers by format: {}",
        format_counted(stored.len() as u64, "tensor"),
        format_bytes(bytes),
        by_format.collect::<Vec<_>>().join(", ")
    );
    let alone =
        "there is no config.json: the architecture is unknown, and what is told is what the headers hold";
    InspectReport {
        model_type: String::new(),
        architecture: None,
        support: Support::Unknown,
        params: params(stored),
        fields: Vec::new(),
        findings: vec![
            Finding::new("no_config", Severity::Warning, alone),
            Finding::new("stored_tensors", Severity::Info, held),
        ],
        rule_of_thumb: None,
        card: None,
    }
}

fn params(stored: &StoredTensors) -> TotalParams {
    let (mut total, mut groups) = (0u64, BTreeMap::<Group, u64>::new());
    for (name, tensor) in stored.iter().filter(|(name, _)| !is_buffer(name)) {
        total = total.saturating_add(tensor.count());
        if let Some(group) = Group::spoken_of(name) {
            let count = groups.entry(group).or_default();
            *count = count.saturating_add(tensor.count());
        }
    }
    let groups = groups.into_iter().map(|(name, count)| GroupCount { name, count }).collect();
    TotalParams { total: Some(total), groups }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::StoredTensor;

    fn tensor(dtype: DType, shape: &[usize]) -> StoredTensor {
        StoredTensor { dtype, shape: shape.to_vec(), file: 0, offset: 0, len: dtype.tensor_bytes(shape) }
    }

    fn stored(tensors: &[(&str, DType, &[usize])]) -> StoredTensors {
        tensors.iter().map(|(name, dtype, shape)| ((*name).to_owned(), tensor(*dtype, shape))).collect()
    }

    #[test]
    fn what_a_name_speaks_of_is_grouped_and_the_rest_is_in_the_total() {
        let stored = stored(&[
            ("model.embed_tokens.weight", DType::Bf16, &[8, 4]),
            ("model.layers.0.self_attn.qkv_proj.weight", DType::Bf16, &[12, 4]),
            ("model.layers.0.mlp.gate_up_proj.weight", DType::Bf16, &[16, 4]),
            ("model.layers.0.input_layernorm.weight", DType::F32, &[4]),
            ("model.layers.0.self_attn.rotary_emb.inv_freq", DType::F32, &[2]),
            ("x.lora_A", DType::F32, &[4, 2]),
        ]);
        let report = weights_alone(&stored);
        let count =
            |name| report.params.groups.iter().find(|group| group.name == name).map(|group| group.count);
        let groups = [Group::Embedding, Group::Attention, Group::Mlp, Group::Norm, Group::Experts].map(count);
        assert_eq!(groups, [Some(32), Some(48), Some(64), Some(4), None]);
        // Frequencies are computed anew and are no parameters; what has a name of its own is.
        assert_eq!(report.params.total, Some(32 + 48 + 64 + 4 + 8));
        assert_eq!(report.support, Support::Unknown);
        let held = &report.findings[1].message;
        assert_eq!(held, "6 tensors, 344 B; numbers by format: 144 in bf16, 14 in f32");
    }

    #[test]
    fn no_tensor_is_no_fault() {
        let report = weights_alone(&StoredTensors::new());
        assert_eq!((report.params.total, report.params.groups.len()), (Some(0), 0));
    }
}
