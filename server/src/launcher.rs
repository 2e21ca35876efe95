//! Who starts a worker. How it talks is `worker_client`'s matter, so that workers elsewhere change this file only.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncRead, AsyncWrite};

/// Starts workers.
pub trait Launcher: Send + Sync {
    /// Starts one.
    ///
    /// # Errors
    /// There is nothing to start, or the system refused.
    fn launch(&self) -> io::Result<Launched>;
}

/// Knows who starts the workers of a device.
pub trait Launchers: Send + Sync {
    /// Who starts one for a device: `cpu`, `cuda:0`. May block while drivers are asked.
    ///
    /// # Errors
    /// There is nothing to start.
    fn launcher(&self, device: &str) -> io::Result<Box<dyn Launcher>>;
}

/// A worker that was started: its three streams and its life.
pub struct Launched {
    /// Requests go in here; closing it ends the worker.
    pub requests: Box<dyn AsyncWrite + Send + Unpin>,
    /// Messages come out here.
    pub messages: Box<dyn AsyncRead + Send + Unpin>,
    /// Log lines come out here.
    pub log: Box<dyn AsyncRead + Send + Unpin>,
    /// The process; dropping it kills it.
    pub process: Box<dyn WorkerProcess>,
    /// Its id, where it is a process of this machine.
    pub pid: Option<u32>,
}

/// The life of a worker.
pub trait WorkerProcess: Send {
    /// Ends it and all its children at once.
    fn kill(&mut self);
    /// Waits for its end and tells how it died: `SIGKILL`, `exit status 101`.
    fn wait(&mut self) -> Pin<Box<dyn Future<Output = String> + Send + '_>>;
}

/// Starts worker processes on this machine.
#[derive(Debug, Clone)]
pub struct Local {
    /// The binary.
    pub program: PathBuf,
}

/// What a worker may see of the environment: no tokens, no proxies.
const ENVIRONMENT: [&str; 10] = [
    "PATH",
    "HOME",
    "TMPDIR",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "RAYON_NUM_THREADS",
    "RUST_BACKTRACE",
    "RUST_LOG",
    "CUDA_VISIBLE_DEVICES",
];

impl Local {
    /// `$PREFLIGHT_WORKER`, else `preflight-worker` beside this binary.
    ///
    /// # Errors
    /// Neither is there.
    pub fn find() -> io::Result<Self> {
        let program = match std::env::var_os("PREFLIGHT_WORKER") {
            Some(path) => PathBuf::from(path),
            None => std::env::current_exe()?.with_file_name("preflight-worker"),
        };
        if program.is_file() {
            return Ok(Self { program });
        }
        let message = format!(
            "{}: the worker is not there; build it with `cargo build -p preflight-worker` or set PREFLIGHT_WORKER",
            program.display()
        );
        Err(io::Error::new(io::ErrorKind::NotFound, message))
    }
}

impl Launcher for Local {
    fn launch(&self) -> io::Result<Launched> {
        let environment = ENVIRONMENT.iter().filter_map(|key| Some((key, std::env::var_os(key)?)));
        let mut child = tokio::process::Command::new(&self.program)
            .env_clear()
            .envs(environment)
            // A group of its own: Ctrl-C in a terminal reaches us, who end the worker in order.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!("{}: cannot be started: {error}", self.program.display()),
                )
            })?;
        let missing = || io::Error::other("a pipe to the worker is missing");
        Ok(Launched {
            pid: child.id(),
            requests: Box::new(child.stdin.take().ok_or_else(missing)?),
            messages: Box::new(child.stdout.take().ok_or_else(missing)?),
            log: Box::new(child.stderr.take().ok_or_else(missing)?),
            process: Box::new(LocalProcess { child }),
        })
    }
}

struct LocalProcess {
    child: tokio::process::Child,
}

impl WorkerProcess for LocalProcess {
    fn kill(&mut self) {
        // The id is gone once it was waited for, so this never hits a stranger.
        if let Some(group) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            nix::sys::signal::killpg(nix::unistd::Pid::from_raw(group), nix::sys::signal::Signal::SIGKILL)
                .ok();
        }
    }

    fn wait(&mut self) -> Pin<Box<dyn Future<Output = String> + Send + '_>> {
        Box::pin(async {
            match self.child.wait().await {
                Ok(status) => name_of(status),
                Err(error) => format!("unknown: {error}"),
            }
        })
    }
}

impl Drop for LocalProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

fn name_of(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match status.signal().map(nix::sys::signal::Signal::try_from) {
        Some(Ok(signal)) => signal.as_str().to_owned(),
        Some(Err(_)) => status.to_string(),
        None => format!("exit status {}", status.code().unwrap_or_default()),
    }
}
