//! What opens over a page.

pub const TITLE: &str = "Find an action";
pub const PLACEHOLDER: &str = "Go to, open, choose…";
pub const NOTHING: &str = "No action has these words.";
pub const SHARE: &str = "Share: copy the link to this page";
pub const DEFAULTS: &str = "Put every choice back to its default";
pub const KEYS: &str = "Keys";
pub const CLOSE: &str = "Close";
pub const LIST: [(&str, &str); 6] = [
    ("1 … 9, 0", "Go to a page, in the order of the list on the left"),
    ("Ctrl K", "Find any action by typing"),
    ("/", "Search what this page lists"),
    ("Esc", "Stop what runs; close what is open"),
    ("?", "Show these keys"),
    ("Tab", "Go through everything on the page"),
];

pub fn go(page: &str) -> String {
    format!("Go to {page}")
}

pub fn open(model: &str) -> String {
    format!("Open {model}")
}

pub fn fit_on(device: &str) -> String {
    format!("Fit on {device}")
}
