//! The playground.

use crate::state::answer::End;
use crate::state::sampling::Field;

pub const CONVERSATION: &str = "Conversation";
pub const MODEL: &str = "Model";
pub const SETTINGS: &str = "Settings";
pub const SYSTEM: &str = "System prompt";
pub const SYSTEM_HINT: &str = "Stands before the conversation, where the chat template has a place for it";
pub const ASK: &str = "Ask the model";
pub const ASK_HINT: &str = "Ask something. Enter sends, Shift Enter begins a line.";
pub const SEND: &str = "Send";
pub const STOP: &str = "Stop";
pub const CLEAR: &str = "New conversation";
pub const TAKE_BACK: &str = "Ask anew";
pub const TAKE_BACK_WHY: &str = "Takes the last question back, to change or send it again";
pub const COPY: &str = "Copy";
pub const WHAT_ANSWER: &str = "the answer";
pub const YOU: &str = "You";
pub const EMPTY: &str = "Nothing was asked yet. The conversation stays in this tab; no link holds it.";
pub const LOOKING: &str = "Looking for loaded models…";
pub const NONE_LOADED: &str = "No model is loaded";
pub const NONE_LOADED_WHY: &str =
    "A conversation needs a model in memory. Load one: it stays until it is unloaded.";
pub const NO_MODELS: &str =
    "This server knows no model: start it with --model-root DIR, or register one on the page Models.";
pub const LOAD: &str = "Load";
pub const PLANNED: &str = "Loads with the load config that is planned.";
pub const TO_MODELS: &str = "All models";
pub const WHY: &str = "Why";
pub const TTFT: &str = "Time to first token";
pub const DECODE: &str = "Decode";
pub const ANSWER: &str = "Answer";
pub const PROMPT: &str = "Prompt";
pub const NOT_TOLD: &str = "not told";
pub const CONTEXT: &str = "Context";
pub const DEVICE: &str = "Device, dtype";
pub const WAITING: &str = "waiting for the first token";
pub const ANSWERING: &str = "answering";

pub fn label(field: Field) -> &'static str {
    match field {
        Field::Temperature => "Temperature",
        Field::TopP => "top_p",
        Field::MaxTokens => "Most tokens",
        Field::Seed => "Seed",
    }
}

/// What holds where a field is empty.
pub fn default(field: Field) -> &'static str {
    match field {
        Field::Temperature | Field::TopP => "1",
        Field::MaxTokens => "context’s end",
        Field::Seed => "drawn",
    }
}

pub fn expected(field: Field) -> &'static str {
    match field {
        Field::Temperature => "a number from 0 (greedy) to 2",
        Field::TopP => "a number from 0 to 1",
        Field::MaxTokens => "a whole number above 0",
        Field::Seed => "a whole number from 0",
    }
}

pub fn end(end: End) -> &'static str {
    match end {
        End::Stop => "ended by a stop id",
        End::Length => "cut at the limit",
        End::Here => "stopped here",
        End::There => "ended by the server",
        End::Broken => "broke off",
    }
}

/// What to do about an error, by its code.
pub fn next(code: &str) -> &'static str {
    match code {
        "context_length_exceeded" | "context_too_long" => {
            "Begin a new conversation, or load the model with a longer context."
        }
        "model_not_found" | "model_unloaded" | "not_loaded" => "Load the model again.",
        "rate_limit_error" | "busy" | "too_many_requests" => {
            "Other requests come first: send it again in a moment."
        }
        "unauthorized" => "Give the server’s token on the page Settings.",
        "server_absent" => "It goes on as soon as the server is back; what was asked can be asked anew.",
        _ => "Ask anew; where it happens again, the attempt that holds the model has its log.",
    }
}

/// Tokens counted here are those that showed text.
pub fn tokens(count: u64, is_exact: bool) -> String {
    let words = crate::text::plural(count, "token");
    if is_exact { words } else { format!("≈ {words}") }
}

pub fn loading(model: &str, state: &str) -> String {
    format!("{model}: {state}")
}
