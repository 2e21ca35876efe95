//! The second program of the page: the pages that are not needed for the first answer, and what opens over a page.

use leptos::prelude::*;

use super::model::{Opened, OwnFiles};
use super::store::Store;
use crate::platform::files::{HandOver, Picked};
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
    /// What has no room on the device, planned on the CPU.
    Spread,
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
            Self::Spread => "preflight-spread",
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
    given: StoredValue<HandOver, LocalStorage>,
    store: Store,
}

impl Late {
    /// Not asked for.
    #[must_use]
    pub fn new(store: Store) -> Self {
        let this = Self {
            stage: RwSignal::new(Stage::Idle),
            wanted: StoredValue::new(None),
            typed: StoredValue::new(String::new()),
            given: StoredValue::new_local(HandOver::new()),
            store,
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
            self.hand_over(|given| given.files(picked));
        }
    }

    /// Shows a config that was pasted or typed. The first program does so itself, but the second tells why one is refused
    /// where it runs, and has the weights that may lack this one.
    pub fn take_config(self, config: String) {
        let (store, files) = (self.store, OwnFiles::config_only(config));
        let is_alone = |shown: OwnFiles| shown.weights_alone().is_some();
        let waits =
            untrack(|| store.own_files()).is_some_and(is_alone) || !self.given.with_value(HandOver::is_empty);
        let tells = store.page.get_untracked().is_first() && self.stage.get_untracked() != Stage::Ready;
        if !waits && (tells || Opened::own(&files).is_ok()) {
            store.open_own(&files);
        } else {
            self.hand_over(|given| given.config(&files.config));
        }
    }

    /// What is handed over waits where the second program finds it, which takes it up when it starts.
    fn hand_over(self, put: impl FnOnce(&HandOver)) {
        // The second program has the word now.
        self.store.problem.set(None);
        self.given.with_value(put);
        if self.stage.get_untracked() == Stage::Ready {
            page::tell(Ask::Read.event());
        } else {
            self.want();
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
