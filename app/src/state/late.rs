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
        }
    }
}

/// Handle to the second program, for the first.
#[derive(Clone, Copy)]
pub struct Late {
    /// Where it stands.
    pub stage: RwSignal<Stage>,
    wanted: StoredValue<Option<Ask>>,
}

impl Late {
    /// Not asked for.
    #[must_use]
    pub fn new() -> Self {
        let this = Self { stage: RwSignal::new(Stage::Idle), wanted: StoredValue::new(None) };
        let ready = window_event_listener_untyped(late::READY, move |_| {
            this.stage.set(Stage::Ready);
            if let Some(ask) = this.wanted.try_update_value(Option::take).flatten() {
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

    /// Asks for something, as soon as it runs.
    pub fn ask(self, ask: Ask) {
        if self.stage.get_untracked() == Stage::Ready {
            page::tell(ask.event());
        } else {
            self.wanted.set_value(Some(ask));
            self.want();
        }
    }
}

impl Default for Late {
    fn default() -> Self {
        Self::new()
    }
}
