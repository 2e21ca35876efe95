//! What is kept of an attempt beside what everyone is told while it goes on.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Attempt, ModelSource};
use crate::engine::EngineInfo;
use crate::load_config::{Leaf, Proposal};
use crate::validate::PredictedMeasured;

use super::worker::Validate;

/// Everything that is kept of an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AttemptRecord {
    /// What everyone is told.
    #[serde(flatten)]
    pub attempt: Attempt,
    /// What makes it repeatable.
    #[serde(flatten)]
    pub evidence: Evidence,
}

/// What makes an attempt repeatable, and what it measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Evidence {
    /// Where the model's files are from.
    pub source: ModelSource,
    /// Whether more than one change against the parent was asked for.
    pub branch: bool,
    /// Every value that holds, with the layer it comes from.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub resolved: Vec<Leaf>,
    /// What was to be run.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub run: Option<Validate>,
    /// Seed of the sampler; null for greedy runs, which need none.
    pub seed: Option<u64>,
    /// The model's files.
    pub files: Vec<FileFact>,
    /// Where it ran.
    pub environment: Environment,
    /// Bytes that the estimator says, by term and in all; set before a worker is started.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub predicted: Option<Map<String, Value>>,
    /// Engine, device, dtype, threads; set when the model was loaded.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub engine: Option<EngineInfo>,
    /// Longest sequence that it was loaded for.
    pub context: Option<usize>,
    /// The longest sequence that was asked for; null where that was left to the model.
    #[serde(default)]
    pub asked_context: Option<usize>,
    /// Bytes by term after the load, predicted and measured.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub memory: Option<PredictedMeasured>,
    /// How long its stages took.
    pub timings: Timings,
    /// What came back when its worker ended.
    pub unload: Option<Unload>,
    /// What to try next, where it failed.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub next: Vec<Proposal>,
    /// What to do where no change of the load config helps.
    pub advice: Option<String>,
}

impl Evidence {
    /// Of a model's files and a machine, with nothing measured yet.
    #[must_use]
    pub fn new(source: ModelSource, environment: Environment) -> Self {
        Self {
            source,
            branch: false,
            resolved: Vec::new(),
            run: None,
            seed: None,
            files: Vec::new(),
            environment,
            predicted: None,
            engine: None,
            context: None,
            asked_context: None,
            memory: None,
            timings: Timings::default(),
            unload: None,
            next: Vec::new(),
            advice: None,
        }
    }
}

/// One of a model's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FileFact {
    /// Its plain name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 in hexadecimal digits; null until it has been computed.
    pub sha256: Option<String>,
}

/// Machine, driver and build.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Environment {
    /// Version of this build.
    pub build: String,
    /// Version that the worker says it is of.
    pub worker_build: Option<String>,
    /// Operating system and version.
    pub os: String,
    /// Kernel.
    pub kernel: String,
    /// Processor.
    pub cpu: String,
    /// Its logical cores.
    pub cores: usize,
    /// Memory of the machine, or of the container where that is less.
    pub memory_bytes: u64,
    /// GPUs by name, as the driver tells them.
    pub gpus: Vec<String>,
    /// The GPU's driver, where there is one.
    pub driver: Option<String>,
    /// What else matters: WSL, a container.
    pub notes: Vec<String>,
}

/// How long the stages took, by a clock that does not jump; null where a stage was not reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Timings {
    /// In the queue.
    pub queued_ms: Option<f64>,
    /// Files from the Hub.
    #[serde(default)]
    pub downloading_ms: Option<f64>,
    /// Files, config and load config.
    pub checking_ms: Option<f64>,
    /// From the start of the process to its greeting.
    pub starting_ms: Option<f64>,
    /// Weights.
    pub loading_ms: Option<f64>,
    /// The validation.
    pub validating_ms: Option<f64>,
    /// Loaded, waiting for requests.
    pub ready_ms: Option<f64>,
    /// The end of the worker.
    pub stopping_ms: Option<f64>,
}

/// Memory around the end of a worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Unload {
    /// Resident in the worker before; null where the system does not tell.
    pub worker_resident_bytes: Option<u64>,
    /// Available on the host before the worker was started.
    pub host_available_before_load_bytes: Option<u64>,
    /// Available on the host before the worker ended.
    pub host_available_before_bytes: Option<u64>,
    /// Available on the host after it.
    pub host_available_after_bytes: Option<u64>,
    /// Used on the GPU before the worker was started.
    pub gpu_used_before_load_bytes: Option<u64>,
    /// Used on the GPU before the worker ended.
    pub gpu_used_before_bytes: Option<u64>,
    /// Used on the GPU after it.
    pub gpu_used_after_bytes: Option<u64>,
}
