//! Validation in this browser.

use phi3::engine::LoadStage;
use phi3::placement::DeviceId;
use phi3::units::format_bytes;
use phi3::validate::ProbeSet;

use super::plural;
use crate::state::Place;
use crate::state::browser_run::Step;
use crate::state::in_browser::Subject;

pub const PLACES: &str = "Where it runs";
pub const ASKING_GPU: &str = "Asking for the GPU…";
pub const NO_GPU: &str = "No GPU in this browser";
pub const UNNAMED_GPU: &str = "A GPU without a name";
pub const SOFTWARE: &str = "played by the processor";
pub const BOTH: &str = "One held against the other";
pub const NO_SERVER: &str = "None answers";
pub const NO_MODEL: &str = "It knows no model";
pub const TINY: &str = "Tiny";
pub const TINY_WHY: &str = "Runs the model that comes with this page, 1.9 M parameters of the Phi-3 architecture, not the config shown above: nothing is downloaded and no server is asked.";
pub const CHOSEN_WHY: &str =
    "Files are read by slices on this computer, one tensor at a time; nothing is sent anywhere.";
pub const KEPT_WHY: &str =
    "Files are read by slices from this browser’s own storage, one tensor at a time; nothing is fetched.";
pub const MADE_UP_WHY: &str = "Runs the config shown above with weights that are made up: size and speed are the model’s, what it says means nothing.";
pub const MODEL: &str = "Model";
pub const WEIGHTS: &str = "Weights in";
pub const AS_STORED: &str = "as stored";
pub const PROMPT: &str = "Prompt";
pub const PROMPT_MADE_UP: &str = "ten ids";
pub const NEW_TOKENS: &str = "New tokens";
pub const PROBES: &str = "Boundaries crossed";
pub const REFERENCE: &str = "Logits held against";
pub const REFERENCE_CPU: &str = "the CPU in f32";
pub const REFERENCE_NONE: &str = "nothing: only speed";
pub const FOLDER: &str = "Choose a model folder";
pub const DROP: &str = "or drop it anywhere on the page";
pub const NO_WORKER: &str = "This browser starts no worker: the engines cannot run";
pub const NO_CONFIG: &str = "There is no config on this page: choose a preset or paste one";
pub const STEP_WAITING: &str = "Waits for its turn";
pub const STEP_STARTING: &str = "Fetching the engine and reading the model’s files";
pub const STEP_COMPARING: &str = "Holding its logits against the reference";
pub const STEP_DONE: &str = "Done";
pub const STEP_FAILED: &str = "Failed";
pub const STEP_NOT_RUN: &str = "Not run";
pub const STEP_CANCELLED: &str = "Cancelled; the engine has ended and its memory is back";
pub const PREPARING_GPU: &str = "Building the GPU’s programs";
pub const REPORT: &str = "Report";
pub const COPY_JSON: &str = "Copy JSON";
pub const COPY_MARKDOWN: &str = "Copy Markdown";
pub const SAVE_JSON: &str = "Save JSON";
pub const SAVE_MARKDOWN: &str = "Save Markdown";
pub const WHAT_JSON: &str = "the report as JSON";
pub const WHAT_MARKDOWN: &str = "the report as Markdown";
pub const SAVE_REFUSED: &str = "The browser refused to save it: copy it instead";
pub const COMPARED: &str = "Both engines on the same tokens";
pub const COMPARED_WHY: &str = "WebGPU’s logits held against the CPU’s, in the same format of weights.";

/// A place as it is chosen.
pub fn place(place: Place) -> &'static str {
    match place {
        Place::Cpu => "CPU in this browser",
        Place::WebGpu => "WebGPU in this browser",
        Place::Both => "Both, side by side",
        Place::Server => "Server",
    }
}

/// What the CPU runs it with.
pub fn wasm(threads: usize) -> String {
    if threads == 1 {
        "WebAssembly, one thread".to_owned()
    } else {
        format!("WebAssembly, {threads} threads")
    }
}

/// A device of this browser, as a heading.
pub fn device(device: &DeviceId) -> &'static str {
    place(if *device == DeviceId::Cpu { Place::Cpu } else { Place::WebGpu })
}

/// The same, where both stand side by side.
pub fn short_device(device: &str) -> &'static str {
    if device == "cpu" { "CPU" } else { "WebGPU" }
}

pub fn made_up(title: &str) -> String {
    format!("{title}, made-up weights")
}

/// Files that were chosen, as a choice.
pub fn chosen(name: &str, bytes: u64) -> String {
    format!("{name}, {}", format_bytes(bytes))
}

pub fn subject_why(subject: &Subject) -> &'static str {
    match subject {
        Subject::Tiny => TINY_WHY,
        Subject::Chosen => CHOSEN_WHY,
        Subject::Kept(_) => KEPT_WHY,
        Subject::MadeUp => MADE_UP_WHY,
    }
}

pub fn probes(set: ProbeSet) -> &'static str {
    match set {
        ProbeSet::None => "none",
        ProbeSet::Window => "the sliding window",
        ProbeSet::Long => "the original positions",
        ProbeSet::All => "both",
    }
}

pub fn step(step: Step, stage: Option<LoadStage>, is_gpu: bool) -> &'static str {
    match (step, stage) {
        (Step::Waiting, _) => STEP_WAITING,
        (Step::Starting, _) | (Step::Loading, None) => STEP_STARTING,
        (Step::Loading, Some(LoadStage::Preparing)) if is_gpu => PREPARING_GPU,
        (Step::Loading, Some(stage)) => super::load_stage(stage),
        (Step::Running, _) => super::validate::STATE_RUNNING,
        (Step::Comparing, _) => STEP_COMPARING,
        (Step::Done, _) => STEP_DONE,
    }
}

/// What is no count of new tokens.
pub fn no_count(most: usize) -> String {
    format!("A whole number from 1 to {most} is needed, or an empty field for what is usual.")
}

/// More new tokens were asked for than a validation generates.
pub fn too_many(most: usize) -> String {
    format!(
        "A validation generates at most {most} new tokens: {most} is taken. For longer texts load the model on a server and ask it on the page Playground."
    )
}

/// Tokens that came, of those asked for.
pub fn tokens(done: usize) -> String {
    plural(done as u64, "token")
}
