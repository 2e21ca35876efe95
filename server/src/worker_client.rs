//! How one talks to a worker: requests out, messages in, an eye on its life.

use std::sync::Arc;
use std::time::Duration;

use phi3::api::ErrorObject;
use phi3::api::worker::{self, FrameError, Message, PROTOCOL_VERSION, Request};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::launcher::{Launched, Launcher, WorkerProcess};
use crate::log_ring::LogRing;

/// How long a worker may be quiet. There is no limit on the whole of a load or a run.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Without any frame, heartbeats included: the process is stopped or gone.
    pub silence: Duration,
    /// Without progress, heartbeats not counted: the process lives and does nothing.
    pub stall: Duration,
    /// From a request to end, or to cancel, until it is killed.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(15),
            // A long prompt is one step without news in between, on a slow CPU.
            stall: Duration::from_secs(30 * 60),
            grace: Duration::from_secs(2),
        }
    }
}

/// Why a worker gave no answer.
#[derive(Debug, Error)]
pub enum WorkerError {
    /// It could not be started.
    #[error("{0}")]
    Launch(#[from] std::io::Error),
    /// It answered with an error of its own.
    #[error(transparent)]
    Refused(ErrorObject),
    /// Its process ended.
    #[error("the worker died while {stage}: {how}{hint}")]
    Died {
        /// What it was doing.
        stage: &'static str,
        /// `SIGKILL`, `exit status 101`.
        how: String,
        /// The last line of its log, or nothing.
        hint: String,
    },
    /// It gave no sign of life, or made no progress.
    #[error("the worker was ended while {stage}: no {what} for {seconds} s")]
    Stalled {
        /// What it was doing.
        stage: &'static str,
        /// `sign of life` or `progress`.
        what: &'static str,
        /// The limit.
        seconds: u64,
    },
    /// It does not speak the protocol.
    #[error("the worker was ended while {stage}: {error}")]
    Protocol {
        /// What it was doing.
        stage: &'static str,
        /// What was wrong.
        error: String,
    },
    /// Somebody asked for the end.
    #[error("cancelled")]
    Cancelled,
}

impl From<WorkerError> for ErrorObject {
    fn from(error: WorkerError) -> Self {
        let code = match &error {
            WorkerError::Refused(object) => return object.clone(),
            WorkerError::Launch(_) => "worker_not_started",
            WorkerError::Died { .. } => "worker_killed",
            WorkerError::Stalled { .. } => "worker_stalled",
            WorkerError::Protocol { .. } => "protocol_error",
            WorkerError::Cancelled => "cancelled",
        };
        Self::new(code, error.to_string())
    }
}

/// A running worker.
pub struct Worker {
    requests: Box<dyn AsyncWrite + Send + Unpin>,
    messages: Box<dyn AsyncRead + Send + Unpin>,
    process: Box<dyn WorkerProcess>,
    log: Arc<LogRing>,
    limits: Limits,
    cancel: CancellationToken,
}

impl Worker {
    /// Starts a worker and waits for its greeting. Its log goes to `log`; `cancel` ends whatever it does.
    ///
    /// # Errors
    /// [`WorkerError`]; the process is gone then.
    pub async fn start(
        launcher: &dyn Launcher,
        limits: Limits,
        log: Arc<LogRing>,
        cancel: CancellationToken,
    ) -> Result<Self, WorkerError> {
        let Launched { requests, messages, log: lines, process } = launcher.launch()?;
        tokio::spawn(Arc::clone(&log).fill(lines));
        let mut worker = Self { requests, messages, process, log, limits, cancel };
        let stage = "starting";
        match worker.next(stage, Instant::now() + limits.silence).await? {
            Message::Hello { protocol: PROTOCOL_VERSION, .. } => Ok(worker),
            Message::Hello { protocol, build } => {
                let error = format!(
                    "it speaks protocol {protocol} (build {build}), this build speaks {PROTOCOL_VERSION}; rebuild preflight-worker"
                );
                Err(worker.give_up(WorkerError::Protocol { stage, error }).await)
            }
            other => {
                let error = format!("it began with {other:?} instead of a greeting");
                Err(worker.give_up(WorkerError::Protocol { stage, error }).await)
            }
        }
    }

    /// Sends a request and hands every message on, up to the one that `answer` makes something of.
    ///
    /// # Errors
    /// [`WorkerError`]; after any but [`WorkerError::Refused`] the process is gone.
    pub async fn call<T>(
        &mut self,
        stage: &'static str,
        request: &Request,
        mut answer: impl FnMut(Message) -> Option<T>,
    ) -> Result<T, WorkerError> {
        self.send(stage, request).await?;
        let cancel = self.cancel.clone();
        let mut stalled = Instant::now() + self.limits.stall;
        loop {
            // Reading a frame is not safe to drop half way, so a cancelled worker is not read from again here.
            let message = tokio::select! {
                biased;
                () = cancel.cancelled() => None,
                message = self.next(stage, stalled) => Some(message?),
            };
            let Some(message) = message else { return Err(self.end(WorkerError::Cancelled).await) };
            match message {
                Message::Heartbeat => continue,
                Message::Error(error) => return Err(WorkerError::Refused(error)),
                message => {
                    stalled = Instant::now() + self.limits.stall;
                    if let Some(found) = answer(message) {
                        return Ok(found);
                    }
                }
            }
        }
    }

    /// Asks it to end and waits; kills it after the grace time.
    pub async fn shutdown(mut self) {
        self.end(WorkerError::Cancelled).await;
    }

    /// Ends the process in order, with its children, and hands `reason` back.
    async fn end(&mut self, reason: WorkerError) -> WorkerError {
        if let Ok(frame) = worker::encode(&Request::Shutdown) {
            self.requests.write_all(&frame).await.ok();
        }
        self.requests.shutdown().await.ok();
        if timeout(self.limits.grace, self.process.wait()).await.is_err() {
            self.process.kill();
            self.process.wait().await;
        }
        reason
    }

    /// Kills the process and hands `reason` back.
    async fn give_up(&mut self, reason: WorkerError) -> WorkerError {
        self.process.kill();
        self.process.wait().await;
        reason
    }

    async fn send(&mut self, stage: &'static str, request: &Request) -> Result<(), WorkerError> {
        let frame = match worker::encode(request) {
            Ok(frame) => frame,
            Err(error) => return Err(WorkerError::Refused(ErrorObject::new("too_large", error.to_string()))),
        };
        match timeout(self.limits.silence, self.requests.write_all(&frame)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_broken_pipe)) => Err(self.died(stage).await),
            Err(_) => Err(self.stalled(stage, "sign of life", self.limits.silence).await),
        }
    }

    async fn next(&mut self, stage: &'static str, stalled: Instant) -> Result<Message, WorkerError> {
        let silent = Instant::now() + self.limits.silence;
        match timeout_at(silent.min(stalled), read(&mut self.messages)).await {
            Ok(Ok(Some(message))) => Ok(message),
            Ok(Ok(None) | Err(FrameError::Io(_))) => Err(self.died(stage).await),
            Ok(Err(error)) => {
                Err(self.give_up(WorkerError::Protocol { stage, error: error.to_string() }).await)
            }
            Err(_) if silent <= stalled => {
                Err(self.stalled(stage, "sign of life", self.limits.silence).await)
            }
            Err(_) => Err(self.stalled(stage, "progress", self.limits.stall).await),
        }
    }

    async fn stalled(&mut self, stage: &'static str, what: &'static str, limit: Duration) -> WorkerError {
        self.give_up(WorkerError::Stalled { stage, what, seconds: limit.as_secs() }).await
    }

    /// Its stream ended: the process is dead or as good as dead.
    async fn died(&mut self, stage: &'static str) -> WorkerError {
        let how = match timeout(self.limits.grace, self.process.wait()).await {
            Ok(how) => how,
            Err(_) => {
                self.process.kill();
                format!("it closed its stream and had to be ended ({})", self.process.wait().await)
            }
        };
        let hint = match how.as_str() {
            "SIGKILL" => "; the system ends processes this way when memory runs out".to_owned(),
            "SIGBUS" => "; did a file change while it was read?".to_owned(),
            _ => self.log.last().map(|line| format!("; its last words: {line}")).unwrap_or_default(),
        };
        WorkerError::Died { stage, how, hint }
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<Message>, FrameError> {
    let mut prefix = [0; 4];
    if stream.read(&mut prefix[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut prefix[1..]).await?;
    let mut body = vec![0; worker::decode_len(prefix)?];
    stream.read_exact(&mut body).await?;
    worker::decode(&body).map(Some)
}
