//! From a request to what an engine is asked to load: overrides, defaults, budget.

use phi3::api::ErrorObject;
use phi3::api::worker::Load;
use phi3::config::ModelConfig;
use phi3::engine::{LoadPlan, Memory};
use phi3::estimate::{self, Options, Resolved};
use phi3::load_config::LoadConfig;
use phi3::placement::DeviceId;
use phi3::units::format_bytes;
use phi3::weights::Checkpoint;
use preflight_files::{Model, WeightFile};

/// A load that is decided, and what the estimator says of it.
pub(crate) struct Planned {
    pub(crate) plan: LoadPlan,
    pub(crate) resolved: Resolved,
}

/// The overrides of a request, and the config under them.
pub(crate) fn overrides(model: &Model, load: &Load) -> Result<(LoadConfig, ModelConfig), ErrorObject> {
    let overrides = LoadConfig::from_map(&load.load_config).map_err(|error| ErrorObject::from(&error))?;
    if let Some(error) = overrides.refusals().first() {
        return Err(error.into());
    }
    let config = overrides.apply(&model.fields()?).map_err(|error| model.refuse(error))?;
    Ok((overrides, config))
}

/// Decides everything that a request and its overrides leave open. `context` is the longest sequence, `device` where
/// the model goes.
pub(crate) fn plan(
    load: &Load,
    overrides: &LoadConfig,
    config: &ModelConfig,
    checkpoint: &Checkpoint<WeightFile>,
    context: Option<usize>,
    device: DeviceId,
) -> Result<Planned, ErrorObject> {
    let options = overrides.options(&Options {
        dtype: load.dtype.map(Into::into),
        context: context.map(|tokens| tokens as u64),
        ..Options::default()
    });
    let decoder = config.decoder();
    let resolved = Resolved::new(&decoder, Some(checkpoint.tensors()), &options)
        .map_err(|error| ErrorObject::new("invalid_option", error.to_string()).at(error.option))?;
    // Block formats of a GGUF are widened to what the engine computes in; it refuses what it does not.
    let dtype = resolved.format.plain().unwrap_or_else(|| resolved.format.compute_dtype());
    let planned = Planned {
        plan: LoadPlan {
            device,
            kv_dtype: resolved.kv_dtype,
            attention: resolved.attn,
            batch: resolved.batch as usize,
            low_cpu_mem_usage: overrides.low_cpu_mem_usage.unwrap_or(true),
            ..LoadPlan::new(config.clone(), dtype, resolved.context as usize)
        },
        resolved,
    };
    let predicted = planned.predicted(checkpoint);
    let budget = overrides.max_memory.get(&DeviceId::Cpu).copied();
    if let Some(budget) = budget.filter(|budget| predicted.total_bytes > *budget) {
        let message = format!(
            "needs {}, max_memory allows {} on cpu: raise it, or shorten the context",
            format_bytes(predicted.total_bytes),
            format_bytes(budget)
        );
        return Err(ErrorObject::new("oom", message).at("max_memory.cpu"));
    }
    Ok(planned)
}

impl Planned {
    /// What the estimator says of the load, term by term.
    pub(crate) fn predicted(&self, checkpoint: &Checkpoint<WeightFile>) -> Memory {
        let report =
            estimate::memory(&self.plan.config.decoder(), Some(checkpoint.tensors()), &self.resolved);
        Memory {
            weights_bytes: report.weights_bytes,
            kv_cache_bytes: report.kv_cache_bytes,
            activation_bytes: report.activation_bytes,
            overhead_bytes: report.overhead_bytes,
            total_bytes: report.total_bytes,
        }
    }
}
