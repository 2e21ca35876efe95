//! The second program of the page: the pages that are not needed for the first answer, and what opens over a page.

use leptos::prelude::*;

use crate::platform::files::{self, Picked};
use crate::platform::{late, page};

/// Where the second program stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Not asked for yet.
    Idle,
    /// On its way.
    Loading,
    /// It runs.
    Ready,
    /// It could not be fetched or started.
    Failed,
}

/// What the second program is asked for from any page. Never by an address: a link starts nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Every action, to be found by typing.
    Palette,
    /// The keys.
    Keys,
    /// A validation.
    Validate,
    /// What the page says, run on the server.
    RunOnServer,
    /// Files that were handed over.
    Read,
    /// The command that gives the estimate, on the clipboard.
    CopyCommand,
    /// The request that gives it.
    CopyCurl,
    /// Its numbers.
    CopyEstimate,
}

impl Ask {
    /// The event that asks for it.
    #[must_use]
    pub fn event(self) -> &'static str {
        match self {
            Self::Palette => "preflight-palette",
            Self::Keys => "preflight-keys",
            Self::Validate => "preflight-validate",
            Self::RunOnServer => "preflight-run",
            Self::Read => "preflight-read",
            Self::CopyCommand => "preflight-command",
            Self::CopyCurl => "preflight-curl",
            Self::CopyEstimate => "preflight-estimate",
        }
    }
}

/// Attribute of the page with what was typed while the palette was on its way.
pub const TYPED: &str = "data-typed";

/// Handle to the second program, for the first.
#[derive(Clone, Copy)]
pub struct Late {
    /// Where it stands.
    pub stage: RwSignal<Stage>,
    wanted: StoredValue<Option<Ask>>,
    typed: StoredValue<String>,
}

impl Late {
    /// Not asked for.
    #[must_use]
    pub fn new() -> Self {
        let this = Self {
            stage: RwSignal::new(Stage::Idle),
            wanted: StoredValue::new(None),
            typed: StoredValue::new(String::new()),
        };
        let ready = window_event_listener_untyped(late::READY, move |_| {
            this.stage.set(Stage::Ready);
            if let Some(ask) = this.wanted.try_update_value(Option::take).flatten() {
                page::set_attribute(TYPED, &this.typed.try_update_value(std::mem::take).unwrap_or_default());
                page::tell(ask.event());
            }
        });
        let failed = window_event_listener_untyped(late::FAILED, move |_| this.stage.set(Stage::Failed));
        on_cleanup(move || {
            ready.remove();
            failed.remove();
        });
        this
    }

    /// Fetches and starts it, once.
    pub fn want(self) {
        if matches!(self.stage.get_untracked(), Stage::Idle | Stage::Failed) {
            self.stage.set(Stage::Loading);
            late::start();
        }
    }

    /// Has a model read out of files that were chosen or dropped.
    pub fn read(self, picked: &[Picked]) {
        if !picked.is_empty() {
            files::hand_over(picked);
            self.ask(Ask::Read);
        }
    }

    /// Whether a key is the palette's, which is on its way: what is typed until it opens will stand in it. Escape gives up.
    pub fn keeps(self, key: &str) -> bool {
        let waits =
            self.stage.get_untracked() == Stage::Loading && self.wanted.get_value() == Some(Ask::Palette);
        if waits {
            match key {
                "Escape" => self.wanted.set_value(None),
                "Backspace" => {
                    self.typed.try_update_value(String::pop);
                }
                _ if key.chars().count() == 1 => self.typed.update_value(|typed| typed.push_str(key)),
                _ => {}
            }
        }
        waits
    }

    /// Asks for something, as soon as it runs.
    pub fn ask(self, ask: Ask) {
        if self.stage.get_untracked() == Stage::Ready {
            page::tell(ask.event());
        } else {
            self.wanted.set_value(Some(ask));
            self.typed.set_value(String::new());
            self.want();
        }
    }
}

impl Default for Late {
    fn default() -> Self {
        Self::new()
    }
}
