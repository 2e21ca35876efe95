//! The pages.

use super::Page;

pub const NAVIGATION: &str = "Pages";
pub const NEEDS_SERVER: &str = "Needs a Preflight server";
pub const LOADING: &str = "Loading this page…";
pub const NOT_LOADED: &str = "A part of this page did not load";
pub const NOT_LOADED_WHY: &str =
    "late.js or late_bg.wasm beside this page could not be fetched, or ended with an error";
pub const NOT_LOADED_NEXT: &str = "Check the connection, then try again.";
pub const TRY_AGAIN: &str = "Try again";
pub const NOT_TOLD: &str = "Not known: the server does not answer, and had not told it yet.";
pub const START_WITH: &str = "Start one with";
pub const OR_IN_CLONE: &str = "or, in a clone,";
pub const AND_OPEN: &str = ", and open";
pub const START_IT: &str = "A Preflight server loads models on its machine and keeps what was tried. This page came from plain files, where none is. Start one in a terminal; a click copies the command:";
pub const WHERE_INSTALLED: &str = "With your own models";
pub const WHERE_CLONE: &str = "In a clone, with a model to try";
pub const THEN_OPEN: &str = "Then open";
pub const WILL_SHOW: &str = "What stands here then";
pub const WITHOUT_SERVER: &str = "What works without one";

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

/// What a page that needs a server has, line by line.
pub fn will_show(page: Page) -> &'static [&'static str] {
    match page {
        Page::Models => &[
            "Every model below the server’s model roots, and those that were registered from a folder or the Hub.",
            "Which is loaded, how far a load is, and which load config is known to be good.",
            "Load, unload, validate, commit: one click each.",
        ],
        Page::Attempts => &[
            "A table of all attempts: state, model, the one change, device, times, speed, memory; searched, filtered, sorted.",
            "Of each attempt memory predicted and measured, its load config with origins, its log, your note.",
            "Attempts side by side, differences only; what to try next after a failure, to be run with one click.",
        ],
        Page::Ladder => &[
            "The rungs as they run: inspect, a dry run on the CPU, the GPU, memory limits, a validation, the commit.",
            "Of each rung what it needs before it runs, what was measured, and why it passed, failed or was skipped.",
            "The one change between two rungs, and the load config that came out as known to be good.",
        ],
        Page::Playground => &[
            "A conversation, token by token, with time to first token, tokens a second and why the answer ended.",
            "Temperature, top_p, seed, length and a system prompt.",
            "Esc stops an answer; the conversation stays in this tab.",
        ],
        _ => &[],
    }
}

/// What a page does without a server.
pub fn without_server(page: Page) -> &'static str {
    match page {
        Page::Inspect => {
            "Drop a config.json, weights or a whole model folder: every key explained, every parameter counted."
        }
        Page::Estimate => {
            "Memory term by term, and whether it fits: on the GPUs of a table, in bytes of your own, in this browser."
        }
        Page::Plan => {
            "The load config, one change at a time, with what it does to memory and how other tools write it."
        }
        Page::Validate => {
            "A model run in this browser, on its CPU or by WebGPU, with the proof that it computes."
        }
        _ => "",
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
