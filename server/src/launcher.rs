//! Who starts a worker. How it talks is `worker_client`'s matter, so that workers elsewhere change this file only.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant, UNIX_EPOCH};

use phi3::api::ErrorObject;
use phi3::api::worker::{Probe, RENDER_TEMPLATE, TemplateAsk};
use phi3::engine::DeviceInfo;
use phi3::placement::DeviceId;
use serde_json::json;
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

/// Code of a worker that is not there, or is none.
const NOT_STARTED: &str = "worker_not_started";

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

fn environment() -> impl Iterator<Item = (&'static str, OsString)> {
    ENVIRONMENT.iter().filter_map(|key| Some((*key, std::env::var_os(key)?)))
}

/// Most that is read of an answer to a probe.
const MAX_PROBE_BYTES: u64 = 1 << 20;

/// The worker for NVIDIA: a binary of its own, so that the other has nothing of CUDA in it.
const CUDA_WORKER: &str = "preflight-worker-cuda";

/// What the devices of a model are called that lies on more than one.
pub const SEVERAL: &str = "several";

/// A driver that takes longer to tell its devices is as good as none.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

impl Local {
    /// The worker for a device (`auto` where none is named, [`SEVERAL`] of a split): `$PREFLIGHT_WORKER`, else beside this
    /// binary `preflight-worker-cuda` for CUDA devices, which takes the CPU beside them, and `preflight-worker` for all
    /// others.
    ///
    /// # Errors
    /// It is not there.
    pub fn find(device: Option<&str>) -> io::Result<Self> {
        if let Some(path) = std::env::var_os("PREFLIGHT_WORKER") {
            return Self::at(path.into());
        }
        let beside = std::env::current_exe()?;
        let cuda = beside.with_file_name(CUDA_WORKER);
        let wants_cuda = match device.unwrap_or("auto") {
            "auto" | SEVERAL => cuda.is_file() && probe(&cuda).is_ok_and(|probe| has_cuda(&probe)),
            named => named.starts_with("cuda") && cuda.is_file(),
        };
        Self::at(if wants_cuda { cuda } else { beside.with_file_name("preflight-worker") })
    }

    fn at(program: PathBuf) -> io::Result<Self> {
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

/// Whether a worker of this installation computes on NVIDIA's GPUs, where the driver has some.
#[must_use]
pub fn drives_cuda() -> bool {
    Local::find(Some("cuda:0")).is_ok_and(|local| {
        // What somebody names may be anything.
        local.program.ends_with(CUDA_WORKER) || std::env::var_os("PREFLIGHT_WORKER").is_some()
    })
}

/// What tells the workers of this installation from those of another build: of each program that is there, its bytes
/// and when it was written, in nanoseconds since 1970.
#[must_use]
pub fn builds() -> Vec<(u64, u64)> {
    let programs = [Some("cpu"), Some("cuda:0")].map(Local::find);
    let written = |local: &Local| {
        let metadata = local.program.metadata().ok()?;
        let since_1970 = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some((metadata.len(), u64::try_from(since_1970.as_nanos()).ok()?))
    };
    programs.iter().flatten().filter_map(written).collect()
}

fn has_cuda(probe: &Probe) -> bool {
    probe.devices.iter().any(|info| {
        !info.is_software && matches!(&info.device, DeviceId::Gpu { backend, .. } if backend == "cuda")
    })
}

/// Every device that a worker of this installation can use, each once. Blocks as [`probe`] does.
///
/// # Errors
/// There is no worker, or `$PREFLIGHT_WORKER` does not answer.
pub fn devices() -> io::Result<Vec<DeviceInfo>> {
    let mut devices: Vec<DeviceInfo> = Vec::new();
    let cuda = Local::find(Some("cuda:0"))?.program;
    let cpu = Local::find(Some("cpu"))?.program;
    for program in if cuda == cpu { vec![cpu] } else { vec![cuda, cpu] } {
        match probe(&program) {
            Ok(found) => devices.extend(found.devices),
            // The driver that this one needs may not be here; the others do without.
            Err(error) if program.ends_with(CUDA_WORKER) => {
                tracing::info!(%error, "{CUDA_WORKER} finds no device");
            }
            Err(error) => return Err(error),
        }
    }
    let mut seen = BTreeSet::new();
    devices.retain(|info| seen.insert(info.device.clone()));
    Ok(devices)
}

/// Asks a worker for the devices that it can use. Blocks for as long as its drivers take to start, at most 20 s.
///
/// # Errors
/// It does not run, does not answer in time, or answers something else.
pub fn probe(program: &Path) -> io::Result<Probe> {
    Ok(serde_json::from_slice(&answered(program, "--probe", b"")?)?)
}

/// Refuses a chat template that does not compile. A worker looks at it, in a process of its own: a stranger's template may
/// take more memory, time or stack than there is.
///
/// # Errors
/// `load_config_invalid`, or `worker_not_started`
pub fn check_template(source: &str) -> Result<(), ErrorObject> {
    let refused = |why: String| ErrorObject::new("load_config_invalid", why).at("chat_template");
    let asked = json!(TemplateAsk::<()>::Check(source.to_owned())).to_string();
    let not_started = |error: &dyn fmt::Display| ErrorObject::new(NOT_STARTED, error.to_string());
    let local = Local::find(Some("cpu")).map_err(|error| not_started(&error))?;
    let answer = answered(&local.program, RENDER_TEMPLATE, asked.as_bytes()).map_err(|error| {
        match error.kind() {
            // It has seconds to compute, and is ended after them: one that is still there does something else.
            ENDED => refused(format!(
                "chat template: nests deeper, or takes more memory or time, than compiling it may ({error}): shorten it"
            )),
            _ => not_started(&error),
        }
    })?;
    let answer: Result<String, ErrorObject> = serde_json::from_slice(&answer).map_err(|_error| {
        let program = local.program.display();
        not_started(&format!("{program}: is no worker: it does not answer as one"))
    })?;
    answer.map(|_text| ()).map_err(|error| refused(error.message))
}

/// Refuses a chat template, where there is one, before anything is kept or loaded. Where no worker can look at it, the
/// load will tell.
///
/// # Errors
/// `load_config_invalid`
pub fn check_template_early(source: Option<&str>) -> Result<(), ErrorObject> {
    match source.map_or(Ok(()), check_template) {
        Err(error) if error.code == NOT_STARTED => Ok(()),
        checked => checked,
    }
}

/// A worker that was started, and ended otherwise than it should.
const ENDED: io::ErrorKind = io::ErrorKind::BrokenPipe;

/// What a worker's program answers to an argument and to what stands on its stdin, after 20 s at most.
fn answered(program: &Path, argument: &str, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut child = std::process::Command::new(program)
        .arg(argument)
        .env_clear()
        .envs(environment())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        let question = question.to_owned();
        // One that died, or never reads, will not listen: its end tells why, and nobody waits for this thread.
        std::thread::spawn(move || stdin.write_all(&question).ok());
    }
    let mut stdout = child.stdout.take().ok_or_else(|| io::Error::other("its stdout is missing"))?;
    let answer = std::thread::spawn(move || {
        let mut answer = Vec::new();
        stdout.by_ref().take(MAX_PROBE_BYTES).read_to_end(&mut answer).map(|_read| answer)
    });
    let begun = Instant::now();
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if begun.elapsed() > ANSWER_LIMIT => {
                child.kill()?;
                child.wait()?;
                return Err(io::Error::new(io::ErrorKind::TimedOut, "it did not answer in time"));
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    if !status.success() {
        return Err(io::Error::new(ENDED, format!("it ended by {}", name_of(status))));
    }
    answer.join().map_err(|_panic| io::Error::other("its answer could not be read"))?
}

impl Launcher for Local {
    fn launch(&self) -> io::Result<Launched> {
        let mut child = tokio::process::Command::new(&self.program)
            .env_clear()
            .envs(environment())
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
