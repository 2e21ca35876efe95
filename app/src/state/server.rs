//! Whether a server is there, watched while the page is open.
//!
//! The first program asks; it tells the second by an attribute of the page, so that a tab asks once.

use std::time::Duration;

use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::api;
use crate::platform::page;

/// Pause between two questions to a server that answers.
const WHILE_PRESENT: Duration = Duration::from_secs(4);
/// Pause between two questions to one that went away.
const WHILE_LOST: Duration = Duration::from_secs(1);
/// Attribute of the page that holds the presence.
const ATTRIBUTE: &str = "data-server";
/// Told when it changes.
const CHANGED: &str = "preflight-server";

/// Whether a server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Not known yet.
    Checking,
    /// Nobody answers: the page came from plain files.
    Absent,
    /// It answers.
    Present,
    /// It answered before and does not now.
    Lost,
}

impl Presence {
    const ALL: [Self; 4] = [Self::Checking, Self::Absent, Self::Present, Self::Lost];

    fn name(self) -> &'static str {
        match self {
            Self::Checking => "checking",
            Self::Absent => "absent",
            Self::Present => "present",
            Self::Lost => "lost",
        }
    }

    /// What follows from an answer, or from none.
    #[must_use]
    pub fn after(self, answers: bool) -> Self {
        match (self, answers) {
            (_, true) => Self::Present,
            (Self::Present | Self::Lost, false) => Self::Lost,
            (Self::Checking | Self::Absent, false) => Self::Absent,
        }
    }
}

/// Handle to the presence.
#[derive(Clone, Copy)]
pub struct ServerWatch {
    /// The presence now.
    pub presence: RwSignal<Presence>,
    /// The next question.
    next: StoredValue<Option<TimeoutHandle>>,
}

impl ServerWatch {
    /// Asks, and goes on asking while a server answers or is missed. A page from plain files asks once.
    #[must_use]
    pub fn start() -> Self {
        let watch = Self::at(Presence::Checking);
        Effect::new(move |_| {
            page::set_attribute(ATTRIBUTE, watch.presence.get().name());
            page::tell(CHANGED);
        });
        let doubted = window_event_listener_untyped(api::DOUBTED, move |_| watch.look());
        on_cleanup(move || doubted.remove());
        watch.look();
        watch
    }

    fn at(presence: Presence) -> Self {
        Self { presence: RwSignal::new(presence), next: StoredValue::new(None) }
    }

    /// The presence as the first program tells it.
    #[must_use]
    pub fn follow() -> Self {
        let read = || {
            let name = page::attribute(ATTRIBUTE);
            Presence::ALL.into_iter().find(|p| p.name() == name).unwrap_or(Presence::Checking)
        };
        let watch = Self::at(read());
        let told = window_event_listener_untyped(CHANGED, move |_| watch.presence.set(read()));
        on_cleanup(move || told.remove());
        watch
    }

    /// The watch of this program.
    #[must_use]
    pub fn here() -> Self {
        expect_context()
    }

    /// Whether requests have somebody to go to.
    #[must_use]
    pub fn is_present(self) -> bool {
        self.presence.get() == Presence::Present
    }

    /// Asks now.
    pub fn look(self) {
        spawn_local(async move {
            let answers = api::health().await;
            let Some(before) = self.presence.try_get_untracked() else { return };
            let now = before.after(answers);
            if now != before {
                self.presence.set(now);
            }
            let pause = match now {
                Presence::Present => WHILE_PRESENT,
                Presence::Lost => WHILE_LOST,
                Presence::Absent | Presence::Checking => return,
            };
            // Whoever asked in between, one question follows.
            let next = set_timeout_with_handle(move || self.look(), pause).ok();
            if let Some(before) = self.next.try_update_value(|now| std::mem::replace(now, next)).flatten() {
                before.clear();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_bindgen_test::wasm_bindgen_test;

    #[wasm_bindgen_test(unsupported = test)]
    fn a_server_is_lost_only_where_one_was() {
        assert_eq!(Presence::Checking.after(false), Presence::Absent);
        assert_eq!(Presence::Absent.after(false), Presence::Absent);
        assert_eq!(Presence::Present.after(false), Presence::Lost);
        assert_eq!(Presence::Lost.after(false), Presence::Lost);
        assert!(Presence::ALL.into_iter().all(|p| p.after(true) == Presence::Present));
    }
}
