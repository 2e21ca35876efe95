//! What a worker and whoever started it say to each other.
//!
//! A frame is a length (`u32`, little endian) and so many bytes of JSON: a [`Request`] on the worker's stdin,
//! a [`Message`] on its stdout. The worker's stderr is its log. One request is worked on at a time; `cancel` and the
//! end of stdin are heard at once. Streams are the exception: any number of them may run, `generate` begins one and
//! every message about it bears its id. Between two tokens requests are heard; a `validate` holds streams up.

use std::io;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{ErrorObject, Generate, StreamEvent};
use crate::config::ModelConfig;
use crate::dtype::DType;
use crate::engine::{DeviceInfo, EngineInfo, LoadProgress};
use crate::estimate::Calibration;
use crate::placement::DeviceId;
use crate::validate::{self, ProbeSet, Report};

/// Raised with every change that an older peer would not understand.
pub const PROTOCOL_VERSION: u32 = 2;

/// Largest frame that is sent or believed.
pub const MAX_FRAME_BYTES: usize = 16 << 20;

/// The argument that makes a worker's program look at one chat template and end: it reads a [`TemplateAsk`] from stdin and
/// answers with `Result<String, ErrorObject>`, both as JSON.
pub const RENDER_TEMPLATE: &str = "render-template";

/// What the process of a chat template is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TemplateAsk<R> {
    /// Whether this is a template: it is compiled, and not run. Answers with no text.
    Check(String),
    /// The text of a conversation.
    Render(R),
}

/// What a worker is asked to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Request {
    /// Load a model: answers `progress`… `loaded`.
    Load(Load),
    /// Run a validation of the loaded model: answers `token`… `report`.
    Validate(Validate),
    /// Write the logits of a sequence to a file: answers `done`.
    Logits {
        /// Ids, at least one.
        tokens: Vec<u32>,
        /// File to write; replaced as a whole when complete.
        out: String,
    },
    /// Generate a stream beside those that run: answers `stream` messages with its id.
    Generate(Generate),
    /// End a stream before its next token: it answers its last `stream` message; unknown ids are ignored.
    Stop {
        /// The stream.
        id: u64,
    },
    /// Stop what is being done: it answers `error` with code `cancelled`.
    Cancel,
    /// End.
    Shutdown,
}

/// Which model to load, and how.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Directory or file of weights.
    pub path: String,
    /// `auto`, `cpu`, `cuda:0`, `wgpu:0`, above the load config; `None` leaves it to that.
    pub device: Option<String>,
    /// The load config: overrides in Hugging Face's field names.
    pub load_config: Map<String, Value>,
    /// Format to hold weights in, above the load config.
    pub dtype: Option<DType>,
    /// Longest sequence; else the default of the estimator.
    pub context: Option<usize>,
    /// Sequences at once, each of a whole context; else one. On CUDA more run, as long as their caches find memory.
    #[serde(default)]
    pub batch: Option<usize>,
    /// The validation that will follow: the context is what it needs.
    pub validate: Option<Validate>,
    /// What measured loads say of the runtime's overhead: budgets hold it beside what the engine counts.
    #[serde(default)]
    pub calibration: Vec<Calibration>,
}

impl Load {
    /// Holds the context that is asked for against the positions of the model.
    ///
    /// # Errors
    /// `context_too_long`
    pub fn check_context(&self, config: &ModelConfig) -> Result<(), ErrorObject> {
        let Some(tokens) = self.context else { return Ok(()) };
        validate::check_context(config, tokens as u64)
            .map_err(|error| ErrorObject::new("context_too_long", error.to_string()))
    }
}

/// What to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Validate {
    /// The prompt.
    pub prompt: PromptSource,
    /// Most tokens to generate.
    pub max_new_tokens: usize,
    /// Which probes to run.
    pub probe: ProbeSet,
    /// Whether logits are held against those of f32 on the CPU; that loads the model once more.
    #[serde(default)]
    pub reference: bool,
}

impl Validate {
    /// Tokens to generate where nothing is said.
    pub const MAX_NEW_TOKENS: usize = 16;
}

/// Where a prompt comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "text", rename_all = "snake_case")]
pub enum PromptSource {
    /// The built-in sentence, cut to ten ids.
    Default,
    /// A text, encoded as it is.
    Text(String),
    /// One user message through the chat template, with the generation prompt.
    Chat(String),
}

/// What a worker says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Message {
    /// The first message.
    Hello {
        /// [`PROTOCOL_VERSION`] of the worker.
        protocol: u32,
        /// Its package version.
        build: String,
    },
    /// The process lives; once a second, from a thread of its own.
    Heartbeat,
    /// A load went on.
    Progress(LoadProgress),
    /// The model is loaded.
    Loaded(Loaded),
    /// A token was generated.
    Token {
        /// Its id.
        id: u32,
        /// Text that became readable with it; may be empty.
        text: String,
    },
    /// A stream went on.
    Stream {
        /// Which.
        id: u64,
        /// What happened.
        event: StreamEvent,
    },
    /// A validation is done.
    Report(Box<Report>),
    /// A request without an answer of its own is done.
    Done,
    /// The request failed.
    Error(ErrorObject),
}

/// A loaded model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Loaded {
    /// Engine, device, dtype, threads.
    pub engine: EngineInfo,
    /// Time from the request on, in ms.
    pub load_ms: f64,
    /// Parameters in the checkpoint.
    pub params_total: u64,
    /// Longest sequence.
    pub context: usize,
    /// Sequences that are generated at once; more of them wait.
    #[serde(default)]
    pub batch: usize,
    /// Bytes by term, as predicted and as measured after the load.
    pub memory: crate::validate::PredictedMeasured,
    /// Most of the host's memory that the process had while it loaded; 0 where the system does not tell.
    pub host_peak_bytes: u64,
    /// What lies on each device of a split; none where all lies on one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceMemory>,
}

/// What one device of a split holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceMemory {
    /// Which.
    pub device: DeviceId,
    /// Bytes by term, as the planner has it and as the engine counts it.
    pub memory: crate::validate::PredictedMeasured,
    /// What may lie there, where somebody said so.
    pub budget_bytes: Option<u64>,
}

/// What `preflight-worker --probe` prints: the devices that its engines can use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Package version of the worker.
    pub build: String,
    /// Devices, the preferred engine's first.
    pub devices: Vec<DeviceInfo>,
    /// Engines that found none.
    pub absent: Vec<AbsentBackend>,
}

/// An engine without a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbsentBackend {
    /// `cuda`, `wgpu`.
    pub backend: String,
    /// Why, in words.
    pub reason: String,
}

/// A frame that cannot be sent or believed.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// A length above [`MAX_FRAME_BYTES`].
    #[error("a frame of {0} bytes, above the limit of {MAX_FRAME_BYTES}")]
    TooLarge(usize),
    /// JSON that is no message of this protocol.
    #[error("a frame that is no message: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The stream failed or ended inside a frame.
    #[error("the stream broke: {0}")]
    Io(#[from] io::Error),
}

/// A message as a frame.
///
/// # Errors
/// Larger than [`MAX_FRAME_BYTES`].
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let len = check_len(frame.len() - 4)?;
    frame[..4].copy_from_slice(&len.to_le_bytes());
    Ok(frame)
}

/// The length that a frame's first four bytes announce.
///
/// # Errors
/// Larger than [`MAX_FRAME_BYTES`].
pub fn decode_len(prefix: [u8; 4]) -> Result<usize, FrameError> {
    let len = u32::from_le_bytes(prefix) as usize;
    check_len(len).map(|_checked| len)
}

/// The message in a frame's bytes.
///
/// # Errors
/// No message of this protocol.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    Ok(serde_json::from_slice(body)?)
}

/// Reads one message; `None` where the stream ends between frames.
///
/// # Errors
/// [`FrameError`]; the stream cannot be used after it.
pub fn read<T: DeserializeOwned>(stream: &mut impl io::Read) -> Result<Option<T>, FrameError> {
    let mut prefix = [0; 4];
    if stream.read(&mut prefix[..1])? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut prefix[1..])?;
    let mut body = vec![0; decode_len(prefix)?];
    stream.read_exact(&mut body)?;
    decode(&body).map(Some)
}

fn check_len(len: usize) -> Result<u32, FrameError> {
    u32::try_from(len).ok().filter(|_| len <= MAX_FRAME_BYTES).ok_or(FrameError::TooLarge(len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_round_trip() {
        let request = Request::Validate(Validate {
            prompt: PromptSource::Chat("Grüße".to_owned()),
            max_new_tokens: 16,
            probe: ProbeSet::None,
            reference: true,
        });
        let mut stream = encode(&request).expect("small");
        stream.extend(encode(&Request::Shutdown).expect("small"));
        let mut stream = stream.as_slice();
        assert_eq!(read::<Request>(&mut stream).expect("a frame"), Some(request));
        assert_eq!(read::<Request>(&mut stream).expect("a frame"), Some(Request::Shutdown));
        assert_eq!(read::<Request>(&mut stream).expect("the end"), None);
    }

    #[test]
    fn lies_are_refused() {
        let claims_4_gib = [0xff; 8];
        assert!(matches!(read::<Request>(&mut claims_4_gib.as_slice()), Err(FrameError::TooLarge(_))));
        let cut = [9, 0, 0, 0, b'{'];
        assert!(matches!(read::<Request>(&mut cut.as_slice()), Err(FrameError::Io(_))));
        let cut_prefix = [9, 0];
        assert!(matches!(read::<Request>(&mut cut_prefix.as_slice()), Err(FrameError::Io(_))));
        let garbage = [2, 0, 0, 0, b'h', b'i'];
        assert!(matches!(read::<Request>(&mut garbage.as_slice()), Err(FrameError::Malformed(_))));
        let huge = "x".repeat(MAX_FRAME_BYTES);
        assert!(matches!(encode(&huge), Err(FrameError::TooLarge(_))));
    }
}
