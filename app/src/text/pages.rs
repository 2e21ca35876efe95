//! The pages.

use super::Page;

pub const A_PAGE: &str = "a page of the list on the left";
pub const NAVIGATION: &str = "Pages";
pub const NEEDS_SERVER: &str = "Needs a Preflight server";
pub const LOADING: &str = "Loading this page…";
pub const NOT_LOADED: &str = "This page did not load";
pub const NOT_LOADED_WHY: &str = "late.js or late_bg.wasm beside this page could not be fetched or started";
pub const NOT_LOADED_NEXT: &str = "Check the connection, then try again.";
pub const TRY_AGAIN: &str = "Try again";
pub const NOT_TOLD: &str = "Not known: the server does not answer, and had not told it yet.";
pub const START_WITH: &str = "Start one with";
pub const OR_IN_CLONE: &str = "or, in a clone,";
pub const AND_OPEN: &str = ", and open";

pub fn name(page: Page) -> &'static str {
    match page {
        Page::Inspect => "Inspect",
        Page::Estimate => "Estimate",
        Page::Plan => "Plan",
        Page::Validate => "Validate",
        Page::Models => "Models",
        Page::Attempts => "Attempts",
        Page::Ladder => "Ladder",
        Page::Playground => "Playground",
        Page::Devices => "Devices",
        Page::Settings => "Settings",
    }
}

/// What a page shows once a server is there.
pub fn about(page: Page) -> &'static str {
    match page {
        Page::Models => {
            "Models are registered on a server: where their files are, their load config, what is known to be good."
        }
        Page::Attempts => {
            "Every try to load a model on a server is kept, failures included: what was changed, predicted and measured."
        }
        Page::Ladder => {
            "A profile run rung after rung: each says what it needs before it runs, and why it passed, failed or was skipped."
        }
        Page::Playground => {
            "A conversation with a model that is loaded, through the same /v1 that any client of OpenAI’s API takes."
        }
        Page::Devices => "Memory as it is now, by device and by process; and what this browser grants.",
        Page::Settings => "How these pages look, and the server’s token; kept in this browser.",
        _ => "",
    }
}
