//! A loaded model at rest: calls in, messages out, an eye on its worker.

use phi3::api::ErrorObject;
use phi3::api::worker::{Message, Request};
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

use crate::loaded::Call;
use crate::worker_client::{Worker, WorkerError};

/// A worker at rest has nothing to get on with: its heartbeats are enough.
const AT_REST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Answers calls until `end` fires; gives the worker back to be ended.
pub(super) async fn serve(
    mut worker: Worker,
    mut calls: mpsc::Receiver<Call>,
    end: &CancellationToken,
) -> Result<Worker, WorkerError> {
    loop {
        tokio::select! {
            biased;
            () = end.cancelled() => return Ok(worker),
            Some(call) = calls.recv() => {
                if let Err(error) = answer(&mut worker, &call, end).await {
                    let told = ErrorObject::new("worker_killed", error.to_string());
                    call.messages.try_send(Err(told)).ok();
                    return Err(error);
                }
            }
            message = worker.message("ready", Instant::now() + AT_REST) => {
                message?;
            }
        }
    }
}

/// Hands a request to the worker and its messages to whoever called.
async fn answer(worker: &mut Worker, call: &Call, end: &CancellationToken) -> Result<(), WorkerError> {
    let Call { request, stage, messages, cancel } = call;
    if cancel.is_cancelled() {
        return Ok(());
    }
    worker.send(stage, request).await?;
    let mut stalled = worker.stalls();
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
                worker.send(stage, &Request::Cancel).await?;
                continue;
            }
            message = worker.message(stage, stalled) => message?,
        };
        if matches!(message, Message::Heartbeat) {
            continue;
        }
        stalled = worker.stalls();
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

/// Whether a message ends the answer to a request.
fn is_answer(message: &Message) -> bool {
    matches!(message, Message::Report(_) | Message::Done | Message::Error(_) | Message::Loaded(_))
}
