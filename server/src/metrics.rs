//! What `/metrics` tells. Names are vLLM's nouns with a prefix of our own, so that dashboards can be carried over.
//! Labels hold names of ours alone, never a user's text.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use phi3::api::{AttemptKind, AttemptRecord};

use crate::devices;
use crate::state::AppState;

const REQUESTS_RUNNING: &str = "preflight_num_requests_running";
const REQUESTS_WAITING: &str = "preflight_num_requests_waiting";
const TIME_TO_FIRST_TOKEN: &str = "preflight_time_to_first_token_seconds";
const INTER_TOKEN_LATENCY: &str = "preflight_inter_token_latency_seconds";
const REQUEST_LATENCY: &str = "preflight_e2e_request_latency_seconds";
const PROMPT_TOKENS: &str = "preflight_prompt_tokens_total";
const GENERATION_TOKENS: &str = "preflight_generation_tokens_total";
const REQUEST_SUCCESS: &str = "preflight_request_success_total";
const LOAD_SECONDS: &str = "preflight_model_load_seconds";
const ATTEMPTS: &str = "preflight_model_load_attempts_total";
const WORKER_DEATHS: &str = "preflight_worker_deaths_total";
const WORKER_RESTARTS: &str = "preflight_worker_restarts_total";
const GPU_USED: &str = "preflight_gpu_memory_used_bytes";
const SUBSCRIBERS: &str = "preflight_sse_subscribers";
const QUEUE_DEPTH: &str = "preflight_queue_depth";
const LOADED: &str = "preflight_models_loaded";

/// Upper ends of the classes that times are counted in, in seconds.
const BUCKETS: [f64; 14] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// Begins to count; there is one count in a process.
pub fn install() -> Option<&'static PrometheusHandle> {
    static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    let install = || {
        let times = Matcher::Suffix("_seconds".to_owned());
        let builder = PrometheusBuilder::new().set_buckets_for_metric(times, &BUCKETS);
        match builder.and_then(PrometheusBuilder::install_recorder) {
            Ok(handle) => {
                describe();
                Some(handle)
            }
            Err(error) => {
                tracing::error!(%error, "nothing is counted");
                None
            }
        }
    };
    HANDLE.get_or_init(install).as_ref()
}

fn describe() {
    describe_gauge!(REQUESTS_RUNNING, "Requests to /v1 that are being answered");
    describe_gauge!(REQUESTS_WAITING, "Requests to /v1 that wait");
    describe_histogram!(TIME_TO_FIRST_TOKEN, "From a request to its first token");
    describe_histogram!(INTER_TOKEN_LATENCY, "Between two tokens of one choice");
    describe_histogram!(REQUEST_LATENCY, "From a request to the last token of all its choices");
    describe_counter!(PROMPT_TOKENS, "Tokens of prompts");
    describe_counter!(GENERATION_TOKENS, "Tokens generated");
    describe_counter!(
        REQUEST_SUCCESS,
        "Requests that came to their end, by why the last of their choices did"
    );
    describe_histogram!(LOAD_SECONDS, "Time to load a model, by how the attempt ended");
    describe_counter!(ATTEMPTS, "Attempts that have ended, by how");
    describe_counter!(WORKER_DEATHS, "Workers that died or had to be killed");
    describe_counter!(WORKER_RESTARTS, "Workers started for a model whose last worker had died");
    describe_gauge!(GPU_USED, "Memory used on a GPU");
    describe_gauge!(SUBSCRIBERS, "Readers of /api/events");
    describe_gauge!(QUEUE_DEPTH, "Attempts that wait");
    describe_gauge!(LOADED, "Models that are loaded");
    // Counted from the start, so that a rate can be taken before the first request.
    counter!(PROMPT_TOKENS).absolute(0);
    counter!(GENERATION_TOKENS).absolute(0);
    counter!(WORKER_RESTARTS).absolute(0);
    gauge!(REQUESTS_RUNNING).set(0.0);
    gauge!(REQUESTS_WAITING).set(0.0);
}

/// A request to `/v1` on its way: what it is counted as follows it, and ends with it however it ends.
#[derive(Debug)]
pub(crate) struct RequestWatch {
    begun: Instant,
    /// The gauge that it stands in.
    standing: &'static str,
    /// The tokens of each of its choices, and when it had the last.
    tokens: BTreeMap<usize, (usize, Instant)>,
}

impl RequestWatch {
    /// It waits to be begun.
    pub(crate) fn new() -> Self {
        gauge!(REQUESTS_WAITING).increment(1.0);
        Self { begun: Instant::now(), standing: REQUESTS_WAITING, tokens: BTreeMap::new() }
    }

    /// It is being answered.
    pub(crate) fn running(&mut self) {
        gauge!(self.standing).decrement(1.0);
        self.standing = REQUESTS_RUNNING;
        gauge!(self.standing).increment(1.0);
    }

    /// A prompt of so many tokens has been read.
    pub(crate) fn prompt(&self, tokens: usize) {
        counter!(PROMPT_TOKENS).increment(tokens as u64);
    }

    /// A choice has a token.
    pub(crate) fn token(&mut self, index: usize) {
        let now = Instant::now();
        if self.tokens.is_empty() {
            histogram!(TIME_TO_FIRST_TOKEN).record((now - self.begun).as_secs_f64());
        }
        let (count, last) = self.tokens.entry(index).or_insert((0, now));
        if *count > 0 {
            histogram!(INTER_TOKEN_LATENCY).record((now - *last).as_secs_f64());
        }
        (*count, *last) = (*count + 1, now);
        counter!(GENERATION_TOKENS).increment(1);
    }

    /// A choice has come to its end with so many tokens.
    pub(crate) fn finished(&self, index: usize, tokens: usize) {
        // The id that stops a choice is no token that is told.
        let told = self.tokens.get(&index).map_or(0, |(count, _)| *count);
        counter!(GENERATION_TOKENS).increment(tokens.saturating_sub(told) as u64);
    }

    /// All of its choices have come to their end; `reason` is that of the last, one of ours.
    pub(crate) fn ended(&self, reason: &'static str) {
        counter!(REQUEST_SUCCESS, "finished_reason" => reason).increment(1);
        histogram!(REQUEST_LATENCY).record(self.begun.elapsed().as_secs_f64());
    }
}

impl Drop for RequestWatch {
    fn drop(&mut self) {
        gauge!(self.standing).decrement(1.0);
    }
}

/// Models whose last worker died.
static BEREFT: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

fn bereft() -> MutexGuard<'static, BTreeSet<String>> {
    BEREFT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts a worker that takes the place of one that died.
pub(crate) fn worker_started(model: &str) {
    if bereft().remove(model) {
        counter!(WORKER_RESTARTS).increment(1);
    }
}

/// Counts an attempt that has ended.
pub(crate) fn attempt_ended(record: &AttemptRecord) {
    if record.attempt.kind == AttemptKind::Stage {
        // Nothing was to be loaded.
        return;
    }
    let outcome = record.attempt.state.name();
    let reason = record.attempt.outcome.map_or("unknown", phi3::load_config::OutcomeClass::name);
    counter!(ATTEMPTS, "outcome" => outcome, "reason" => reason).increment(1);
    if let Some(ms) = record.evidence.timings.loading_ms {
        histogram!(LOAD_SECONDS, "outcome" => outcome).record(ms / 1e3);
    }
    let code = record.attempt.error.as_ref().map(|error| error.code.as_str());
    if matches!(code, Some("worker_killed" | "worker_stalled" | "protocol_error")) {
        counter!(WORKER_DEATHS, "reason" => reason).increment(1);
        bereft().insert(record.attempt.model.clone());
    }
}

/// The page, with what is looked at when it is asked for.
pub(crate) async fn render(state: &AppState) -> String {
    let Some(handle) = install() else { return String::new() };
    let (waiting, _running) = state.attempts.counts();
    gauge!(QUEUE_DEPTH).set(waiting as f64);
    gauge!(SUBSCRIBERS).set(state.hub.readers() as f64);
    gauge!(LOADED).set(state.loaded.all().len() as f64);
    let found = tokio::task::spawn_blocking(devices::gpus).await.unwrap_or_default();
    for gpu in found {
        if let Some(bytes) = gpu.used_bytes {
            gauge!(GPU_USED, "gpu" => gpu.device).set(bytes as f64);
        }
    }
    handle.run_upkeep();
    handle.render()
}
