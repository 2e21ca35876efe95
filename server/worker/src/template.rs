//! Chat templates come with models from strangers: each is rendered in a process of its own, this binary again, with
//! limited memory and time. Fuel ends most that run away; what it cannot see ends that process and nothing else.

use std::io::{self, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use phi3::api::ErrorObject;
use phi3::api::worker::{RENDER_TEMPLATE, TemplateAsk};
use phi3::tokenize::{ChatTemplate, Rendering, TokenizerError};

/// Address space of a rendering, several times what the longest conversation takes.
#[cfg(target_os = "linux")]
const MEMORY_BYTES: u64 = 256 << 20;

/// Computing time of a rendering; real ones take milliseconds.
const CPU_SECONDS: u64 = 5;

/// What the process that renders answers: the text, or the template's own failure.
type Answer = Result<String, ErrorObject>;

/// Renders in another process.
///
/// # Errors
/// The template's own failure, or that it took more than it may.
pub(crate) fn render(rendering: &Rendering) -> Answer {
    let answered = ask(rendering).map_err(|error| {
        ErrorObject::new("internal", format!("the chat template's process cannot be run: {error}"))
    });
    let (status, answer) = answered?;
    serde_json::from_slice(&answer).unwrap_or_else(|_no_answer| Err(refused(&outgrown(status))))
}

/// Reads what is asked, answers it and ends.
pub(crate) fn main() -> ExitCode {
    let done = limit().and_then(|()| {
        let done = match serde_json::from_reader(io::stdin().lock())? {
            TemplateAsk::Check(source) => ChatTemplate::new(source).check().map(|()| String::new()),
            TemplateAsk::<Rendering>::Render(rendering) => rendering.run(),
        };
        let answer: Answer = done.map_err(|error| refused(&error));
        serde_json::to_writer(io::stdout().lock(), &answer)?;
        Ok(())
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(io::stderr(), "{RENDER_TEMPLATE}: {error}").ok();
            ExitCode::FAILURE
        }
    }
}

fn ask(rendering: &Rendering) -> io::Result<(ExitStatus, Vec<u8>)> {
    let question = serde_json::to_vec(&TemplateAsk::Render(rendering))?;
    let mut child = Command::new(std::env::current_exe()?)
        .arg(RENDER_TEMPLATE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that died will not listen; its end tells why.
        stdin.write_all(&question).ok();
    }
    let output = child.wait_with_output()?;
    Ok((output.status, output.stdout))
}

fn limit() -> io::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    setrlimit(Resource::RLIMIT_CPU, CPU_SECONDS, CPU_SECONDS + 1)?;
    #[cfg(target_os = "linux")]
    {
        setrlimit(Resource::RLIMIT_AS, MEMORY_BYTES, MEMORY_BYTES)?;
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    }
    Ok(())
}

/// Why there is no answer.
fn outgrown(status: ExitStatus) -> TokenizerError {
    let what = match status.signal().map(Signal::try_from) {
        Some(Ok(Signal::SIGXCPU)) => format!("ran for more than {CPU_SECONDS} s"),
        // An allocation that fails aborts, and so does a stack that is full.
        Some(Ok(signal)) => format!("took more memory or nested deeper than it may ({})", signal.as_str()),
        _ => format!("ended without an answer ({status})"),
    };
    TokenizerError::Template(what)
}

fn refused(error: &TokenizerError) -> ErrorObject {
    ErrorObject::new(error.code(), error.to_string())
}
