//! Models that are loaded: a handle to each, for whoever wants to use one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use phi3::api::worker::{Loaded, Message, Request};
use phi3::api::{ErrorObject, Generate, PromptInput};
use phi3::units::format_counted;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::streams::StreamCall;
pub use crate::streams::Streams;

/// Messages that a caller may be behind before the worker waits for it.
const BEHIND: usize = 64;

/// Requests that may wait for a worker.
const WAITING: usize = 32;

/// A model that is loaded in its worker. Cheap to clone; it stays valid after the model is unloaded, when every call
/// is refused.
#[derive(Debug, Clone)]
pub struct LoadedModel {
    /// Id of the model.
    pub model: String,
    /// The attempt that loaded it.
    pub attempt_id: u64,
    /// What the worker said when it was loaded: engine, context, memory.
    pub loaded: Arc<Loaded>,
    /// Attempts that load the same have this fingerprint.
    pub(crate) loads: String,
    /// The longest sequence, where one was asked for.
    pub(crate) context: Option<usize>,
    /// Seconds since 1970 when it was loaded.
    pub loaded_s: u64,
    calls: mpsc::Sender<Call>,
    stream_calls: mpsc::UnboundedSender<StreamCall>,
    /// Places of requests that may run or wait.
    room: Arc<Semaphore>,
    next_stream: Arc<AtomicU64>,
}

/// A request on its way to a worker.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) request: Request,
    pub(crate) stage: &'static str,
    pub(crate) messages: mpsc::Sender<Result<Message, ErrorObject>>,
    /// Fires when nobody waits for the answer any more.
    pub(crate) cancel: CancellationToken,
}

/// What comes to the keeper of a worker.
pub(crate) struct Calls {
    pub(crate) requests: mpsc::Receiver<Call>,
    pub(crate) streams: mpsc::UnboundedReceiver<StreamCall>,
}

/// The messages that answer a request. Dropping it cancels the request, not the worker.
#[derive(Debug)]
pub struct Answer {
    messages: mpsc::Receiver<Result<Message, ErrorObject>>,
    cancel: CancellationToken,
}

impl Answer {
    /// The next message; `None` after the last, which is the answer or an error.
    pub async fn next(&mut self) -> Option<Result<Message, ErrorObject>> {
        self.messages.recv().await
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl LoadedModel {
    pub(crate) fn new(
        model: String,
        attempt_id: u64,
        loaded: Loaded,
        loads: String,
        context: Option<usize>,
    ) -> (Self, Calls) {
        let (calls, waiting) = mpsc::channel(WAITING);
        let (stream_calls, streams) = mpsc::unbounded_channel();
        let places = loaded.batch.max(1) + WAITING;
        let model = Self {
            model,
            attempt_id,
            loaded: Arc::new(loaded),
            loads,
            context,
            loaded_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            calls,
            stream_calls,
            room: Arc::new(Semaphore::new(places)),
            next_stream: Arc::default(),
        };
        (model, Calls { requests: waiting, streams })
    }

    /// Refuses a prompt that is longer than the context as it stands: a million ids, once for each choice, would keep the
    /// worker from all else before it refused them.
    ///
    /// # Errors
    /// `context_too_long`
    pub fn takes(&self, prompt: &PromptInput) -> Result<(), ErrorObject> {
        let context = self.loaded.context;
        match prompt {
            PromptInput::Ids(ids) if ids.len() > context => {
                let tokens = format_counted(ids.len() as u64, "prompt token");
                let message =
                    format!("{tokens} exceed the context of {context} that the model was loaded for");
                Err(ErrorObject::new("context_too_long", message).at("prompt"))
            }
            _ => Ok(()),
        }
    }

    /// Generates streams, batched with all others of the model.
    ///
    /// # Errors
    /// `model_unloaded`: it is not loaded any more; `queue_full`: too many requests run and wait.
    pub fn generate(&self, asked: Vec<Generate>) -> Result<Streams, ErrorObject> {
        // As many as can run: a request of many choices waits for itself, and others come between.
        let places = asked.len().clamp(1, self.loaded.batch.max(1)) as u32;
        let permit = Arc::clone(&self.room).try_acquire_many_owned(places).map_err(|_full| {
            let message = format!(
                "`{}` has as many requests running and waiting as it takes: try again later",
                self.model
            );
            ErrorObject::new("queue_full", message)
        })?;
        let first_id = self.next_stream.fetch_add(asked.len() as u64, Ordering::Relaxed);
        Streams::begin(&self.model, first_id, asked, self.stream_calls.clone(), permit)
    }

    /// Sends a request to the worker. `stage` names what it does, for messages.
    ///
    /// # Errors
    /// `model_unloaded`: it is not loaded any more; `queue_full`: too many wait.
    pub fn call(&self, stage: &'static str, request: Request) -> Result<Answer, ErrorObject> {
        let (sender, messages) = mpsc::channel(BEHIND);
        let cancel = CancellationToken::new();
        let call = Call { request, stage, messages: sender, cancel: cancel.clone() };
        match self.calls.try_send(call) {
            Ok(()) => Ok(Answer { messages, cancel }),
            Err(mpsc::error::TrySendError::Full(_)) => {
                let message = format!("{WAITING} requests wait for `{}` already", self.model);
                Err(ErrorObject::new("queue_full", message))
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(unloaded(&self.model)),
        }
    }

    /// Bytes that it was measured to hold on a device.
    pub(crate) fn held_on(&self, device: &str) -> u64 {
        let Loaded { engine, memory, devices, .. } = &*self.loaded;
        match devices.iter().find(|part| part.device.to_string() == device) {
            Some(part) => part.memory.measured.total_bytes,
            None if devices.is_empty() && engine.device == device => memory.measured.total_bytes,
            None => 0,
        }
    }
}

/// The error of a call to a model that is not loaded any more.
pub(crate) fn unloaded(model: &str) -> ErrorObject {
    ErrorObject::new("model_unloaded", format!("`{model}` is not loaded any more"))
}

/// Every loaded model, by its id.
#[derive(Debug, Default)]
pub struct LoadedModels {
    models: RwLock<BTreeMap<String, LoadedModel>>,
}

impl LoadedModels {
    /// A loaded model.
    #[must_use]
    pub fn get(&self, model: &str) -> Option<LoadedModel> {
        self.models.read().unwrap_or_else(PoisonError::into_inner).get(model).cloned()
    }

    /// Every loaded model, by id.
    #[must_use]
    pub fn all(&self) -> Vec<LoadedModel> {
        self.models.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(crate) fn insert(&self, model: LoadedModel) {
        self.models.write().unwrap_or_else(PoisonError::into_inner).insert(model.model.clone(), model);
    }

    /// Takes a model out, if it is still the one of that attempt.
    pub(crate) fn remove(&self, model: &str, attempt_id: u64) {
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        if models.get(model).is_some_and(|loaded| loaded.attempt_id == attempt_id) {
            models.remove(model);
        }
    }
}
