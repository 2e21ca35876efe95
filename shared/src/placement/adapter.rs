//! A model's [`Workload`], from its tensors and its estimate.

use crate::config::ModelConfig;
use crate::dtype::DType;
use crate::estimate::activations::Workspace as Buffers;
use crate::estimate::{OVERHEAD_BYTES, Resolved, StoredTensors, held_as, layers};
use crate::tensors::{self, Role, TensorSpec};

use super::{Module, Workload, Workspace};

/// Workspaces by what computes in them; together they are the estimate's activations.
const STREAM: usize = 0;
const LAYERS: usize = 1;
const PANEL: usize = 2;
const HEAD: usize = 3;

/// What is placed of a model: its embedding, each decoder layer whole, the last norm, the rotary frequencies
/// and the head. Bytes add up to those of the estimate for the same options.
#[must_use]
pub fn workload(config: &ModelConfig, stored: Option<&StoredTensors>, resolved: &Resolved) -> Workload {
    let mut modules: Vec<Module> = Vec::new();
    for tensor in tensors::list(config) {
        let name = module_name(&tensor);
        let bytes = bytes_of(&tensor, stored, resolved);
        match modules.last_mut().filter(|module| module.name == name) {
            Some(module) => {
                module.weight_bytes = module.weight_bytes.saturating_add(bytes);
                module.leaves += 1;
            }
            None => modules.push(Module {
                weight_bytes: bytes,
                is_layer: tensor.layer.is_some(),
                workspaces: workspaces_of(tensor.role),
                leaves: 1,
                name,
                ..Module::default()
            }),
        }
    }
    let kv = layers(config).map(|layer| {
        let tokens = layer.tokens(resolved.kv_policy, resolved.context).saturating_mul(resolved.batch);
        layer.bytes_per_token(resolved.kv_dtype).saturating_mul(tokens)
    });
    modules.iter_mut().filter(|module| module.is_layer).zip(kv).for_each(|(module, kv)| module.kv_bytes = kv);

    let head = module_name(&tensors::spec(config, Role::LmHead, 0));
    let before_head = modules.iter().position(|module| module.name == head).unwrap_or(modules.len());
    modules.insert(before_head, rotary(config));
    if config.tie_word_embeddings {
        modules.push(Module {
            name: head,
            workspaces: workspaces_of(Role::LmHead),
            tied_with: Some(module_name(&tensors::spec(config, Role::Embedding, 0))),
            ..Module::default()
        });
    }
    Workload { modules, workspaces: workspaces(config, resolved), overhead_bytes: OVERHEAD_BYTES }
}

/// The part of a tensor's name that is placed: up to its layer's number, else all but the last component.
fn module_name(tensor: &TensorSpec) -> String {
    let end = match tensor.layer {
        Some(layer) => {
            let number = format!(".{layer}.");
            tensor.name.find(&number).map(|at| at + number.len() - 1)
        }
        None => tensor.name.rfind('.'),
    };
    tensor.name[..end.unwrap_or(tensor.name.len())].to_owned()
}

fn bytes_of(tensor: &TensorSpec, stored: Option<&StoredTensors>, resolved: &Resolved) -> u64 {
    let planned = |dtype: DType| held_as(dtype, &tensor.shape).tensor_bytes(&tensor.shape);
    match (stored.and_then(|stored| stored.get(&tensor.name)), resolved.convert_to) {
        (Some(stored), None) => stored.len,
        (_, Some(dtype)) => planned(dtype),
        (None, None) => planned(resolved.dtype),
    }
}

fn workspaces_of(role: Role) -> Vec<usize> {
    match role {
        Role::Embedding | Role::FinalNorm => vec![STREAM],
        Role::LmHead => vec![PANEL, HEAD],
        _ => vec![STREAM, LAYERS, PANEL],
    }
}

fn workspaces(config: &ModelConfig, resolved: &Resolved) -> Vec<Workspace> {
    let Resolved { dtype, attn, context, batch, .. } = *resolved;
    let buffers = Buffers::new(config, dtype, attn, context, batch);
    let Buffers { rows: _, residual, normed, projected, mixed, rotary, scores, panel, last, logits } =
        buffers;
    let bytes = |values: &[u64]| values.iter().fold(0u64, |sum, v| sum.saturating_add(*v)).saturating_mul(4);
    vec![
        Workspace { name: "residual stream", bytes: bytes(&[residual]) },
        Workspace { name: "layers", bytes: bytes(&[normed, projected, mixed, rotary, scores]) },
        Workspace { name: "widened weights", bytes: bytes(&[panel]) },
        Workspace { name: "logits", bytes: bytes(&[last, logits]) },
    ]
}

/// Rotary frequencies: Hugging Face holds two lists of them in f32; our engines have them in a workspace.
fn rotary(config: &ModelConfig) -> Module {
    let frequencies = (config.rotary_dim() as u64).div_ceil(2);
    Module {
        name: "model.rotary_emb".to_owned(),
        buffer_bytes: 2 * 4 * frequencies,
        leaves: 1,
        ..Module::default()
    }
}
