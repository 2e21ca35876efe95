//! A loaded model at rest: calls and streams in, messages out, an eye on its worker.

use std::collections::BTreeMap;

use phi3::api::worker::{Message, Request};
use phi3::api::{ErrorObject, StreamEvent};
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

use crate::attempts::EndedBy;
use crate::loaded::{Call, Calls};
use crate::streams::StreamCall;
use crate::worker_client::{Worker, WorkerError};

/// A worker at rest has nothing to get on with: its heartbeats are enough.
const AT_REST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Answers calls until `end` fires; gives the worker back to be ended. `by` says then who asked for that.
pub(super) async fn serve(
    worker: Worker,
    calls: Calls,
    end: &CancellationToken,
    by: impl Fn() -> Option<EndedBy>,
) -> Result<Worker, WorkerError> {
    let mut keeper = Keeper { worker, streams: BTreeMap::new() };
    let served = keeper.serve(calls, end).await;
    // Nobody is left without a last word.
    let why = match &served {
        Ok(()) => {
            let by = by().map(|by| format!(" {by}")).unwrap_or_default();
            ErrorObject::new("model_unloaded", format!("the model was unloaded{by} while it answered"))
        }
        Err(error) => ErrorObject::new(error.code(), error.to_string()),
    };
    for (index, events) in keeper.streams.into_values() {
        events.send((index, StreamEvent::Failed { error: why.clone() })).ok();
    }
    served.map(|()| keeper.worker)
}

/// A worker, and who listens to its streams.
struct Keeper {
    worker: Worker,
    /// By the worker's ids: the place in its request, and where its events go.
    streams: BTreeMap<u64, (usize, mpsc::UnboundedSender<(usize, StreamEvent)>)>,
}

impl Keeper {
    async fn serve(&mut self, mut calls: Calls, end: &CancellationToken) -> Result<(), WorkerError> {
        let mut stalled = Instant::now() + AT_REST;
        loop {
            let was_idle = self.streams.is_empty();
            let stage = if was_idle { "holding its model" } else { "generating" };
            tokio::select! {
                biased;
                () = end.cancelled() => return Ok(()),
                Some(call) = calls.streams.recv() => self.stream_call(call).await?,
                Some(call) = calls.requests.recv() => {
                    if let Err(error) = self.answer(&call, end).await {
                        let told = ErrorObject::new(error.code(), error.to_string());
                        call.messages.try_send(Err(told)).ok();
                        return Err(error);
                    }
                }
                message = self.worker.message(stage, stalled) => {
                    if self.heard(message?) || self.streams.is_empty() {
                        stalled = Instant::now() + AT_REST;
                    }
                }
            }
            // While streams run the worker has to get on with them.
            if !self.streams.is_empty() && (was_idle || stalled > self.worker.stalls()) {
                stalled = self.worker.stalls();
            }
        }
    }

    async fn stream_call(&mut self, call: StreamCall) -> Result<(), WorkerError> {
        match call {
            StreamCall::Begin { id, index, asked, events } => {
                self.streams.insert(id, (index, events));
                self.worker.send("generating", &Request::Generate(*asked)).await
            }
            // One that has ended by itself is nobody's any more.
            StreamCall::Stop(id) => match self.streams.remove(&id) {
                Some(_) => self.worker.send("generating", &Request::Stop { id }).await,
                None => Ok(()),
            },
        }
    }

    /// Hands a stream's event to whoever listens; whether it was one.
    fn heard(&mut self, message: Message) -> bool {
        let Message::Stream { id, event } = message else { return false };
        let is_last = event.is_last();
        if let Some((index, events)) = self.streams.get(&id) {
            events.send((*index, event)).ok();
        }
        if is_last {
            self.streams.remove(&id);
        }
        true
    }

    /// Hands a request to the worker and its messages to whoever called.
    async fn answer(&mut self, call: &Call, end: &CancellationToken) -> Result<(), WorkerError> {
        let Call { request, stage, messages, cancel } = call;
        if cancel.is_cancelled() {
            return Ok(());
        }
        self.worker.send(stage, request).await?;
        let mut stalled = self.worker.stalls();
        let mut asked_to_stop = false;
        loop {
            let message = tokio::select! {
                biased;
                // The worker is about to end, and with it whatever it does.
                () = end.cancelled() => {
                    messages.try_send(Err(ErrorObject::new("cancelled", "the model is being unloaded"))).ok();
                    return Ok(());
                }
                () = cancel.cancelled(), if !asked_to_stop => {
                    asked_to_stop = true;
                    self.worker.send(stage, &Request::Cancel).await?;
                    continue;
                }
                message = self.worker.message(stage, stalled) => message?,
            };
            if matches!(message, Message::Heartbeat) {
                continue;
            }
            stalled = self.worker.stalls();
            if matches!(message, Message::Stream { .. }) {
                self.heard(message);
                continue;
            }
            let is_last = is_answer(&message);
            let told = match message {
                Message::Error(error) => Err(error),
                message => Ok(message),
            };
            if !asked_to_stop {
                tokio::select! {
                    () = end.cancelled() => {}
                    // One that has gone cancels by its going.
                    _ = messages.send(told) => {}
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }
}

/// Whether a message ends the answer to a request.
fn is_answer(message: &Message) -> bool {
    matches!(message, Message::Report(_) | Message::Done | Message::Error(_) | Message::Loaded(_))
}
