//! Models of the server.

pub const HEADING: &str = "Models";
pub const SEARCH: &str = "Search models";
pub const NONE: &str = "No model has these words.";
pub const EMPTY: &str = "This server knows no model: start it with --model-root DIR, or register one below.";
pub const MODEL: &str = "Model";
pub const SOURCE: &str = "Where its files are";
pub const STATE: &str = "State";
pub const KNOWN_GOOD: &str = "Known good";
pub const ACTIONS: &str = "Actions";
pub const LOADED: &str = "loaded";
pub const LOADING: &str = "loading";
pub const FOUND: &str = "found under a model root";
pub const REGISTERED: &str = "registered";
pub const LOAD: &str = "Load";
pub const UNLOAD: &str = "Unload";
pub const VALIDATE: &str = "Validate";
pub const COMMIT: &str = "Commit known-good";
pub const PLAN: &str = "Plan";
pub const REGISTER: &str = "Register a model";
pub const REGISTER_WHY: &str = "A folder below a model root of the server; on the Hub ORG/NAME, or any address of a repository or of a file in it. A revision is pinned to its commit.";
pub const PATH: &str = "Folder, or ORG/NAME[@REV]";
pub const FROM_HUB: &str = "On the Hub";
pub const ADD: &str = "Register";
pub const REGISTERED_AS: &str = "Registered as";

pub fn attempt(id: u64) -> String {
    format!("attempt #{id}")
}

pub fn started(id: u64) -> String {
    format!("Attempt #{id} is on its way")
}
