//! Notes that are being written: kept for the tab until the server has them, so that neither a reload nor a server that is
//! away takes them, and none takes the place of what somebody else wrote meanwhile without a word.

use std::collections::BTreeMap;

use leptos::prelude::*;
use leptos::task::spawn_local;
use phi3::api::Attempt;
use serde::{Deserialize, Serialize};

use super::{Presence, ServerWatch, Store};
use crate::api::{self, ApiError};
use crate::platform::page;
use crate::text;

/// Where the tab keeps them.
const KEY: &str = "preflight.notes";

/// Where a note stands that the server does not have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stand {
    /// It is being written, or on its way.
    #[default]
    Written,
    /// The server could not be told, in its words; without any where it did not answer. It is told when it is back.
    Unsent(String),
    /// The attempt's note is no more what it was when this was begun: it is this.
    Changed(String),
}

/// One of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Draft {
    text: String,
    /// The attempt's note when this was begun.
    base: String,
    stand: Stand,
}

impl Draft {
    /// Whether somebody else has written meanwhile, so that the attempt's note is this now.
    fn is_overtaken(&self, now: &str) -> bool {
        now != self.base && now != self.text
    }
}

/// Handle to them, by the id of their attempt.
#[derive(Clone, Copy)]
pub struct Notes {
    store: Store,
    drafts: RwSignal<BTreeMap<u64, Draft>>,
    /// The attempt whose note the server has taken last.
    pub kept: RwSignal<Option<Attempt>>,
}

impl Notes {
    /// As the tab has kept them; those that could not be sent are sent whenever the server is back.
    #[must_use]
    pub fn new(store: Store, watch: ServerWatch) -> Self {
        let drafts = page::kept(KEY).and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default();
        let notes = Self { store, drafts: RwSignal::new(drafts), kept: RwSignal::new(None) };
        Effect::new(move |_| {
            if watch.presence.get() == Presence::Present {
                notes.unsent().into_iter().for_each(|id| notes.keep(id));
            }
        });
        notes
    }

    /// The notes of this program.
    #[must_use]
    pub fn here() -> Self {
        expect_context()
    }

    fn unsent(self) -> Vec<u64> {
        let is_unsent = |(id, draft): (&u64, &Draft)| matches!(draft.stand, Stand::Unsent(_)).then_some(*id);
        self.drafts.with_untracked(|drafts| drafts.iter().filter_map(is_unsent).collect())
    }

    /// What is being written of an attempt.
    #[must_use]
    pub fn of(self, id: u64) -> Option<String> {
        self.drafts.with_untracked(|drafts| drafts.get(&id).map(|draft| draft.text.clone()))
    }

    /// Where the note of an attempt stands.
    #[must_use]
    pub fn stand(self, id: u64) -> Stand {
        self.drafts.with(|drafts| drafts.get(&id).map(|draft| draft.stand.clone()).unwrap_or_default())
    }

    /// Somebody writes, in a field that began with `base`.
    pub fn write(self, id: u64, text: String, base: &str) {
        self.change(|drafts| {
            let begun = || Draft { base: base.to_owned(), ..Draft::default() };
            drafts.entry(id).or_insert_with(begun).text = text;
        });
    }

    /// Keeps the note that was written with its attempt; where none was, nothing is to be kept.
    pub fn keep(self, id: u64) {
        let Some(draft) = self.drafts.with_untracked(|drafts| drafts.get(&id).cloned()) else { return };
        spawn_local(async move {
            // What a server does not compare is compared here, just before it is told.
            let told = match api::record(id).await {
                Ok(record) if draft.is_overtaken(&record.attempt.note) => {
                    return self.set(id, Stand::Changed(record.attempt.note));
                }
                Ok(_) => api::note(id, &draft.text).await,
                Err(error) => Err(error),
            };
            match told {
                Ok(record) => {
                    self.done(id, &draft.text);
                    self.kept.set(Some(record.attempt));
                    self.store.say(text::attempts::NOTED);
                }
                Err(ApiError::Refused(error)) => self.set(id, Stand::Unsent(error.to_string())),
                Err(_) => {
                    self.set(id, Stand::Unsent(String::new()));
                    api::doubt();
                }
            }
        });
    }

    /// Keeps it in the place of what somebody else wrote.
    pub fn insist(self, id: u64) {
        self.change(|drafts| {
            if let Some(draft) = drafts.get_mut(&id)
                && let Stand::Changed(theirs) = std::mem::take(&mut draft.stand)
            {
                draft.base = theirs;
            }
        });
        self.keep(id);
    }

    /// Forgets it: the attempt's note stays as it is.
    pub fn give_up(self, id: u64) {
        self.change(|drafts| {
            drafts.remove(&id);
        });
    }

    /// The server has this text; what was written since goes on from it.
    fn done(self, id: u64, text: &str) {
        self.change(|drafts| match drafts.get_mut(&id) {
            Some(draft) if draft.text != text => {
                *draft = Draft {
                    base: text.to_owned(),
                    text: std::mem::take(&mut draft.text),
                    ..Draft::default()
                };
            }
            _ => {
                drafts.remove(&id);
            }
        });
    }

    fn set(self, id: u64, stand: Stand) {
        self.change(|drafts| {
            if let Some(draft) = drafts.get_mut(&id) {
                draft.stand = stand;
            }
        });
    }

    fn change(self, change: impl FnOnce(&mut BTreeMap<u64, Draft>)) {
        self.drafts.update(change);
        if let Ok(json) = self.drafts.with_untracked(serde_json::to_string) {
            page::keep(KEY, &json);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_bindgen_test::wasm_bindgen_test;

    #[wasm_bindgen_test(unsupported = test)]
    fn a_note_is_overtaken_by_what_others_write_alone() {
        let draft = Draft { text: "mine".to_owned(), base: "before".to_owned(), stand: Stand::Written };
        assert!(draft.is_overtaken("theirs") && draft.is_overtaken(""));
        // Nobody has written, or the server has it already and its answer was lost.
        assert!(!draft.is_overtaken("before") && !draft.is_overtaken("mine"));
    }
}
