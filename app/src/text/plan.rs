//! The load config.

use phi3::export::Target;

pub const FORM: &str = "Load config";
pub const SEARCH: &str = "Search knobs";
pub const RESET: &str = "Leave it to the layer below";
pub const TAKES: &str = "Takes";
pub const NOTHING_SET: &str = "not set";
pub const MEMORY: &str = "Memory";
pub const QUALITY: &str = "Quality";
pub const ENGINE: &str = "Our engine";
pub const JSON: &str = "As JSON";
pub const PLACEHOLDER: &str = "{\n  \"torch_dtype\": \"float16\"\n}";
pub const COPY: &str = "Copy";
pub const CLEAR: &str = "Clear";
pub const WHAT_JSON: &str = "the load config";
pub const NOT_SET: &str = "left to the model’s files";
pub const NO_BUDGET: &str = "no budget";
pub const UNDO: &str = "Undo";
pub const AGAINST_PARENT: &str = "Against the parent";
pub const AGAINST_BUILT_IN: &str = "Against the built-in load config";
pub const MAKE_PARENT: &str = "Make it the parent";
pub const MAKE_PARENT_WHY: &str = "Hold further changes against the plan as it is now";
pub const FORGET_PARENT: &str = "Built-in";
pub const NO_CHANGE: &str =
    "Nothing is changed yet. Change one thing: then a success or a failure has one cause.";
pub const ONE_CHANGE_WHY: &str = "An attempt changes one thing, so that its outcome has one cause. Undo the others, or say that this is a branch.";
pub const FIRST_ATTEMPT: &str = "A first attempt may set several things. Those that follow it change one each, so that an outcome has one cause.";
pub const BRANCH: &str = "Branch";
pub const BRANCHED: &str = "branch";
pub const BRANCHED_WHY: &str =
    "Several changes at once, on purpose: the outcome will not say which of them did it.";
pub const REFUSED: &str = "refused";
pub const EFFECT: &str = "What it does to memory";
pub const EFFECT_OF: &str = "parent and plan";
pub const NOT_SIZED: &str = "The load config has to be right first.";
pub const NO_MODEL: &str = "Nothing can be sized without the config of a model that is known.";
/// Of a term that a plan leaves as it was.
pub const UNMOVED: &str = "–";
pub const NO_BYTES: &str = "no bytes";
pub const PARENT: &str = "Parent";
pub const PLAN: &str = "Plan";
pub const CHANGE: &str = "Change";
pub const NEXT: &str = "Single changes from here";
pub const NEXT_OF: &str = "on the total";
pub const APPLY: &str = "Apply";
pub const ALL: &str = "Show all";
pub const FEWER: &str = "Show fewer";
pub const EXPORT: &str = "Export";
pub const DROPPED: &str = "not expressed";
pub const APPROXIMATED: &str = "approximated";

pub fn against_attempt(id: u64, model: &str) -> String {
    format!("Against attempt #{id} of {model}")
}

pub fn reset(key: &str) -> String {
    format!("Reset {key}")
}

pub fn left(default: Option<&str>) -> String {
    match default {
        Some(json) => format!("{} (default)", json.trim_matches('"')),
        None => "as the model’s files say".to_owned(),
    }
}

/// `host_load_peak_beside_gpu` → `Host load peak beside GPU`.
pub fn term(name: &str) -> String {
    super::capitalised(&super::term_name(name)).replace("gpu", "GPU")
}

pub fn too_many(count: usize) -> String {
    format!("{count} changes, one is allowed.")
}

pub fn target(target: Target) -> &'static str {
    match target {
        Target::FromPretrained => "from_pretrained",
        Target::FromPretrained4 => "transformers 4",
        Target::Vllm => "vLLM",
        Target::LlamaCpp => "llama.cpp",
        Target::Ollama => "Ollama",
        Target::Json => "JSON",
        Target::Toml => "TOML",
        Target::Markdown => "Markdown",
    }
}
