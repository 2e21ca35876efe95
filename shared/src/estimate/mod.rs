//! What a load needs in memory, term by term, before a byte is loaded.
//!
//! ```
//! use phi3::{decoder::Decoder, estimate::{self, Options}};
//!
//! let decoder = Decoder::parse(br#"{"model_type":"phi3","dtype":"bfloat16"}"#).unwrap();
//! let report = estimate::estimate(&decoder, None, &Options::default()).unwrap();
//! assert_eq!(report.weights_bytes, 7_642_159_104);
//! assert_eq!(report.kv_cache_bytes, 1_610_612_736);
//! ```

pub mod activations;
pub mod cpu_workspace;
pub mod cuda_workspace;
pub mod wgpu_workspace;
mod assumptions;
mod backend;
mod calibration;
pub mod fit;
mod format;
mod kv_cache;
mod kv_policy;
mod levers;
mod load_peak;
mod options;
mod params;
mod report;
mod resolved;
mod weights;

pub use backend::{Backend, tab_overhead_bytes};
pub use calibration::{Calibration, Sample};
pub use format::Format;
pub use kv_cache::{
    KvKind, KvLayers, LayerKv, broken_row, bytes_per_token, cache_bytes, kinds, layers, state_bytes,
};
pub use kv_policy::{KvPolicy, PAGE_TOKENS, UnknownKvPolicy};
pub use load_peak::{LoadPeak, load_peaks};
pub use options::{Options, Size};
pub use params::{GroupCount, Params, active_params, params, params_stored, predictor_params, rule_of_thumb};
pub use report::{Assumption, Badge, Report, Term};
pub use resolved::{OptionsError, Resolved};
pub use weights::{
    StoredTensors, held_as, part_bytes, stored_bytes, stored_count, stored_dtype, weights_bytes,
};
pub(crate) use weights::{correction_bytes, tensor_bytes};

use self::activations::Workspace;
use crate::decoder::Decoder;
use crate::dtype::DType;
use crate::units::{format_count, format_counted};
use crate::weights::OtherParts;

/// Answers what a load needs: of a config alone, or of a checkpoint whose headers were read. What it takes meanwhile is
/// asked of [`load_peaks`].
///
/// # Errors
/// An option out of range.
pub fn estimate(
    decoder: &Decoder,
    stored: Option<&StoredTensors>,
    options: &Options,
) -> Result<Report, OptionsError> {
    let resolved = Resolved::new(decoder, stored, options)?;
    let named = resolved::named_device(options)?;
    let available = options.device_memory.map(|size| size.0).or(named.map(|device| device.usable_bytes()));
    let mut report = memory(decoder, stored, &resolved);
    report.assumptions = assumptions::list(decoder, stored, options, &resolved);
    report.fit = fit::judge(decoder, stored, &resolved, report.weights_bytes, available);
    let in_bf16 = resolved.format == DType::Bf16.into();
    if let Some(device) = named.filter(|device| in_bf16 && !device.has_bf16()) {
        let warning = format!("{} does not compute in bf16: f16 takes the same memory", device.name);
        report.fit.warnings.push(warning);
    }
    Ok(report)
}

/// The same with what it takes meanwhile, but for the verdict, whose searches take longer than all else.
pub(crate) fn sized(
    decoder: &Decoder,
    stored: Option<&StoredTensors>,
    options: &Options,
    resolved: &Resolved,
) -> Report {
    let mut report = memory(decoder, stored, resolved);
    report.assumptions = assumptions::list(decoder, stored, options, resolved);
    report.load_peaks = load_peaks(decoder, stored, report.weights_bytes, resolved);
    report
}

/// The format that a config says its weights are stored in; bf16 where it says nothing.
#[must_use]
pub fn stored_format(decoder: &Decoder) -> Format {
    match decoder.quantization {
        Some(quantization) => Format::Quantized(quantization),
        None => Format::Plain(decoder.dtype.unwrap_or(DType::Bf16)),
    }
}

/// Parameters: a checkpoint's own count where there is one. Packed formats tell no count, so the config's stands there.
#[must_use]
pub fn params_total(decoder: &Decoder, stored: Option<&StoredTensors>) -> u64 {
    match stored {
        Some(stored) if !decoder.is_packed() => stored_count(stored),
        _ => params(decoder).total,
    }
}

/// Bytes of the weights for resolved options.
#[must_use]
pub fn resolved_weights_bytes(decoder: &Decoder, stored: Option<&StoredTensors>, resolved: &Resolved) -> u64 {
    match counted(decoder, stored, resolved) {
        Some((stored, dtype)) => stored_bytes(stored, dtype),
        None => weights_bytes(decoder, resolved.format),
    }
}

/// The tensors that are counted instead of the list, where a checkpoint is loaded as it is or plainly converted, and
/// what they are converted to.
pub(crate) fn counted<'a>(
    decoder: &Decoder,
    stored: Option<&'a StoredTensors>,
    resolved: &Resolved,
) -> Option<(&'a StoredTensors, Option<DType>)> {
    match resolved.convert_to {
        None => Some((stored?, None)),
        // Packed numbers are no weights that could be converted one by one.
        Some(Format::Plain(dtype)) if !decoder.is_packed() => Some((stored?, Some(dtype))),
        Some(_) => None,
    }
}

/// The sum of all terms, given that of the weights: what a search over contexts asks many times.
#[must_use]
pub fn total_bytes(decoder: &Decoder, weights_bytes: u64, resolved: &Resolved) -> u64 {
    let Resolved { kv_dtype, batch, kv_policy, .. } = *resolved;
    weights_bytes
        .saturating_add(cache_bytes(decoder, kv_dtype, kv_policy, resolved.cache_tokens(), batch))
        .saturating_add(resolved.other_bytes())
        .saturating_add(Workspace::on(resolved.backend, decoder, resolved).bytes())
        .saturating_add(resolved.overhead_bytes())
}

/// How sure a runtime's overhead is, and what it rests on.
pub(crate) fn overhead_words(backend: Backend, calibration: Option<Calibration>) -> (Badge, String) {
    match calibration {
        Some(calibration) => (Badge::Calibrated, calibration.words()),
        None => (Badge::Formula, format!("assumed: {}", backend.assumed_overhead(0).1)),
    }
}

/// Why a config's own quantisation may hold other weights than are counted.
pub(crate) fn unsure(
    decoder: &Decoder,
    stored: Option<&StoredTensors>,
    resolved: &Resolved,
) -> Option<&'static str> {
    let is_own = stored.is_none() && decoder.quantization.map(Format::Quantized) == Some(resolved.format);
    (is_own && weights::is_unsure(decoder))
        .then_some("which modules the quantization_config leaves out is not certain")
}

/// Why the bytes of the weights are no exact number, where they are none.
fn doubt(decoder: &Decoder, stored: Option<&StoredTensors>, resolved: &Resolved) -> Option<String> {
    let Resolved { format, convert_to, .. } = *resolved;
    if let Some(unsure) = unsure(decoder, stored, resolved) {
        return Some(unsure.to_owned());
    }
    Some(match (&decoder.unknown_quantization, format) {
        _ if stored.is_some() && convert_to.is_none() => return None,
        (Some(method), _) if stored.is_none() => {
            format!("the layout of {method} is not known here: stored, it will be less")
        }
        (_, Format::Q4KM | Format::Quantized(_)) if weights::has_other_projections(decoder) => {
            format!("what {format} makes of this family's own projections is not certain")
        }
        (_, Format::Q4KM) => "versions of llama.cpp differ in it, by less than 1 %".to_owned(),
        (_, Format::Plain(DType::Fp8 | DType::I8)) => "ideal, without scales".to_owned(),
        _ => return None,
    })
}

/// The terms for resolved options, without a verdict.
#[must_use]
pub fn memory(decoder: &Decoder, stored: Option<&StoredTensors>, resolved: &Resolved) -> Report {
    let Resolved { format, kv_dtype, batch, kv_policy, .. } = *resolved;
    let context = resolved.cache_tokens();
    let params_total = params_total(decoder, stored);
    let weights_bytes = resolved_weights_bytes(decoder, stored, resolved);
    let kv_cache_bytes = cache_bytes(decoder, kv_dtype, kv_policy, context, batch);
    let workspace = Workspace::on(resolved.backend, decoder, resolved);
    let activation_bytes = workspace.bytes();

    let term = |name: &str, bytes, badge, formula| Term {
        name: name.to_owned(),
        bytes,
        badge,
        formula,
        device: "device".to_owned(),
    };
    let weights_formula = match stored {
        Some(_) if resolved.convert_to.is_none() => match decoder.apart.is_empty() {
            true => "sum of the tensors as stored".to_owned(),
            false => "sum of the language model's tensors as stored".to_owned(),
        },
        _ => format!("{} parameters in {format}", format_count(params_total)),
    };
    let kv_layers = kinds(decoder, kv_dtype, kv_policy, context, batch);
    let mut kv_formula = kv_cache::formula(&kv_layers, kv_dtype, kv_policy, batch);
    let mut kv_badge = Badge::Exact;
    if let Some(width) = broken_row(decoder, kv_dtype) {
        kv_formula += &format!("; rows of {width} as if padded to blocks of {}", kv_dtype.block_len());
        kv_badge = Badge::Formula;
    }
    let (overhead_badge, overhead_formula) =
        overhead_words(resolved.backend, resolved.calibration_of(resolved.backend));
    let overhead_bytes = resolved.overhead_bytes();
    let (weights_badge, weights_formula) = match doubt(decoder, stored, resolved) {
        Some(doubt) => (Badge::Formula, format!("{weights_formula}; {doubt}")),
        None => (Badge::Exact, weights_formula),
    };
    let mut terms = vec![
        term("weights", weights_bytes, weights_badge, weights_formula),
        term("kv_cache", kv_cache_bytes, kv_badge, kv_formula),
        term("activations", activation_bytes, Badge::Formula, workspace.formula()),
        term("overhead", overhead_bytes, overhead_badge, overhead_formula),
    ];
    if let Some(OtherParts { tensors, bytes }) = resolved.other_parts {
        let formula =
            format!("{} as stored, beside the language model", format_counted(tensors as u64, "tensor"));
        terms.insert(1, term("other_parts", bytes, Badge::Exact, formula));
    }
    Report {
        params_total,
        weights_bytes,
        kv_bytes_per_token: bytes_per_token(decoder, kv_dtype),
        kv_cache_bytes,
        activation_bytes,
        overhead_bytes,
        assumed_overhead_bytes: resolved.backend.assumed_overhead(resolved.vocab_size).0,
        total_bytes: total_bytes(decoder, weights_bytes, resolved),
        terms,
        kv_layers,
        assumptions: Vec::new(),
        load_peaks: Vec::new(),
        fit: fit::Fit::default(),
    }
}
