//! From a page of the browser to the server.

use phi3::units::format_bytes;

pub const RUN: &str = "Run on server";
pub const TITLE: &str = "Run on the server";
pub const WHY: &str = "Takes what this page says along: the load config, the context, the device. What comes of it is kept as an attempt.";
pub const TASK: &str = "What to do";
pub const LOAD: &str = "Load";
pub const LOAD_WHY: &str = "Load, and keep it until it is unloaded";
pub const VALIDATE: &str = "Validate";
pub const VALIDATE_WHY: &str = "Load, run a short prompt, report, unload";
pub const LADDER: &str = "Ladder";
pub const LADDER_WHY: &str = "One change at a time, rung after rung, from these overrides";
pub const MODEL: &str = "Model of the server";
pub const SAME: &str = "called like the one on this page";
pub const NOT_SAME: &str =
    "The server has no model that is called like the one on this page: it runs its own files.";
pub const NO_MODELS: &str =
    "The server knows no model: start it with --model-root DIR, or register one on the page Models.";
pub const DEVICE: &str = "Device";
pub const AS_PLANNED: &str = "as the load config says";
pub const AUTO: &str = "the server chooses";
pub const CARRIED: &str = "Goes along";
pub const CONTEXT: &str = "Context";
pub const CONTEXT_DEFAULT: &str = "the server’s default";
pub const LOAD_CONFIG: &str = "Load config";
pub const NOTHING: &str = "no overrides";
pub const LEFT: &str = "Stays here";
pub const GO: &str = "Run";
pub const GOING: &str = "Asking…";
pub const FORCE: &str = "Run all the same";
pub const BRANCH: &str = "Run as a branch";
pub const CANCEL: &str = "Close";
pub const LOOKING: &str = "Asking the server for its models and devices…";
pub const THIS_BROWSER: &str = "This browser";
pub const NOT_THERE: &str = "it is no device of the server";
pub const NO_SUCH_DEVICE: &str = "the server has no such device";
pub const MEASURES_FREE: &str = "the server measures what is free";
pub const ESTIMATE_ONLY: &str = "an estimate only: no engine here quantizes to it on load";
pub const ENGINE_KEEPS: &str = "the engine decides how its cache is kept";
pub const ENGINE_BATCHES: &str = "the server batches requests by itself";
pub const NO_CONTEXT: &str = "a validation takes as much as its prompts need";

pub fn weights(name: &str) -> String {
    format!("weights in {name}")
}

pub fn kv_cache(name: &str) -> String {
    format!("KV cache in {name}")
}

pub fn kv_policy(name: &str) -> String {
    format!("KV policy {name}")
}

pub fn batch(count: u64) -> String {
    format!("batch {count}")
}

pub fn memory(bytes: u64) -> String {
    format!("{} of free memory", format_bytes(bytes))
}

pub fn context(tokens: u64) -> String {
    format!("context of {}", super::plural(tokens, "token"))
}

pub fn no_toml(key: &str) -> String {
    format!("{key} is null, which a profile in TOML cannot say: leave it out, or load instead of climbing")
}
