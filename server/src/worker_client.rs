//! How one talks to a worker: requests out, messages in, an eye on its life.

use std::sync::Arc;
use std::time::Duration;

use phi3::api::ErrorObject;
use phi3::api::worker::{self, FrameError, Message, PROTOCOL_VERSION, Request};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
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
            // A cancel is promised to end within two seconds.
            grace: Duration::from_millis(1500),
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
    #[error("the worker was ended while {stage}: no {what} for {} s", limit.as_secs_f32())]
    Stalled {
        /// What it was doing.
        stage: &'static str,
        /// `sign of life` or `progress`.
        what: &'static str,
        /// How long that was waited for.
        limit: Duration,
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

impl WorkerError {
    /// The stable name.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Refused(object) => &object.code,
            Self::Launch(_) => "worker_not_started",
            Self::Died { .. } => "worker_killed",
            Self::Stalled { .. } => "worker_stalled",
            Self::Protocol { .. } => "protocol_error",
            Self::Cancelled => "cancelled",
        }
    }
}

impl From<WorkerError> for ErrorObject {
    fn from(error: WorkerError) -> Self {
        match error {
            WorkerError::Refused(object) => object,
            error => Self::new(error.code(), error.to_string()),
        }
    }
}

/// Messages that we may be behind before the worker has to wait.
const BEHIND: usize = 64;

/// A running worker.
pub struct Worker {
    requests: Box<dyn AsyncWrite + Send + Unpin>,
    /// Closed when its stream has ended.
    messages: mpsc::Receiver<Result<Message, FrameError>>,
    reader: JoinHandle<()>,
    /// When it gave its last sign of life.
    heard: Instant,
    /// Its process id, where it is a process of this machine.
    pid: Option<u32>,
    /// The version that it says it is of.
    build: String,
    process: Box<dyn WorkerProcess>,
    log: Arc<LogRing>,
    /// Ends when the log has been read to its end.
    log_reader: JoinHandle<()>,
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
        let Launched { requests, messages, log: lines, process, pid } = launcher.launch()?;
        let log_reader = tokio::spawn(Arc::clone(&log).fill(lines));
        let (sender, received) = mpsc::channel(BEHIND);
        let reader = tokio::spawn(read_all(messages, sender));
        let mut worker = Self {
            requests,
            messages: received,
            reader,
            heard: Instant::now(),
            pid,
            build: String::new(),
            process,
            log,
            log_reader,
            limits,
            cancel,
        };
        let stage = "starting";
        match worker.next(stage, Instant::now() + limits.stall).await? {
            Message::Hello { protocol: PROTOCOL_VERSION, build } => {
                worker.build = build;
                Ok(worker)
            }
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
        self.write(stage, request).await?;
        let mut stalled = Instant::now() + self.limits.stall;
        loop {
            match self.next(stage, stalled).await? {
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

    /// Its process id, where it is a process of this machine.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log.lines()
    }

    /// The version that it says it is of.
    #[must_use]
    pub fn build(&self) -> &str {
        &self.build
    }

    /// Sends a request without waiting for its answer.
    ///
    /// # Errors
    /// As [`Worker::call`].
    pub async fn send(&mut self, stage: &'static str, request: &Request) -> Result<(), WorkerError> {
        self.write(stage, request).await
    }

    /// The next message, heartbeats included. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`WorkerError`], also where none came before `stalled`; the process is gone then.
    pub async fn message(&mut self, stage: &'static str, stalled: Instant) -> Result<Message, WorkerError> {
        self.next(stage, stalled).await
    }

    /// When it must have got on, counted from now.
    #[must_use]
    pub fn stalls(&self) -> Instant {
        Instant::now() + self.limits.stall
    }

    /// Asks it to end and waits; kills it after the grace time.
    pub async fn shutdown(mut self) {
        self.end(WorkerError::Cancelled).await;
    }

    /// Ends the process in order, with its children, and hands `reason` back.
    async fn end(&mut self, reason: WorkerError) -> WorkerError {
        let Self { requests, process, .. } = self;
        let in_order = async {
            if let Ok(frame) = worker::encode(&Request::Shutdown) {
                requests.write_all(&frame).await.ok();
            }
            requests.shutdown().await.ok();
            process.wait().await
        };
        // One that does not read may not even take the request.
        if timeout(self.limits.grace, in_order).await.is_err() {
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

    async fn write(&mut self, stage: &'static str, request: &Request) -> Result<(), WorkerError> {
        let frame = match worker::encode(request) {
            Ok(frame) => frame,
            Err(error) => return Err(WorkerError::Refused(ErrorObject::new("too_large", error.to_string()))),
        };
        let written = tokio::select! {
            biased;
            () = self.cancel.cancelled() => None,
            written = timeout(self.limits.silence, self.requests.write_all(&frame)) => Some(written),
        };
        match written {
            Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(_broken_pipe))) => Err(self.died(stage).await),
            Some(Err(_)) => Err(self.stalled(stage, "sign of life", self.limits.silence).await),
            None => Err(self.give_up(WorkerError::Cancelled).await),
        }
    }

    /// The next message, `stalled` being when the worker must have got on.
    async fn next(&mut self, stage: &'static str, stalled: Instant) -> Result<Message, WorkerError> {
        let silent = self.heard + self.limits.silence;
        let read = tokio::select! {
            biased;
            () = self.cancel.cancelled() => None,
            read = timeout_at(silent.min(stalled), self.messages.recv()) => Some(read),
        };
        match read {
            Some(Ok(Some(Ok(message)))) => {
                self.heard = Instant::now();
                Ok(message)
            }
            Some(Ok(None | Some(Err(FrameError::Io(_))))) => Err(self.died(stage).await),
            Some(Ok(Some(Err(error)))) => {
                Err(self.give_up(WorkerError::Protocol { stage, error: error.to_string() }).await)
            }
            Some(Err(_)) if silent <= stalled => {
                Err(self.stalled(stage, "sign of life", self.limits.silence).await)
            }
            Some(Err(_)) => Err(self.stalled(stage, "progress", self.limits.stall).await),
            // One that has not greeted yet holds nothing that it could put away in order.
            None if self.build.is_empty() => Err(self.give_up(WorkerError::Cancelled).await),
            None => Err(self.end(WorkerError::Cancelled).await),
        }
    }

    async fn stalled(&mut self, stage: &'static str, what: &'static str, limit: Duration) -> WorkerError {
        self.give_up(WorkerError::Stalled { stage, what, limit }).await
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
        // Its last words may still be on their way; a child of its own may hold the log open.
        if !self.log_reader.is_finished() {
            timeout(self.limits.grace, &mut self.log_reader).await.ok();
        }
        let hint = match how.as_str() {
            "SIGKILL" => "; the system ends processes this way when memory runs out".to_owned(),
            "SIGBUS" => "; did a file change while it was read?".to_owned(),
            _ => self.log.last().map(|line| format!("; its last words: {line}")).unwrap_or_default(),
        };
        WorkerError::Died { stage, how, hint }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Reads a worker's messages up to the end of its stream, or to what is none.
async fn read_all(
    mut stream: Box<dyn AsyncRead + Send + Unpin>,
    sender: mpsc::Sender<Result<Message, FrameError>>,
) {
    loop {
        let next = match read(&mut stream).await {
            Ok(Some(message)) => Ok(message),
            Ok(None) => return,
            Err(error) => Err(error),
        };
        let broken = next.is_err();
        if sender.send(next).await.is_err() || broken {
            return;
        }
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
