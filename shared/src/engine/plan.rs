//! What an engine is asked to load, and what it reports while it does.

use serde::{Deserialize, Serialize};

use crate::config::ModelConfig;
use crate::dtype::DType;
pub use crate::estimate::activations::Attention;

/// A resolved load: nothing in it is a default any more.
#[derive(Debug, Clone)]
pub struct LoadPlan {
    /// The model after overrides.
    pub config: ModelConfig,
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
    /// True: one tensor at a time on the host. False: the whole checkpoint is read first.
    pub low_cpu_mem_usage: bool,
}

/// Where a load stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadStage {
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
