//! Runs queued attempts, one at a time, each in a worker of its own.

use std::sync::Arc;

use phi3::api::ErrorObject;
use phi3::api::worker::{Message, Request};
use tokio_util::sync::CancellationToken;

use crate::attempts::{Attempts, Taken};
use crate::launcher::Launcher;
use crate::worker_client::{Limits, Worker, WorkerError};

/// Runs attempts until the attempts are closed and the current one has ended.
pub async fn run(attempts: Arc<Attempts>, launcher: Arc<dyn Launcher>, limits: Limits) {
    loop {
        while let Some(taken) = attempts.start_next() {
            let id = taken.id;
            match run_one(&attempts, &*launcher, limits, taken).await {
                Ok(()) => attempts.stopped(id),
                Err(error) => {
                    let error: ErrorObject = error.into();
                    // In quotes, with escapes: parts of it come from requests and files.
                    tracing::warn!(attempt = id, error = ?error.message, "attempt failed");
                    attempts.failed(id, error);
                }
            }
        }
        if attempts.is_closed() {
            return;
        }
        attempts.arrived.notified().await;
    }
}

async fn run_one(
    attempts: &Attempts,
    launcher: &dyn Launcher,
    limits: Limits,
    Taken { id, job, cancel, log }: Taken,
) -> Result<(), WorkerError> {
    // A child of the attempt's token, so that dropping this future cancels nothing else.
    let cancel: CancellationToken = cancel.child_token();
    let mut worker = Worker::start(launcher, limits, log, cancel).await?;
    attempts.loading(id);
    worker
        .call("loading", &Request::Load(job.load), |message| match message {
            Message::Progress(progress) => {
                attempts.progress(id, progress);
                None
            }
            Message::Loaded(_) => Some(()),
            _ => None,
        })
        .await?;
    attempts.validating(id);
    let report = worker
        .call("validating", &Request::Validate(job.validate), |message| match message {
            Message::Token { id: token, text } => {
                attempts.token(id, token, text);
                None
            }
            Message::Report(report) => Some(*report),
            _ => None,
        })
        .await?;
    attempts.stopping(id, report);
    worker.shutdown().await;
    Ok(())
}
