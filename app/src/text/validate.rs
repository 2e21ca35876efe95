//! Validation.

pub const HEADING: &str = "Where it runs, and what";
pub const WILL_SHOW: &str = "What a validation shows";
pub const SHOWS: [&str; 4] = [
    "The text and its ids as they come, and how they ended.",
    "Time to first token, tokens a second, memory predicted and measured, term by term.",
    "Every layer looked through for NaN and Inf, the five likeliest tokens.",
    "The difference from the f32 reference on the same weights, and a verdict on it: pass, fail, or unverified with the reason.",
];
pub const RUNS_INSTEAD: &str = "What was given last does not run; the button runs";
pub const VALIDATE: &str = "Validate";
pub const LOOK_AGAIN: &str = "Look for a server";
pub const CANCEL: &str = "Cancel";
pub const CANCELLING: &str = "Cancelling…";
pub const ESC: &str = "Esc";
pub const CHECKING: &str = "Looking for a server…";
pub const ON_SERVER: &str =
    "Loads a model on the server, runs a short prompt and reports what came out. It runs the server’s model,";
pub const NOT_THIS_CONFIG: &str = ", not the config shown on this page.";
pub const NO_MODEL: &str =
    "This server knows no model: start it with --default-model DIR or --model-root DIR.";
pub const NEEDS_SERVER: &str = "No server answers: this page came from plain files.";
pub const COPY_COMMAND: &str = "Copy the command";
pub const OUTPUT: &str = "Generated text";
pub const LOG: &str = "Log of the worker";
pub const STATE_ASKING: &str = "Asking the server";
pub const STATE_DOWNLOADING: &str = "Fetching files from the Hub";
pub const STATE_CHECKING: &str = "Checking files and config";
pub const STATE_READY: &str = "Loaded";
pub const STATE_LOST: &str = "Lost: the server died while it went on";
pub const STATE_STARTING: &str = "Starting a worker process";
pub const STATE_RUNNING: &str = "Running the prompt";
pub const STATE_STOPPING: &str = "Ending the worker";
pub const STATE_STOPPED: &str = "Done";
pub const STATE_FAILED: &str = "Failed";
pub const STATE_CANCELLED: &str = "Cancelled";
pub const BROKEN: &str = "Connection lost; trying again";
pub const PASS: &str = "pass";
pub const FAIL: &str = "fail";
pub const LOST: &str = "lost";
pub const UNVERIFIED: &str = "unverified";
pub const TTFT: &str = "Time to first token";
pub const PREFILL: &str = "Prefill";
pub const DECODE: &str = "Decode";
pub const LOAD: &str = "Load";
pub const MEMORY: &str = "Memory measured";
pub const NAN_INF: &str = "NaN / Inf";
pub const DEVICE: &str = "Device, dtype";
pub const PROMPT: &str = "Prompt";
pub const GENERATED: &str = "Generated";
pub const PREDICTED: &str = "Predicted";
pub const MEASURED: &str = "Measured";
pub const DIFFERENCE: &str = "Difference";
pub const NOT_RUN: &str = "not run";
pub const NOT_MEASURED: &str = "–";
pub const PARTLY_FILLED: &str = "Predicted is what the load keeps for its whole context, measured what this short run filled of it: their KV cache and totals are not compared.";
pub const PROBE: &str = "Probe";
pub const TOKENS: &str = "Tokens";
pub const VERDICT: &str = "Verdict";
