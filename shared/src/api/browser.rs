//! What the page asks of the engines in its worker, and what they say.

use serde::{Deserialize, Serialize};

use super::ErrorObject;
use crate::dtype::DType;
use crate::engine::LoadProgress;
use crate::placement::DeviceId;
use crate::validate::{Difference, ProbeSet, Report};

/// Validations in a browser, one device after the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BrowserRun {
    /// `cpu`, `wgpu:0`, or both: two are held against each other.
    pub devices: Vec<DeviceId>,
    /// Where the model's files are.
    pub source: BrowserSource,
    /// Format to hold the weights in; `None`: as stored.
    #[serde(default)]
    pub dtype: Option<DType>,
    /// What is to be continued; `None`: the default prompt, cut to its first ids.
    #[serde(default)]
    pub prompt: Option<String>,
    /// Most ids to generate, at least one.
    pub max_new_tokens: usize,
    /// Boundaries to cross.
    #[serde(default)]
    pub probe: ProbeSet,
    /// Leaves the comparison with the CPU in f32 out: who measures speed does not wait for it.
    #[serde(default)]
    pub skip_reference: bool,
    /// Threads of the CPU engine, this many at most: more than one only where the page is cross-origin isolated.
    #[serde(default)]
    pub threads: usize,
    /// Times that it is run again on the loaded model, each with a report: who measures speed takes the middle of several.
    #[serde(default)]
    pub repeats: usize,
}

/// Where a browser finds a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum BrowserSource {
    /// Files below an address: those of the model that comes with the page. Weights are read by ranges, or whole
    /// where the host knows no ranges.
    Fetched {
        /// Relative to the page or absolute, without a slash at its end.
        base: String,
    },
    /// Files that a person chose, posted beside the run.
    Chosen,
    /// Files that this browser keeps.
    Kept {
        /// Name of their directory.
        id: String,
    },
    /// A config whose weights are made up: size and speed are the model's, what it says means nothing.
    MadeUp {
        /// Its config.json.
        config: String,
        /// Ids of the made-up prompt; `None`: as many as the default prompt has.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prompt_tokens: Option<usize>,
    },
}

/// How a run goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum BrowserEvent {
    /// It is a device's turn.
    Started {
        /// Which device.
        device: DeviceId,
    },
    /// A load went on.
    Progress {
        /// How far it is.
        progress: LoadProgress,
    },
    /// The model is loaded, the prompt runs.
    Validating,
    /// A token was generated.
    Token {
        /// Its id.
        token: u32,
        /// Text that became readable with it; may be empty.
        text: String,
    },
    /// The f32 reference is loaded and computed.
    Comparing,
    /// A device's turn is over.
    Report {
        /// Its report.
        report: Box<Report>,
    },
    /// The second device's logits held against the first's.
    Compared {
        /// How far they are apart.
        difference: Difference,
    },
    /// So much of a model that is kept was copied or verified.
    Kept {
        /// Bytes done.
        done_bytes: u64,
        /// Bytes of all its files.
        total_bytes: u64,
    },
    /// Nothing more will come; all went to its end.
    Finished,
    /// Nothing more will come: it failed.
    Failed {
        /// Why.
        error: ErrorObject,
    },
}
