//! From a request to what an engine is asked to load: overrides and defaults.

use phi3::api::ErrorObject;
use phi3::api::worker::{DeviceMemory, Load};
use phi3::config::ModelConfig;
use phi3::engine::{LoadPlan, Memory};
use phi3::estimate::activations::{self, Workspace};
use phi3::estimate::{self, KvPolicy, Options, PAGE_TOKENS, Resolved};
use phi3::load_config::{Budgets, LoadConfig};
use phi3::placement::{DeviceId, Placement};
use phi3::validate::PredictedMeasured;
use phi3::weights::Checkpoint;
use preflight_files::{Model, WeightFile, of_override};

/// From here on the workspace grows with each sequence.
const LOGIT_ROWS: usize = activations::LOGIT_ROWS as usize;

/// Streams that run at once on CUDA: as many as its kernels take through one reading of the weights.
const CUDA_STREAMS: usize = 32;

/// A load that is decided, and what the estimator and the planner say of it.
pub(crate) struct Planned {
    pub(crate) plan: LoadPlan,
    pub(crate) resolved: Resolved,
    /// What goes where, if not all to one device.
    pub(crate) placement: Option<Placement>,
    /// What may lie on each device, everything counted.
    pub(crate) budgets: Budgets,
    /// Streams that may run at once.
    pub(crate) streams: usize,
}

/// The overrides of a request, and the config under them.
pub(crate) fn overrides(model: &Model, load: &Load) -> Result<(LoadConfig, ModelConfig), ErrorObject> {
    let overrides = LoadConfig::from_map(&load.load_config).map_err(|error| ErrorObject::from(&error))?;
    if let Some(error) = overrides.refusals().first() {
        return Err(error.into());
    }
    let own = model.fields()?;
    let config = overrides.apply(&own).map_err(|error| {
        of_override(&overrides, &own, &error).unwrap_or_else(|| model.refuse(error).into())
    })?;
    Ok((overrides, config))
}

/// Decides everything that a request and its overrides leave open, but for the devices. `context` is the longest
/// sequence.
pub(crate) fn plan(
    load: &Load,
    overrides: &LoadConfig,
    config: &ModelConfig,
    checkpoint: &Checkpoint<WeightFile>,
    context: Option<usize>,
) -> Result<Planned, ErrorObject> {
    let options = overrides.options(&Options {
        dtype: load.dtype.map(Into::into),
        context: context.map(|tokens| tokens as u64),
        batch: load.batch.map(|sequences| sequences as u64),
        calibration: load.calibration.clone(),
        ..Options::default()
    });
    let decoder = config.decoder();
    let resolved = Resolved::of_load(&decoder, Some(&checkpoint.language_model(&decoder)), &options)
        .map_err(|error| ErrorObject::new("invalid_option", error.to_string()).at(error.option))?;
    // Block formats of a GGUF are widened to what the engine computes in; it refuses what it does not.
    let dtype = resolved.format.held_dtype();
    Ok(Planned {
        plan: LoadPlan {
            kv_dtype: resolved.kv_dtype,
            attention: resolved.attn,
            // What is held for use keeps a place for a validation meanwhile; its cache is one of those predicted.
            batch: resolved.batch as usize + usize::from(load.batch.is_some_and(|most| most < LOGIT_ROWS)),
            low_cpu_mem_usage: overrides.low_cpu_mem_usage.unwrap_or(true),
            use_cache: overrides.use_cache.unwrap_or(true),
            ..LoadPlan::new(config.clone(), dtype, resolved.context as usize)
        },
        streams: resolved.batch as usize,
        resolved,
        placement: None,
        budgets: Budgets::new(),
    })
}

impl Planned {
    /// On CUDA, more streams than have a whole context predicted: a step of many takes hardly longer than one of a few,
    /// and their caches share what was predicted, and what memory there is beyond it. A stated budget is for what was
    /// predicted alone.
    pub(crate) fn let_in(&mut self, device: &DeviceId) {
        let shares = self.streams > 1 && !self.budgets.contains_key(device);
        if shares && matches!(device, DeviceId::Gpu { backend, .. } if backend == "cuda") {
            let beside = self.plan.batch - self.streams;
            self.streams = self.streams.max(CUDA_STREAMS);
            self.plan.batch = self.streams + beside;
            let blocks = self.resolved.context.div_ceil(u64::from(PAGE_TOKENS)) * self.resolved.batch;
            self.plan.kv_blocks = usize::try_from(blocks).ok();
            self.resolved.kv_policy = KvPolicy::PAGED;
        }
    }

    /// What the estimator says of the load, term by term. Of a split, each device computes in memory of its own.
    pub(crate) fn predicted(&self) -> Memory {
        if let Some(placement) = &self.placement {
            return placement.devices.iter().fold(Memory::default(), |sum, device| Memory {
                weights_bytes: sum.weights_bytes + device.weights_bytes,
                kv_cache_bytes: sum.kv_cache_bytes + device.kv_cache_bytes,
                activation_bytes: sum.activation_bytes + device.activation_bytes,
                overhead_bytes: sum.overhead_bytes + device.overhead_bytes,
                total_bytes: sum.total_bytes + device.total_bytes,
            });
        }
        let decoder = self.plan.config.decoder();
        let report = estimate::memory(&decoder, None, &self.resolved);
        // The place kept for a validation computes in the same buffers, which may be larger for it.
        let resolved = Resolved { batch: self.plan.batch as u64, ..self.resolved.clone() };
        let activation_bytes = Workspace::on(resolved.backend, &decoder, &resolved).bytes();
        Memory {
            weights_bytes: report.weights_bytes,
            kv_cache_bytes: report.kv_cache_bytes,
            activation_bytes,
            overhead_bytes: report.overhead_bytes,
            total_bytes: report.total_bytes - report.activation_bytes + activation_bytes,
        }
    }

    /// What an engine counts on each device of a split, beside what the planner says; the runtime only where the engine
    /// knows it.
    pub(crate) fn by_device(&self, measured: &[(DeviceId, Memory)]) -> Vec<DeviceMemory> {
        let Some(placement) = &self.placement else { return Vec::new() };
        let of = |(device, measured): &(DeviceId, Memory)| {
            let planned = placement.devices.iter().find(|planned| planned.device == *device)?;
            let overhead_bytes = if measured.overhead_bytes > 0 { planned.overhead_bytes } else { 0 };
            let predicted = Memory {
                weights_bytes: planned.weights_bytes,
                kv_cache_bytes: planned.kv_cache_bytes,
                activation_bytes: planned.activation_bytes,
                overhead_bytes,
                total_bytes: planned.total_bytes - planned.overhead_bytes + overhead_bytes,
            };
            Some(DeviceMemory {
                device: device.clone(),
                memory: PredictedMeasured { predicted, measured: *measured },
                budget_bytes: self.budgets.get(device).copied(),
            })
        };
        measured.iter().filter_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use phi3::dtype::DType;

    use super::*;

    fn held_for(streams: u64) -> Planned {
        let json = br#"{"model_type": "phi3", "hidden_size": 96, "intermediate_size": 160, "num_hidden_layers": 2,
            "num_attention_heads": 6, "num_key_value_heads": 2, "vocab_size": 333, "max_position_embeddings": 64}"#;
        let config = ModelConfig::parse(json).expect("a good config");
        let options = Options { batch: Some(streams), ..Options::default() };
        let resolved = Resolved::new(&config.decoder(), None, &options).expect("resolves");
        Planned {
            plan: LoadPlan { batch: streams as usize + 1, ..LoadPlan::new(config, DType::F32, 64) },
            streams: streams as usize,
            resolved,
            placement: None,
            budgets: Budgets::new(),
        }
    }

    #[test]
    fn cuda_lets_more_streams_in_than_were_predicted() {
        let device = |name: &str| name.parse::<DeviceId>().expect("a device");
        let after = |mut planned: Planned, name: &str| {
            planned.let_in(&device(name));
            let paged = planned.resolved.kv_policy == KvPolicy::PAGED;
            assert_eq!(paged, planned.plan.kv_blocks.is_some());
            (planned.streams, planned.plan.batch, planned.resolved.batch, planned.plan.kv_blocks)
        };
        // 64 tokens are four blocks.
        assert_eq!(after(held_for(2), "cuda:0"), (CUDA_STREAMS, CUDA_STREAMS + 1, 2, Some(8)));
        assert_eq!(after(held_for(40), "cuda:0"), (40, 41, 40, Some(160)));
        // Elsewhere, for one alone and within a stated budget it stays at what was predicted.
        assert_eq!(after(held_for(2), "cpu"), (2, 3, 2, None));
        assert_eq!(after(held_for(1), "cuda:0"), (1, 2, 1, None));
        let mut bound = held_for(2);
        bound.budgets.insert(device("cuda:0"), 1 << 30);
        assert_eq!(after(bound, "cuda:0"), (2, 3, 2, None));
    }
}
