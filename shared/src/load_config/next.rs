//! When to try what: how an attempt ended, and the single changes to try next, as data.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{LoadConfig, OutcomeClass, budget_key, diff};
use crate::dtype::DType;
use crate::placement::DeviceId;
use crate::units::format_bytes;

/// Where a change is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// In the load config.
    LoadConfig,
    /// In what is run: an option of the estimate, or the prompt.
    Run,
}

/// One change to try.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// Where it is made.
    pub scope: Scope,
    /// The knob, an entry of a map (`max_memory.0`), or the run's option.
    pub key: String,
    /// Its new value.
    pub value: Value,
    /// Why it may help.
    pub reason: String,
    /// Why this build's engine would refuse a load with it, where it would.
    pub refused: Option<String>,
}

/// What is known beside the load config; what is not known makes no proposal that needs it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// The device that was tried.
    pub device: Option<DeviceId>,
    /// Memory that was free on it.
    pub free_bytes: Option<u64>,
    /// The format that weights were held in.
    pub dtype: Option<DType>,
    /// The context that was tried.
    pub context: Option<u64>,
    /// Tokens of the prompt that was tried.
    pub prompt_tokens: Option<u64>,
    /// Positions that the model was made for.
    pub max_position_embeddings: Option<u64>,
    /// The model's sliding window.
    pub sliding_window: Option<u64>,
    /// Whether the model's architecture and card allow a scaling of rotary positions.
    pub rope_scaling_allowed: bool,
}

/// What a step sets its key to.
#[derive(Debug, Clone, Copy)]
enum To {
    /// This JSON.
    Json(&'static str),
    /// The first of these dtypes that is narrower than the present one, or where it is not known the first.
    NarrowerDType(&'static [&'static str]),
    /// Nine tenths of the budget there is, else of what was free.
    Budget,
    /// The device that was tried, for every module.
    ThatDevice,
    /// A linear factor that reaches the context that was tried.
    LinearRope,
    /// Half the context that was tried, or the model's positions if the context is beyond them.
    ShorterContext,
    /// The sliding window less one.
    PromptInsideWindow,
    /// The opposite of what is set.
    Flip,
}

struct Step {
    scope: Scope,
    key: &'static str,
    to: To,
    reason: &'static str,
}

const fn set(key: &'static str, to: To, reason: &'static str) -> Step {
    Step { scope: Scope::LoadConfig, key, to, reason }
}

const fn run(key: &'static str, to: To, reason: &'static str) -> Step {
    Step { scope: Scope::Run, key, to, reason }
}

const SIXTEEN_BIT: &[&str] = &["bfloat16", "float16"];

/// Each class with the changes to try, the likeliest and smallest first.
const TABLE: &[(OutcomeClass, &[Step])] = &[
    (
        OutcomeClass::OomLoadHost,
        &[
            set(
                "low_cpu_mem_usage",
                To::Json("true"),
                "the host then holds one tensor at a time, not the whole checkpoint",
            ),
            set("dtype", To::NarrowerDType(SIXTEEN_BIT), "16 bit takes half of what float32 takes"),
            set("quantization", To::Json(r#""q8_0""#), "8 bit takes about half of what 16 bit takes"),
            set("quantization", To::Json(r#""q4_0""#), "4 bit takes about half of what 8 bit takes"),
        ],
    ),
    (
        OutcomeClass::OomDeviceWeights,
        &[
            set(
                "max_memory",
                To::Budget,
                "leaves room to what else lives on the device; with a budget for `cpu` beside it, what is over goes there",
            ),
            set("dtype", To::NarrowerDType(SIXTEEN_BIT), "16 bit takes half of what float32 takes"),
            set("quantization", To::Json(r#""q8_0""#), "8 bit takes about half of what 16 bit takes"),
            set("quantization", To::Json(r#""q4_0""#), "4 bit takes about half of what 8 bit takes"),
            set(
                "device_map",
                To::Json(r#""auto""#),
                "layers that do not fit on the device go to the CPU; slow",
            ),
            set("device_map", To::Json(r#""cpu""#), "the host has more memory; slow"),
        ],
    ),
    (
        OutcomeClass::OomDeviceKv,
        &[
            run("context", To::ShorterContext, "the KV cache grows with the context, and weights do not"),
            set("max_memory", To::Budget, "fewer weights on the device leave room for the cache"),
            set("dtype", To::NarrowerDType(SIXTEEN_BIT), "the cache is kept in the dtype: 16 bit halves it"),
            set("quantization", To::Json(r#""q8_0""#), "smaller weights leave room for the cache"),
        ],
    ),
    (
        OutcomeClass::OomDeviceActivation,
        &[
            set(
                "attn_implementation",
                To::Json(r#""fused""#),
                "no scores are written out, where the device has it",
            ),
            run("context", To::ShorterContext, "the rows of scores are as long as the context"),
            set("max_memory", To::Budget, "fewer weights on the device leave room for activations"),
        ],
    ),
    (
        OutcomeClass::DtypeUnsupported,
        &[
            set("dtype", To::Json(r#""float16""#), "devices without bfloat16 have float16"),
            set("dtype", To::Json(r#""float32""#), "every device has float32; twice the memory"),
        ],
    ),
    (
        OutcomeClass::PlacementFailed,
        &[
            set("device_map", To::ThatDevice, "an explicit map leaves nothing to be chosen"),
            set("device_map", To::Json(r#""sequential""#), "fills one device after the other, the CPU last"),
            set("device_map", To::Json(r#""cpu""#), "shows whether the weights deserialize at all"),
        ],
    ),
    (
        OutcomeClass::ContextTooLong,
        &[
            set(
                "rope_scaling",
                To::LinearRope,
                "stretches positions over the longer context; answers get worse",
            ),
            run("context", To::ShorterContext, "the model was made for fewer positions"),
        ],
    ),
    (
        OutcomeClass::WindowError,
        &[run("prompt_tokens", To::PromptInsideWindow, "a prompt inside the sliding window never needs it")],
    ),
    (
        OutcomeClass::KernelError,
        &[
            set("attn_implementation", To::Json(r#""eager""#), "needs no special kernel: the guard rail"),
            set("dtype", To::Json(r#""float16""#), "kernels for float16 are the commonest"),
            set("device_map", To::Json(r#""cpu""#), "shows whether the model or the device is at fault"),
        ],
    ),
    (
        OutcomeClass::NanInf,
        &[
            set("attn_implementation", To::Json(r#""eager""#), "fused kernels hide where a number overflows"),
            set(
                "dtype",
                To::Json(r#""bfloat16""#),
                "float16 overflows above 65504; bfloat16 has the range of float32",
            ),
            set("dtype", To::Json(r#""float32""#), "the reference: what is still NaN is in the weights"),
        ],
    ),
    (
        OutcomeClass::WrongTokens,
        &[
            set("add_bos_token", To::Flip, "a missing or doubled bos id spoils every answer"),
            set("use_fast", To::Json("false"), "some cards require the slow tokenizer"),
            set(
                "attn_implementation",
                To::Json(r#""eager""#),
                "fused kernels may leave out the sliding window",
            ),
            set("dtype", To::Json(r#""float32""#), "the reference: what is still wrong is not rounding"),
        ],
    ),
    (
        OutcomeClass::Timeout,
        &[
            run("context", To::ShorterContext, "the time of a prompt grows with its length"),
            set("low_cpu_mem_usage", To::Json("true"), "a host that swaps is slow"),
            set("device_map", To::ThatDevice, "layers on the CPU are slow"),
        ],
    ),
    (
        OutcomeClass::Stall,
        &[
            set("low_cpu_mem_usage", To::Json("true"), "a host that swaps looks dead"),
            set("attn_implementation", To::Json(r#""eager""#), "a kernel may hang the device"),
        ],
    ),
    (
        OutcomeClass::WorkerLost,
        &[
            set("low_cpu_mem_usage", To::Json("true"), "the system ends what takes too much memory"),
            set("attn_implementation", To::Json(r#""eager""#), "a kernel may have crashed the process"),
        ],
    ),
];

/// The single changes to try after `outcome`, the likeliest first. What is set already is left out, and so is
/// what cannot be said for want of facts.
#[must_use]
pub fn next_changes(outcome: OutcomeClass, current: &LoadConfig, facts: &Facts) -> Vec<Proposal> {
    let steps = TABLE.iter().find(|(class, _)| *class == outcome).map_or(&[][..], |(_, steps)| steps);
    steps.iter().filter_map(|step| proposal(step, current, facts)).collect()
}

fn proposal(step: &Step, current: &LoadConfig, facts: &Facts) -> Option<Proposal> {
    let mut key = step.key.to_owned();
    let mut reason = step.reason.to_owned();
    let dtype = current.dtype.or(facts.dtype);
    let value = match step.to {
        To::Json(json) => serde_json::from_str(json).ok()?,
        To::NarrowerDType(names) => {
            let narrower = |name: &&&str| {
                let candidate = name.parse::<DType>();
                candidate.is_ok_and(|to| dtype.is_none_or(|now| to.row_bytes(1) < now.row_bytes(1)))
            };
            // Where the format is not known it may be 16 bit already, and then this would change nothing.
            dtype?;
            (*names.iter().find(narrower)?).into()
        }
        To::Budget => {
            let device = facts.device.as_ref().filter(|device| **device != DeviceId::Cpu)?;
            let bound = current.max_memory.get(device).copied().or(facts.free_bytes)?;
            let budget = bound / 10 * 9;
            key = format!("{key}.{}", budget_key(device));
            reason = format!("{reason} ({} of {})", format_bytes(budget), format_bytes(bound));
            budget.into()
        }
        To::ThatDevice => {
            let device = facts.device.as_ref().filter(|device| **device != DeviceId::Cpu)?;
            serde_json::json!({ "": device.to_string() })
        }
        To::LinearRope => {
            let (context, positions) = (facts.context?, facts.max_position_embeddings?);
            if !facts.rope_scaling_allowed || context <= positions || current.rope_scaling.is_some() {
                return None;
            }
            serde_json::json!({ "rope_type": "linear", "factor": context.div_ceil(positions) as f64 })
        }
        To::ShorterContext => {
            let context = facts.context?;
            let shorter = facts.max_position_embeddings.filter(|max| *max < context).unwrap_or(context / 2);
            (shorter > 0).then(|| shorter.into())?
        }
        To::PromptInsideWindow => {
            let window = current.sliding_window.unwrap_or(facts.sliding_window)?;
            let inside = window.checked_sub(1).filter(|tokens| *tokens > 0)?;
            facts.prompt_tokens.is_none_or(|tokens| tokens > inside).then(|| inside.into())?
        }
        To::Flip => (!current.add_bos_token.unwrap_or(false)).into(),
    };
    let refused = match step.scope {
        Scope::Run => None,
        Scope::LoadConfig => {
            let changed = current.with(&key, &value).ok()?;
            // A format that the weights are in already, whoever chose it, is no change, nor is another name of fused.
            let as_it_is = match step.key {
                "dtype" => changed.dtype.is_some() && changed.dtype == dtype,
                "attn_implementation" => changed.attention == current.attention,
                _ => false,
            };
            if diff(current, &changed).is_empty() || as_it_is {
                return None;
            }
            changed.refusals().first().map(ToString::to_string)
        }
    };
    Some(Proposal { scope: step.scope, key, value, reason, refused })
}

/// What to do where no change of the load config helps.
#[must_use]
pub fn advice(outcome: OutcomeClass) -> Option<&'static str> {
    Some(match outcome {
        OutcomeClass::ConfigInvalid => "correct the value that the error names, or take it out",
        OutcomeClass::UnknownArchitecture => {
            "no load config changes an architecture: use an engine that knows it"
        }
        OutcomeClass::DownloadCorrupt => "fetch the files again and compare their sizes and hashes",
        OutcomeClass::MissingTensor => {
            "config and weights are of different models or revisions: fetch both from one"
        }
        OutcomeClass::DeviceAbsent => "name a device that is there, or let the loader choose",
        OutcomeClass::Timeout | OutcomeClass::Stall | OutcomeClass::WorkerLost => {
            "try once more as it is: this can be the machine's fault"
        }
        OutcomeClass::SystemError => {
            "no load config mends the machine: do what the error says, then try again"
        }
        _ => return None,
    })
}
