//! What a load needs in memory, term by term, before a byte is loaded.
//!
//! ```
//! use phi3::{config::ModelConfig, estimate::{self, Options}};
//!
//! let config = ModelConfig::parse(br#"{"model_type":"phi3","dtype":"bfloat16"}"#).unwrap();
//! let report = estimate::estimate(&config, None, &Options::default()).unwrap();
//! assert_eq!(report.weights_bytes, 7_642_159_104);
//! assert_eq!(report.kv_cache_bytes, 1_610_612_736);
//! ```

pub mod activations;
pub mod fit;
mod kv_cache;
mod options;
mod params;
mod report;
mod weights;

pub use kv_cache::{KvPolicy, LayerKv, PAGE_TOKENS, bytes_per_token, cache_bytes, layers};
pub use options::{Options, Size};
pub use params::{GroupCount, Params, params, rule_of_thumb};
pub use report::{Assumption, Badge, Report, Term};
pub use weights::{StoredTensors, held_as, stored_bytes, stored_count, stored_dtype, weights_bytes};

use thiserror::Error;

use crate::config::ModelConfig;
use crate::dtype::DType;
use crate::units::format_count;
use activations::Attention;

/// Runtime beside weights, cache and activations: code, threads, tokenizer.
/// Assumed, on the safe side: the CPU worker takes 10 MiB without a tokenizer and 24 MiB with one of 49,152 ids.
pub const OVERHEAD_BYTES: u64 = 64 << 20;

const DEFAULT_CONTEXT: u64 = 4096;

/// An option out of range.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{option} is {found}, expected {expected}")]
pub struct OptionsError {
    /// The option, in the CLI's spelling without dashes.
    pub option: &'static str,
    /// The value found.
    pub found: String,
    /// What would be accepted.
    pub expected: String,
}

/// Options with every default filled in, and which of them were.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// Format of the weights; `None` keeps a checkpoint's own mixture.
    pub convert_to: Option<DType>,
    /// Format that the weights are in, the commonest where it is a mixture.
    pub dtype: DType,
    /// Format of the KV cache.
    pub kv_dtype: DType,
    /// Tokens of each sequence.
    pub context: u64,
    /// Sequences at once.
    pub batch: u64,
    /// How attention is computed.
    pub attn: Attention,
    /// How the cache is sized.
    pub kv_policy: KvPolicy,
}

impl Resolved {
    /// Fills in the defaults of the CLI's contract.
    ///
    /// # Errors
    /// An option out of range.
    pub fn new(
        config: &ModelConfig,
        stored: Option<&StoredTensors>,
        options: &Options,
    ) -> Result<Self, OptionsError> {
        let stored_dtype = stored.and_then(stored_dtype);
        let dtype = options.dtype.or(stored_dtype).or(config.dtype).unwrap_or(DType::Bf16);
        let kv_dtype = options.kv_dtype.unwrap_or(if dtype.is_float() { dtype } else { DType::Bf16 });
        let refuse = |option, found: String, names: &[DType]| OptionsError {
            option,
            found,
            expected: names.iter().map(|d| d.name()).collect::<Vec<_>>().join(", "),
        };
        if let Some(dtype) = options.dtype.filter(|d| !DType::WEIGHTS.contains(d)) {
            return Err(refuse("dtype", dtype.to_string(), &DType::WEIGHTS));
        }
        if !DType::KV_CACHE.contains(&kv_dtype) && options.kv_dtype.is_some() {
            return Err(refuse("kv-dtype", kv_dtype.to_string(), &DType::KV_CACHE));
        }
        let in_range = |option, value: Option<u64>, default: u64, max: u64| {
            let value = value.unwrap_or(default);
            if (1..=max).contains(&value) {
                return Ok(value);
            }
            Err(OptionsError {
                option,
                found: value.to_string(),
                expected: format!("1 to {}", format_count(max)),
            })
        };
        let positions = config.max_position_embeddings as u64;
        Ok(Self {
            convert_to: options.dtype.filter(|d| Some(*d) != stored_dtype),
            dtype,
            kv_dtype,
            context: in_range("context", options.context, DEFAULT_CONTEXT.min(positions), 1 << 30)?,
            batch: in_range("batch", options.batch, 1, 1 << 16)?,
            attn: options.attn.unwrap_or_default(),
            kv_policy: options.kv_policy.unwrap_or_default(),
        })
    }
}

/// Answers what a load needs: of a config alone, or of a checkpoint whose headers were read.
///
/// # Errors
/// An option out of range.
pub fn estimate(
    config: &ModelConfig,
    stored: Option<&StoredTensors>,
    options: &Options,
) -> Result<Report, OptionsError> {
    let resolved = Resolved::new(config, stored, options)?;
    let available = options.device_memory.map(|size| size.0);
    let mut report = memory(config, stored, &resolved);
    report.assumptions = assumptions(config, stored, options, &resolved);
    report.fit = fit::judge(config, stored, &resolved, report.weights_bytes, available);
    Ok(report)
}

/// Bytes of the weights for resolved options.
#[must_use]
pub fn resolved_weights_bytes(
    config: &ModelConfig,
    stored: Option<&StoredTensors>,
    resolved: &Resolved,
) -> u64 {
    match stored {
        Some(stored) => stored_bytes(stored, resolved.convert_to),
        None => weights_bytes(config, resolved.dtype),
    }
}

/// The sum of all terms, given that of the weights: what a search over contexts asks many times.
#[must_use]
pub fn total_bytes(config: &ModelConfig, weights_bytes: u64, resolved: &Resolved) -> u64 {
    let Resolved { dtype, kv_dtype, context, batch, kv_policy, attn, .. } = *resolved;
    weights_bytes
        .saturating_add(cache_bytes(config, kv_dtype, kv_policy, context, batch))
        .saturating_add(activations::activations(config, dtype, attn, context, batch).bytes)
        .saturating_add(OVERHEAD_BYTES)
}

/// The terms for resolved options, without a verdict.
#[must_use]
pub fn memory(config: &ModelConfig, stored: Option<&StoredTensors>, resolved: &Resolved) -> Report {
    let Resolved { dtype, kv_dtype, context, batch, kv_policy, .. } = *resolved;
    let params_total = stored.map_or_else(|| params(config).total, stored_count);
    let weights_bytes = resolved_weights_bytes(config, stored, resolved);
    let kv_bytes_per_token = bytes_per_token(config, kv_dtype);
    let kv_cache_bytes = cache_bytes(config, kv_dtype, kv_policy, context, batch);
    let activation = activations::activations(config, dtype, resolved.attn, context, batch);

    let term = |name: &str, bytes, badge, formula| Term {
        name: name.to_owned(),
        bytes,
        badge,
        formula,
        device: "device".to_owned(),
    };
    let weights_formula = match stored {
        Some(_) if resolved.convert_to.is_none() => "sum of the tensors as stored".to_owned(),
        _ => format!("{} parameters in {dtype}", format_count(params_total)),
    };
    let kv_tokens = match kv_policy {
        KvPolicy::Full => format!("{context} tokens"),
        KvPolicy::Window => {
            format!(
                "min({context}, window {}) tokens",
                config.sliding_window.map_or("none".to_owned(), |w| w.to_string())
            )
        }
        KvPolicy::Paged => format!("{context} tokens in blocks of {PAGE_TOKENS}"),
    };
    let kv_formula = format!(
        "2 × {} layers × {} heads × {} × {kv_dtype} × {kv_tokens} × batch {batch}",
        config.num_hidden_layers, config.num_key_value_heads, config.head_dim,
    );
    let terms = vec![
        term("weights", weights_bytes, Badge::Exact, weights_formula),
        term("kv_cache", kv_cache_bytes, Badge::Exact, kv_formula),
        term("activations", activation.bytes, Badge::Formula, activation.formula),
        term("overhead", OVERHEAD_BYTES, Badge::Formula, "assumed: code, threads, tokenizer".to_owned()),
    ];
    Report {
        params_total,
        weights_bytes,
        kv_bytes_per_token,
        kv_cache_bytes,
        activation_bytes: activation.bytes,
        overhead_bytes: OVERHEAD_BYTES,
        total_bytes: total_bytes(config, weights_bytes, resolved),
        terms,
        assumptions: Vec::new(),
        fit: fit::Fit::default(),
    }
}

fn assumptions(
    config: &ModelConfig,
    stored: Option<&StoredTensors>,
    options: &Options,
    resolved: &Resolved,
) -> Vec<Assumption> {
    let mut list = Vec::new();
    let mut assume = |name: &str, value: String, is_default: bool| {
        list.push(Assumption { name: name.to_owned(), value, is_default });
    };
    let dtype_source = match (options.dtype, stored.and_then(stored_dtype), config.dtype) {
        (Some(_), ..) => "",
        (None, Some(_), _) => " (as stored)",
        (None, None, Some(_)) => " (the config's)",
        (None, None, None) => " (the config names none)",
    };
    assume("dtype", format!("{}{dtype_source}", resolved.dtype), options.dtype.is_none());
    assume("kv_dtype", resolved.kv_dtype.to_string(), options.kv_dtype.is_none());
    let positions = config.max_position_embeddings as u64;
    let beyond = if resolved.context > positions {
        format!(" (beyond the model's {positions} positions)")
    } else {
        String::new()
    };
    assume("context", format!("{} tokens{beyond}", resolved.context), options.context.is_none());
    assume("batch", resolved.batch.to_string(), options.batch.is_none());
    let attn = match resolved.attn {
        Attention::Eager => "eager",
        Attention::Fused => "fused",
    };
    assume("attn", attn.to_owned(), options.attn.is_none());
    assume("kv_policy", resolved.kv_policy.name().to_owned(), options.kv_policy.is_none());
    if let (KvPolicy::Window, Some(window)) = (resolved.kv_policy, config.sliding_window) {
        let value = format!("{window} tokens a layer; Hugging Face keeps {}", window - 1);
        assume("sliding_window", value, true);
    }
    assume(
        "runtime_overhead",
        format!("{} (not calibrated)", crate::units::format_bytes(OVERHEAD_BYTES)),
        true,
    );
    if resolved.dtype.is_quantized() && resolved.convert_to.is_some() {
        let value = "matrices, embedding and head included; norms stay f32".to_owned();
        assume("quantized_tensors", value, true);
    }
    for key in &config.defaulted {
        assume(key.0, "absent from the config: Hugging Face's Phi3Config default".to_owned(), true);
    }
    list
}
