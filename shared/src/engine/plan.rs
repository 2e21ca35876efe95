//! What an engine is asked to load, and what it reports while it does.

use serde::{Deserialize, Serialize};

use super::Split;
use crate::config::ModelConfig;
use crate::dtype::DType;
pub use crate::estimate::activations::Attention;
use crate::load_config::Budgets;
use crate::placement::DeviceId;

/// A device that an engine can compute on, as a probe finds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// How it is asked for: `cpu`, `cuda:0`, `wgpu:0`.
    pub device: DeviceId,
    /// What its maker calls it.
    pub name: String,
    /// Its driver and the driver's version, where it has one.
    pub driver: Option<String>,
    /// Memory in all; `None` where nobody tells.
    pub total_bytes: Option<u64>,
    /// Memory that is free now; `None` where nobody tells.
    pub free_bytes: Option<u64>,
    /// Formats that weights can be held and multiplied in.
    pub dtypes: Vec<DType>,
    /// Ways to compute attention.
    pub attention: Vec<Attention>,
    /// A processor that plays a GPU: used where it is named, never chosen.
    pub is_software: bool,
}

/// A resolved load: nothing in it is a default any more.
#[derive(Debug, Clone)]
pub struct LoadPlan {
    /// The model after overrides.
    pub config: ModelConfig,
    /// Where it goes: a device of the engine that is asked. Of a split, the one that the embedding is on.
    pub device: DeviceId,
    /// Where each part goes, if not all to `device`.
    pub split: Option<Split>,
    /// Most bytes that the engine may hold on a device: weights, caches and activations, counted before each is
    /// allocated. What the process takes beside them is not counted, and neither is what diagnostics hold for a moment.
    pub budgets: Budgets,
    /// Format to hold and multiply weights in.
    pub dtype: DType,
    /// Format of the KV cache.
    pub kv_dtype: DType,
    /// How attention is computed.
    pub attention: Attention,
    /// Longest sequence that may be opened.
    pub context: usize,
    /// Most sequences open at once.
    pub batch: usize,
    /// Blocks of [`PAGE_TOKENS`](crate::estimate::PAGE_TOKENS) tokens that caches share, at least; they are allocated with
    /// the weights, and more where there is memory. `None`: each sequence has a cache of its own for all of its capacity.
    pub kv_blocks: Option<usize>,
    /// True: one tensor at a time on the host. False: the whole checkpoint is read first.
    pub low_cpu_mem_usage: bool,
    /// False: keys and values do not outlive a step, and every step computes the whole sequence.
    pub use_cache: bool,
}

impl LoadPlan {
    /// A plan in which everything else is plain: on the CPU, eager, one sequence, no budgets.
    #[must_use]
    pub fn new(config: ModelConfig, dtype: DType, context: usize) -> Self {
        Self {
            config,
            device: DeviceId::Cpu,
            split: None,
            budgets: Budgets::new(),
            dtype,
            kv_dtype: if dtype.is_float() { dtype } else { DType::Bf16 },
            attention: Attention::Eager,
            context,
            batch: 1,
            kv_blocks: None,
            low_cpu_mem_usage: true,
            use_cache: true,
        }
    }

    /// Where each part goes, all of them on one device or not.
    #[must_use]
    pub fn places(&self) -> Split {
        self.split.clone().unwrap_or_else(|| Split::whole(&self.device, self.config.num_hidden_layers))
    }
}

/// Where a load stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadStage {
    /// Files come from the Hub.
    Downloading,
    /// Headers, index, shapes.
    Checking,
    /// Bytes to the device.
    Weights,
    /// KV cache, tables, first run.
    Preparing,
}

/// A step of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadProgress {
    /// Where it stands.
    pub stage: LoadStage,
    /// Bytes done in this stage.
    pub done_bytes: u64,
    /// Bytes of this stage in all.
    pub total_bytes: u64,
}

/// Memory by term, predicted or measured: the same keys on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Weights on their device.
    pub weights_bytes: u64,
    /// KV cache.
    pub kv_cache_bytes: u64,
    /// Peak of temporaries and logits.
    pub activation_bytes: u64,
    /// What the runtime takes beside them.
    pub overhead_bytes: u64,
    /// All of it.
    pub total_bytes: u64,
}
