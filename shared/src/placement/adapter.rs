//! A model's [`Workload`], from its tensors and its estimate.

use std::collections::HashMap;

use crate::decoder::Decoder;
use crate::dtype::DType;
use crate::estimate::activations::{Stage, Workspace as Buffers};
use crate::estimate::{
    self, Backend, Resolved, StoredTensors, correction_bytes, layers, part_bytes, tensor_bytes,
};
use crate::tensors::{self, Role};
use crate::weights::gguf;

use super::{Module, Workload, Workspace};

/// What is placed of a model: its embedding, each decoder layer whole, the last norm, the rotary frequencies
/// and the head. Bytes add up to those of the estimate for the same options but for the runtime, which is a
/// device's own; of a checkpoint, those of the tensors that belong to a module.
///
/// Names, sizes and buffers are Hugging Face's for `phi3`. Other families may hold more frequencies than counted
/// here, a few KiB; where experts are stacked in one tensor, accelerate's mean over modules is not quite ours.
#[must_use]
pub fn workload(decoder: &Decoder, stored: Option<&StoredTensors>, resolved: &Resolved) -> Workload {
    let mut modules: Vec<Module> = Vec::new();
    for part in tensors::parts(decoder) {
        let name = tensors::module(decoder, part.role, part.layer);
        if modules.last().is_none_or(|module| module.name != name) {
            modules.push(Module {
                name,
                is_layer: part.layer.is_some(),
                workspaces: workspaces_of(part.role),
                ..Module::default()
            });
        }
        if let Some(module) = modules.last_mut() {
            module.weight_bytes =
                module.weight_bytes.saturating_add(part_bytes(decoder, &part, resolved.format));
            module.leaves += if part.is_bias { 0 } else { part.copies as u64 };
        }
    }
    let kv = layers(decoder).map(|layer| {
        layer.bytes(resolved.kv_dtype, resolved.kv_policy, resolved.cache_tokens(), resolved.batch)
    });
    let corrections = decoder.layers.iter().map(|layer| correction_bytes(decoder, layer));
    for ((module, kv), correction) in
        modules.iter_mut().filter(|module| module.is_layer).zip(kv).zip(corrections)
    {
        module.kv_bytes = kv;
        module.weight_bytes = module.weight_bytes.saturating_add(correction);
    }

    let head = tensors::module(decoder, Role::LmHead, None);
    if decoder.tie_word_embeddings {
        let embedding = tensors::module(decoder, Role::Embedding, None);
        if modules.last().is_none_or(|module| module.name != head) {
            let workspaces = workspaces_of(Role::LmHead);
            modules.push(Module { name: head, workspaces, ..Module::default() });
        }
        if let Some(head) = modules.last_mut() {
            head.tied_with = Some(embedding);
        }
    }
    modules.insert(modules.len() - 1, rotary(decoder));
    if let Some((stored, dtype)) = estimate::counted(decoder, stored, resolved) {
        count_stored(decoder, &mut modules, stored, dtype);
    }
    // What lies beside the language model feeds its embedding.
    if let Some(embedding) = modules.first_mut() {
        embedding.weight_bytes = embedding.weight_bytes.saturating_add(resolved.other_bytes());
    }
    Workload { modules, workspaces: workspaces(decoder, resolved) }
}

/// Counts what a checkpoint holds, as it is or converted to `dtype`, instead of what the list of tensors says. Bytes of
/// tensors that belong to no module are shared out as the list's are, so that none is lost.
fn count_stored(decoder: &Decoder, modules: &mut [Module], stored: &StoredTensors, dtype: Option<DType>) {
    let listed: Vec<u64> = modules.iter().map(|module| module.weight_bytes).collect();
    let mut counted = vec![0u64; modules.len()];
    let mut of_none = 0u64;
    let by_name: HashMap<&str, usize> =
        modules.iter().enumerate().map(|(index, module)| (module.name.as_str(), index)).collect();
    for (name, tensor) in stored {
        let bytes = tensor_bytes(name, tensor, dtype);
        let index = match gguf::module(decoder, name) {
            Some(module) => by_name.get(module.as_str()),
            None => name.match_indices('.').find_map(|(at, _)| by_name.get(&name[..at])),
        };
        match index {
            Some(index) => counted[*index] = counted[*index].saturating_add(bytes),
            None => of_none = of_none.saturating_add(bytes),
        }
    }
    let all = listed.iter().fold(0u64, |sum, bytes| sum.saturating_add(*bytes)).max(1);
    let mut left = of_none;
    for ((module, counted), listed) in modules.iter_mut().zip(counted).zip(listed) {
        let share = (u128::from(of_none) * u128::from(listed) / u128::from(all)) as u64;
        let share = share.min(left);
        left -= share;
        module.weight_bytes = counted.saturating_add(share);
    }
    if let Some(first) = modules.first_mut() {
        first.weight_bytes = first.weight_bytes.saturating_add(left);
    }
}

/// Workspaces by the stage that computes in them; together they are the estimate's activations.
fn workspaces_of(role: Role) -> Vec<usize> {
    let stages: &[Stage] = match role {
        Role::Embedding | Role::FinalNorm | Role::LayerEmbeddings | Role::LayerEmbeddingsNorm => {
            &[Stage::Stream]
        }
        Role::LayerEmbeddingsProj | Role::StreamProj | Role::StreamOutProj => {
            &[Stage::Stream, Stage::Products]
        }
        Role::LmHead => &[Stage::Products, Stage::Head],
        _ => &[Stage::Stream, Stage::Layers, Stage::Products],
    };
    stages.iter().map(|stage| *stage as usize).collect()
}

fn workspaces(decoder: &Decoder, resolved: &Resolved) -> Vec<Workspace> {
    let on = Backend::ALL.map(|backend| Buffers::on(backend, decoder, resolved).by_stage());
    let of = |stage: Stage| Workspace { name: stage.name(), bytes: on.map(|bytes| bytes[stage as usize]) };
    Stage::ALL.map(of).into()
}

/// Rotary frequencies: Hugging Face holds two lists of them in f32; our engines have them in a workspace.
fn rotary(decoder: &Decoder) -> Module {
    let norm = tensors::module(decoder, Role::FinalNorm, None);
    let parent = norm.rsplit_once('.').map_or("", |(parent, _)| parent);
    let frequencies = (decoder.rotary_dim as u64).div_ceil(2);
    Module {
        name: format!("{parent}.rotary_emb"),
        buffer_bytes: 2 * 4 * frequencies,
        leaves: 1,
        ..Module::default()
    }
}
