//! Streams of a request, as one answer or as events.

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use phi3::api::{ErrorObject, FinishReason, Generate, PromptInput, StreamEvent, TokenLogprobs};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use super::error::ApiError;
use super::request::Common;
use crate::loaded::{LoadedModel, Streams};
use crate::metrics::RequestWatch;

/// How a kind of completion writes itself.
pub(super) trait Shape: Send + 'static {
    /// `chat.completion`, and what its chunks are called.
    const OBJECT: &'static str;
    const CHUNK: &'static str;
    /// Before its ids.
    const PREFIX: &'static str;
    /// The field that a prompt stands in.
    const PROMPT: &'static str;
    /// A whole choice.
    fn choice(index: usize, text: &str, reason: &str, logprobs: Value) -> Value;
    /// A piece of one.
    fn piece(index: usize, text: &str, logprobs: Value) -> Value;
    /// What stands before the first piece.
    fn opening(index: usize) -> Option<Value>;
    /// What stands after the last.
    fn closing(index: usize, reason: &str) -> Value;
    /// Logarithms of probabilities of tokens, `offset` being the characters of text before them.
    fn logprobs(tokens: &[TokenLogprobs], offset: usize) -> Value;
}

/// What is asked, beyond what both kinds have in common.
pub(super) struct Asked {
    pub(super) common: Common,
    /// One or several, each with as many choices as are asked for.
    pub(super) prompts: Vec<PromptInput>,
    pub(super) max_new_tokens: Option<usize>,
    pub(super) logprobs: Option<usize>,
}

/// Generates what is asked.
pub(super) async fn run<S: Shape>(model: LoadedModel, asked: Asked) -> Result<Response, ApiError> {
    let Asked { common, prompts, max_new_tokens, logprobs } = asked;
    prompts.iter().try_for_each(|prompt| model.takes(prompt)).map_err(refused::<S>)?;
    let random = entropy();
    let choices = prompts.iter().flat_map(|prompt| std::iter::repeat_n(prompt, common.choices));
    let asked = choices.enumerate().map(|(index, prompt)| Generate {
        id: 0,
        request: 0,
        prompt: prompt.clone(),
        max_new_tokens,
        sampling: common.sampling_of(index % common.choices, random.wrapping_add(index as u64)),
        stop: common.stop.clone(),
        logprobs,
    });
    let asked: Vec<Generate> = asked.collect();
    let count = asked.len();
    let mut answer = Answer::<S> {
        head: Head::new::<S>(&common.model, random),
        streams: model.generate(asked)?,
        first: VecDeque::new(),
        count,
        ended: 0,
        usage: Usage { choices: common.choices, ..Usage::default() },
        watch: RequestWatch::new(),
        logprobs: logprobs.is_some(),
        shape: PhantomData,
    };
    answer.begin().await?;
    if common.stream { Ok(answer.events(common.include_usage)) } else { answer.whole().await }
}

/// An answer on its way. Dropping it ends its streams before their next token.
struct Answer<S> {
    head: Head,
    streams: Streams,
    /// Events that came before the answer began.
    first: VecDeque<(usize, StreamEvent)>,
    count: usize,
    ended: usize,
    usage: Usage,
    watch: RequestWatch,
    logprobs: bool,
    shape: PhantomData<S>,
}

impl<S: Shape> Answer<S> {
    /// Waits until every choice has been looked at and one of them runs: what is refused is refused before anything is
    /// answered.
    async fn begin(&mut self) -> Result<(), ApiError> {
        let mut heard = BTreeSet::new();
        while heard.len() < self.count || self.first.is_empty() {
            let (index, event) = self.streams.next().await.ok_or_else(unloaded)?;
            heard.insert(index);
            match event {
                StreamEvent::Failed { error } => return Err(refused::<S>(error)),
                StreamEvent::Taken => {}
                event => {
                    if self.first.is_empty() {
                        self.watch.running();
                    }
                    self.first.push_back((index, event));
                }
            }
        }
        Ok(())
    }

    fn started(&mut self, index: usize, prompt_tokens: usize) {
        if self.usage.started(index, prompt_tokens) {
            self.watch.prompt(prompt_tokens);
        }
    }

    /// The next event; `None` when every choice has ended.
    async fn next(&mut self) -> Option<(usize, StreamEvent)> {
        if self.ended == self.count {
            return None;
        }
        let event = match self.first.pop_front() {
            Some(event) => event,
            None => match self.streams.next().await {
                Some(event) => event,
                None => (0, StreamEvent::Failed { error: ErrorObject::new("model_unloaded", GONE) }),
            },
        };
        match &event.1 {
            StreamEvent::Taken => {}
            StreamEvent::Started { prompt_tokens } => self.started(event.0, *prompt_tokens),
            StreamEvent::Token { .. } => self.watch.token(event.0),
            StreamEvent::Finished { completion_tokens, reason, .. } => {
                self.ended += 1;
                self.usage.completion_tokens += completion_tokens;
                self.watch.finished(event.0, *completion_tokens);
                if self.ended == self.count {
                    self.watch.ended(word(*reason));
                }
            }
            // The others have nobody left to be told.
            StreamEvent::Failed { .. } => self.ended = self.count,
        }
        Some(event)
    }

    async fn whole(mut self) -> Result<Response, ApiError> {
        let mut texts = vec![String::new(); self.count];
        let mut tokens: Vec<Vec<TokenLogprobs>> = vec![Vec::new(); self.count];
        let mut reasons = vec!["length"; self.count];
        while let Some((index, event)) = self.next().await {
            match event {
                StreamEvent::Taken | StreamEvent::Started { .. } => {}
                StreamEvent::Token { text, logprobs, .. } => {
                    texts[index] += &text;
                    tokens[index].extend(logprobs);
                }
                StreamEvent::Finished { reason, text, .. } => {
                    texts[index] += &text;
                    reasons[index] = word(reason);
                }
                StreamEvent::Failed { error } => return Err(refused::<S>(error)),
            }
        }
        let choices = (0..self.count).map(|index| {
            let logprobs = if self.logprobs { S::logprobs(&tokens[index], 0) } else { Value::Null };
            S::choice(index, &texts[index], reasons[index], logprobs)
        });
        let mut answer = self.head.answer(S::OBJECT, choices.collect());
        answer["usage"] = self.usage.json();
        Ok(Json(answer).into_response())
    }

    /// Events until every choice has ended, then `[DONE]`.
    fn events(self, include_usage: bool) -> Response {
        let (sender, receiver) = mpsc::channel(BEHIND);
        tokio::spawn(self.tell(sender, include_usage));
        let events = ReceiverStream::new(receiver).map(Ok::<_, Infallible>);
        Sse::new(events).keep_alive(KeepAlive::default()).into_response()
    }

    async fn tell(mut self, out: mpsc::Sender<Event>, include_usage: bool) {
        let event = |value: Value| Event::default().data(value.to_string());
        let mut first: Vec<Value> = (0..self.count)
            .filter_map(S::opening)
            .map(|choice| self.head.answer(S::CHUNK, vec![choice]))
            .collect();
        let (mut offsets, mut has_failed) = (vec![0; self.count], false);
        loop {
            for chunk in first.drain(..) {
                if out.send(event(chunk)).await.is_err() {
                    return;
                }
            }
            let next = tokio::select! {
                biased;
                // The client has gone, and with it the reason to go on.
                () = out.closed() => return,
                next = self.next() => next,
            };
            let Some((index, next)) = next else { break };
            has_failed |= matches!(next, StreamEvent::Failed { .. });
            first = self.chunks(index, next, &mut offsets);
        }
        // Of an answer that broke off nobody knows what it would have cost.
        if include_usage && !has_failed {
            let mut last = self.head.answer(S::CHUNK, Vec::new());
            last["usage"] = self.usage.json();
            out.send(event(last)).await.ok();
        }
        // Over in every count before its client knows: who asks then finds nothing on its way.
        drop(self);
        out.send(Event::default().data("[DONE]")).await.ok();
    }

    /// What a client is told of an event.
    fn chunks(&self, index: usize, event: StreamEvent, offsets: &mut [usize]) -> Vec<Value> {
        let chunk = |choice| self.head.answer(S::CHUNK, vec![choice]);
        match event {
            StreamEvent::Taken | StreamEvent::Started { .. } => Vec::new(),
            StreamEvent::Token { text, logprobs, .. } => {
                if text.is_empty() && !self.logprobs {
                    return Vec::new();
                }
                let logprobs = match (self.logprobs, logprobs) {
                    (true, Some(logprobs)) => {
                        let offset = offsets[index];
                        offsets[index] += logprobs.chosen.text.chars().count();
                        S::logprobs(&[logprobs], offset)
                    }
                    _ => Value::Null,
                };
                vec![chunk(S::piece(index, &text, logprobs))]
            }
            StreamEvent::Finished { reason, text, .. } => {
                let rest = (!text.is_empty()).then(|| chunk(S::piece(index, &text, Value::Null)));
                rest.into_iter().chain([chunk(S::closing(index, word(reason)))]).collect()
            }
            StreamEvent::Failed { error } => vec![refused::<S>(error).json()],
        }
    }
}

/// Events that a client may be behind before its own answer waits; nobody else does.
const BEHIND: usize = 64;

const GONE: &str = "the model was unloaded while it answered";

fn unloaded() -> ApiError {
    ErrorObject::new("model_unloaded", GONE).into()
}

/// An error as this API tells it: what is wrong with a prompt is said of the field that it stands in.
fn refused<S: Shape>(mut error: ErrorObject) -> ApiError {
    let about_prompt =
        ["context_too_long", "empty_prompt", "token_out_of_range", "no_chat_template", "template_error"];
    if about_prompt.contains(&error.code.as_str()) {
        error.path.get_or_insert_with(|| S::PROMPT.to_owned());
    }
    error.into()
}

/// The fields that every answer of a request begins with.
#[derive(Clone)]
struct Head {
    id: String,
    created: u64,
    model: String,
}

impl Head {
    fn new<S: Shape>(model: &str, random: u64) -> Self {
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self { id: format!("{}{random:016x}", S::PREFIX), created, model: model.to_owned() }
    }

    fn answer(&self, object: &str, choices: Vec<Value>) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        })
    }
}

/// Tokens of a request; a prompt with several choices counts once.
#[derive(Default)]
struct Usage {
    choices: usize,
    prompt_tokens: usize,
    completion_tokens: usize,
}

impl Usage {
    /// Whether the prompt counts: it does once for all of its choices.
    fn started(&mut self, index: usize, prompt_tokens: usize) -> bool {
        let counts = index.is_multiple_of(self.choices);
        self.prompt_tokens += if counts { prompt_tokens } else { 0 };
        counts
    }

    fn json(&self) -> Value {
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        })
    }
}

fn word(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::Cancelled => "cancelled",
    }
}

/// Other numbers with every call: seeds and names, no secrets.
fn entropy() -> u64 {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let mut z = now ^ CALLS.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
