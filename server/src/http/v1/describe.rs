//! Requests and answers as the description of the routes tells them. [`super::request`] reads requests by hand, so that
//! no field is passed over in silence; a test holds its ranges against those that stand here.

#![expect(dead_code, reason = "described, never made: requests are read field by field")]

use serde_json::Value;
use utoipa::ToSchema;

/// What both kinds of completions take; a field that is not known is refused.
#[derive(ToSchema)]
pub(super) struct CommonBody {
    /// Id of a loaded model.
    #[schema(example = "default")]
    model: String,
    /// How far draws go from the likeliest token; 0 is greedy.
    #[schema(minimum = 0, maximum = 2)]
    temperature: Option<f64>,
    /// Draws from the likeliest tokens that together have this probability.
    #[schema(exclusive_minimum = 0, maximum = 1)]
    top_p: Option<f64>,
    /// Draws from so many of the likeliest tokens; 0 from all.
    #[schema(minimum = 0, maximum = 4294967295_i64)]
    top_k: Option<u32>,
    /// Draws from tokens of at least this share of the likeliest one's probability.
    #[schema(minimum = 0, exclusive_maximum = 1)]
    min_p: Option<f64>,
    /// Divides the scores of tokens that stand there already; 1 leaves them.
    #[schema(exclusive_minimum = 0, maximum = 10)]
    repetition_penalty: Option<f64>,
    /// Taken off a token's score for each time that it was generated.
    #[schema(minimum = -2, maximum = 2)]
    frequency_penalty: Option<f64>,
    /// Taken off the score of a token that was generated.
    #[schema(minimum = -2, maximum = 2)]
    presence_penalty: Option<f64>,
    /// The same seed draws the same tokens.
    seed: Option<i64>,
    /// Texts that end a choice.
    stop: Option<Stop>,
    /// Choices for each prompt.
    #[schema(minimum = 1, maximum = 16)]
    n: Option<u32>,
    /// Answer in events as tokens come, `[DONE]` last.
    stream: Option<bool>,
    /// Only with `stream`.
    stream_options: Option<StreamOptions>,
    /// Who asks; not looked at.
    user: Option<String>,
    /// Not looked at.
    metadata: Option<Value>,
    /// Not looked at: there is one tier.
    service_tier: Option<String>,
    /// Not looked at.
    safety_identifier: Option<String>,
    /// Not looked at.
    prompt_cache_key: Option<String>,
    /// `false`: nothing that is asked or answered is kept.
    store: Option<bool>,
}

/// A text, or up to 16 of 1 to 256 bytes.
#[derive(ToSchema)]
#[serde(untagged)]
enum Stop {
    One(String),
    Several(Vec<String>),
}

/// What a stream tells beside its choices.
#[derive(ToSchema)]
struct StreamOptions {
    /// A last event with the counts of tokens.
    include_usage: Option<bool>,
}

/// A request for completions.
#[derive(ToSchema)]
pub(super) struct CompletionBody {
    #[serde(flatten)]
    common: CommonBody,
    prompt: Prompt,
    /// Most tokens of a choice; 16 where it is not said.
    #[schema(minimum = 1, maximum = 4294967295_i64)]
    max_tokens: Option<u32>,
    /// Logarithms of probabilities, with so many of the likeliest tokens.
    #[schema(minimum = 0, maximum = 5)]
    logprobs: Option<u32>,
}

/// A text, ids, or a list of up to 16 of either.
#[derive(ToSchema)]
#[serde(untagged)]
enum Prompt {
    Text(String),
    Ids(Vec<u32>),
    Texts(Vec<String>),
    Lists(Vec<Vec<u32>>),
}

/// A request for a chat completion.
#[derive(ToSchema)]
pub(super) struct ChatBody {
    #[serde(flatten)]
    common: CommonBody,
    /// The conversation so far.
    #[schema(min_items = 1, max_items = 1024)]
    messages: Vec<MessageBody>,
    /// Most tokens of a choice; all that the context holds where it is not said.
    #[schema(minimum = 1, maximum = 4294967295_i64)]
    max_completion_tokens: Option<u32>,
    /// The older name of `max_completion_tokens`.
    #[schema(minimum = 1, maximum = 4294967295_i64)]
    max_tokens: Option<u32>,
    /// Whether logarithms of probabilities are told.
    logprobs: Option<bool>,
    /// So many of the likeliest tokens with them.
    #[schema(minimum = 0, maximum = 20)]
    top_logprobs: Option<u32>,
}

/// One turn.
#[derive(ToSchema)]
struct MessageBody {
    /// `system`, `developer` (the same), `user` or `assistant`.
    role: String,
    content: Content,
    name: Option<String>,
}

/// A text, or parts of one.
#[derive(ToSchema)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

/// A part of a message; text is the one type that is read.
#[derive(ToSchema)]
struct Part {
    #[schema(pattern = "^text$")]
    r#type: String,
    text: String,
}

/// An answer in one piece; with `stream` it comes as events of the same fields, a `delta` in place of a `message`.
#[derive(ToSchema)]
pub(super) struct CompletionAnswer {
    /// `cmpl-…` or `chatcmpl-…`.
    id: String,
    /// `text_completion` or `chat.completion`.
    object: String,
    /// Seconds since 1970.
    created: u64,
    model: String,
    /// `index`, `text` or `message`, `logprobs`, `finish_reason`.
    #[schema(value_type = Vec<Object>)]
    choices: Vec<Value>,
    usage: UsageAnswer,
}

/// Tokens of a request.
#[derive(ToSchema)]
struct UsageAnswer {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
}

/// Every loaded model.
#[derive(ToSchema)]
pub(super) struct ModelList {
    /// `list`.
    object: String,
    data: Vec<LoadedEntry>,
}

/// A loaded model.
#[derive(ToSchema)]
pub(super) struct LoadedEntry {
    /// Its id, for `model` in requests.
    id: String,
    /// `model`.
    object: String,
    /// Seconds since 1970 when it was loaded.
    created: u64,
    owned_by: String,
    /// `ready`.
    status: String,
    device: String,
    dtype: String,
    /// Longest sequence, prompt and answer together.
    max_model_len: u64,
}

/// An error in OpenAI's shape.
#[derive(ToSchema)]
pub(super) struct ApiErrorBody {
    error: ApiErrorObject,
}

/// What went wrong.
#[derive(ToSchema)]
struct ApiErrorObject {
    /// What, where, what to do; one line.
    message: String,
    /// `invalid_request_error`, `rate_limit_error`, `server_error`.
    r#type: String,
    /// The field that it is about.
    param: Option<String>,
    /// A stable name.
    code: Option<String>,
}
