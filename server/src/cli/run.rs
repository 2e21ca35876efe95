//! What `load`, `validate` and `logits` share: a worker for the time of one command.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use phi3::api::ErrorObject;
use phi3::api::worker::{Load, Loaded, Message, Request};
use phi3::engine::{LoadProgress, LoadStage, Loading};
use phi3::load_config::LoadConfig;
use phi3::units::format_bytes;
use preflight_files::Source;
use tokio_util::sync::CancellationToken;

use super::load_config;
use crate::error::{CliError, Exit};
use crate::launcher::{self, Local};
use crate::log_ring::LogRing;
use crate::worker_client::{Limits, Worker, WorkerError};

/// What is loaded, and how.
#[derive(Debug, clap::Args)]
pub(super) struct Target {
    /// Model directory, *.safetensors, index JSON, *.gguf, or hf:ORG/NAME[@REV] that is in the cache.
    pub(super) path: String,
    /// Device: auto, cpu, cuda:N or wgpu:N [default: auto].
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// JSON file of overrides, in Hugging Face's field names.
    #[arg(long, value_name = "FILE")]
    load_config: Option<PathBuf>,
}

impl Target {
    /// What a worker is asked to load; what is not said here is left to the command.
    ///
    /// # Errors
    /// A load config that cannot be read, or that this build cannot run.
    pub(super) fn load(&self) -> Result<Load, CliError> {
        Ok(Load {
            path: self.path.clone(),
            device: self.device.clone(),
            load_config: load_config::read_to_run(self.load_config.as_deref())?,
            ..Load::default()
        })
    }
}

/// Starts a worker, loads a model, lets `then` use it, and ends the worker. Ctrl-C ends it too.
pub(super) fn with_model<T>(
    load: Load,
    then: impl AsyncFnOnce(&mut Worker, Loaded) -> Result<T, WorkerError>,
) -> Result<T, CliError> {
    // The worker sees no token and no network: what is on the Hub must be in the cache.
    let overrides = LoadConfig::from_map(&load.load_config).map_err(|error| ErrorObject::from(&error))?;
    overrides.chat_template.as_deref().map_or(Ok(()), launcher::check_template)?;
    let (revision, cache_dir) = (overrides.revision.as_deref(), overrides.cache_dir.as_deref());
    let load = Load { path: Source::as_configured(&load.path, revision, cache_dir.map(Path::new))?, ..load };
    // Of several devices the first is a GPU, if one is.
    let named = overrides.devices().first().map(ToString::to_string);
    let device = load.device.clone().or(named);
    let result = on_runtime(async |cancel| {
        let local = Local::find(device.as_deref())?;
        let mut worker =
            Worker::start(&local, Limits::default(), Arc::new(LogRing::default()), cancel).await?;
        let mut progress = Progress::new();
        let request = Request::Load(load);
        let loaded = worker.call("loading", &request, |message| match message {
            Message::Progress(step) => {
                progress.show(step);
                None
            }
            Message::Loaded(loaded) => Some(loaded),
            _ => None,
        });
        let loaded = loaded.await;
        progress.clear();
        let result = match loaded {
            Ok(loaded) => then(&mut worker, loaded).await,
            Err(error) => Err(error),
        };
        worker.shutdown().await;
        result
    });
    result.map_err(|error: WorkerError| {
        let error = CliError::from(error);
        // To run what nobody knows is bad input; only to ask about it is not.
        match error.object.code.as_str() {
            "unknown_architecture" => CliError { exit: Exit::BadInput, ..error },
            _ => error,
        }
    })
}

/// Runs what talks to workers. Ctrl-C cancels the token, and so whatever a worker does.
pub(super) fn on_runtime<T, E: From<io::Error>>(
    work: impl AsyncFnOnce(CancellationToken) -> Result<T, E>,
) -> Result<T, E> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        let cancel = CancellationToken::new();
        let on_signal = cancel.clone();
        tokio::spawn(async move {
            tokio::signal::ctrl_c().await.ok();
            on_signal.cancel();
        });
        work(cancel).await
    });
    // What was cancelled while it read files is not waited for.
    runtime.shutdown_background();
    done
}

/// A line on stderr that is written over, where stderr is a terminal.
pub(super) struct Progress {
    shown: bool,
    is_terminal: bool,
    began: Instant,
    loading: Option<Loading>,
}

impl Progress {
    pub(super) fn new() -> Self {
        let is_terminal = io::stderr().is_terminal();
        Self { shown: false, is_terminal, began: Instant::now(), loading: None }
    }

    pub(super) fn show(&mut self, progress: LoadProgress) {
        if !self.is_terminal {
            return;
        }
        let LoadProgress { stage, done_bytes, total_bytes } = progress;
        let loading = Loading::next(self.loading, progress, self.began.elapsed().as_secs_f64() * 1e3);
        self.loading = Some(loading);
        let stage = match stage {
            LoadStage::Downloading => "downloading",
            LoadStage::Checking => "checking",
            LoadStage::Weights => "loading",
            LoadStage::Preparing => "preparing",
        };
        let (done, total) = (format_bytes(done_bytes), format_bytes(total_bytes));
        let rate = loading.bytes_per_s.map(|rate| format!(", {} a second", format_bytes(rate as u64)));
        write!(io::stderr(), "\r\x1b[K{stage}  {done} of {total}{}", rate.unwrap_or_default()).ok();
        self.shown = true;
    }

    pub(super) fn clear(&mut self) {
        if self.shown {
            write!(io::stderr(), "\r\x1b[K").ok();
            self.shown = false;
        }
    }
}
