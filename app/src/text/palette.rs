//! What opens over a page.

use crate::state::theme::Theme;

pub const TITLE: &str = "Find an action";
pub const PLACEHOLDER: &str = "Go to, open, choose…";
pub const NOTHING: &str = "No action has these words.";
pub const SHARE: &str = "Share: copy the link to this page";
pub const DEFAULTS: &str = "Put every choice back to its default";
pub const VALIDATE: &str = "Validate this model";
pub const RUN_ON_SERVER: &str = "Run on server: hand this page over";
pub const SHOW_KEYS: &str = "Show the keys";
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

pub fn weights_in(dtype: &str) -> String {
    format!("Weights in {dtype}")
}

pub fn theme(theme: Theme) -> String {
    format!("Theme: {}", super::settings::theme(theme).to_lowercase())
}

pub fn fit_on(device: &str) -> String {
    format!("Fit on {device}")
}
