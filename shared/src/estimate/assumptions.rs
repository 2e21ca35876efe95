//! Every value that an answer rests on, said.

use super::activations::Attention;
use super::kv_cache::state_dtype;
use super::wgpu_workspace::CACHE_STEP;
use super::{Assumption, Backend, KvPolicy, Options, Resolved, StoredTensors, stored_dtype};
use crate::decoder::{self, Decoder};
use crate::units::{format_bytes, format_count};

pub(super) fn list(
    decoder: &Decoder,
    stored: Option<&StoredTensors>,
    options: &Options,
    resolved: &Resolved,
) -> Vec<Assumption> {
    let mut list = Vec::new();
    let mut assume = |name: &str, value: String, is_default: bool| {
        list.push(Assumption { name: name.to_owned(), value, is_default });
    };
    let named = decoder.dtype.is_some() || decoder.quantization.is_some();
    let source = match (options.dtype, stored.and_then(stored_dtype), named) {
        (Some(_), ..) => "",
        (None, Some(_), _) => " (as stored)",
        (None, None, true) => " (the config's)",
        (None, None, false) => " (the config names none)",
    };
    let format = match (options.dtype, stored, &decoder.unknown_quantization) {
        (None, Some(_), Some(method)) => method.clone(),
        _ => resolved.format.to_string(),
    };
    assume("dtype", format!("{format}{source}"), options.dtype.is_none());
    assume("kv_dtype", resolved.kv_dtype.to_string(), options.kv_dtype.is_none());
    assume("context", format!("{} tokens", format_count(resolved.context)), options.context.is_none());
    assume("batch", resolved.batch.to_string(), options.batch.is_none());
    let attn = match resolved.attn {
        Attention::Eager => "eager",
        Attention::Fused => "fused",
    };
    assume("attn", attn.to_owned(), options.attn.is_none());
    assume("kv_policy", resolved.kv_policy.to_string(), options.kv_policy.is_none());
    let window = decoder.layers.iter().find_map(|layer| layer.window);
    if let (KvPolicy::Window, Some(window)) = (resolved.kv_policy, window) {
        let count = decoder.layers.iter().filter(|layer| layer.window.is_some()).count();
        let value = format!(
            "{} tokens in {count} layers; Hugging Face keeps {}",
            format_count(window as u64),
            format_count(window as u64 - 1)
        );
        assume("sliding_window", value, true);
    }
    let linear = decoder.layers.iter().find_map(|layer| match layer.attention {
        decoder::Attention::Linear { kernel, .. } => Some(kernel),
        _ => None,
    });
    if let Some(kernel) = linear {
        let dtype = state_dtype(resolved.kv_dtype);
        let value = format!(
            "recurrent in f32, the last {kernel} columns of the convolution in {dtype}, as Hugging Face keeps them"
        );
        assume("linear_state", value, true);
    }
    let named = super::resolved::named_device(options).ok().flatten();
    let backend = resolved.backend.name();
    let backend = match (options.backend, named, options.device_memory) {
        (Some(_), ..) => backend.to_owned(),
        (None, Some(device), _) => format!("{backend} (what drives a {})", device.name),
        (None, None, Some(_)) => {
            format!("{backend} (a GPU has other buffers and a larger runtime: name its backend or the GPU)")
        }
        (None, None, None) => backend.to_owned(),
    };
    assume("backend", backend, options.backend.is_none() && named.is_none());
    let overhead = format_bytes(resolved.overhead_bytes());
    let calibration = resolved.calibration_of(resolved.backend);
    let overhead = match calibration {
        Some(calibration) => format!("{overhead}, calibrated: {}", calibration.words()),
        None => format!("{overhead}, not calibrated: {}", resolved.backend.assumed_overhead(0).1),
    };
    assume("runtime_overhead", overhead, calibration.is_none());
    if let Some(device) = named {
        let sure = match device.sureness() {
            crate::devices::Sureness::Measured => "measured",
            crate::devices::Sureness::Computed => "computed",
        };
        let usable = format_bytes(device.usable_bytes());
        let value = format!("{}: {usable} usable, {sure} ({})", device.name, device.source);
        assume("device", value, false);
    }
    if let Some(size) = options.device_memory {
        assume("device_memory", format!("{} free", format_bytes(size.0)), false);
    }
    if resolved.format.plain().is_some_and(|dtype| dtype.is_quantized()) && resolved.convert_to.is_some() {
        let value = "matrices, embedding and head included; norms stay f32".to_owned();
        assume("quantized_tensors", value, true);
    }
    if matches!(resolved.backend, Backend::Rocm | Backend::Metal) {
        let value = "as our engine for Vulkan and Metal sizes them".to_owned();
        assume("activations", value, true);
    }
    if resolved.cache_tokens() != resolved.context {
        let tokens = format_count(resolved.cache_tokens());
        let value = format!("room for {tokens} tokens a sequence: this engine rounds up to {CACHE_STEP}");
        assume("kv_cache", value, true);
    }
    if !decoder.family.runs() {
        let value = "as our engine for phi3 would size them: this family is not run here".to_owned();
        assume("activations", value, true);
    }
    for key in &decoder.defaulted {
        assume(key.0, "absent from the config: the default of Hugging Face's class".to_owned(), true);
    }
    list
}
