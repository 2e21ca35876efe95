//! Notes that are being written: kept for the tab until the server has them, so that neither a reload nor a server that is
//! away takes them.

use std::collections::BTreeMap;

use leptos::prelude::*;

use crate::platform::page;

/// Where the tab keeps them.
const KEY: &str = "preflight.notes";

/// Handle to them, by the id of their attempt.
#[derive(Clone, Copy)]
pub struct Drafts(StoredValue<BTreeMap<u64, String>>);

impl Drafts {
    /// As the tab has kept them.
    #[must_use]
    pub fn kept() -> Self {
        let kept = page::kept(KEY).and_then(|json| serde_json::from_str(&json).ok());
        Self(StoredValue::new(kept.unwrap_or_default()))
    }

    /// What is being written of an attempt.
    #[must_use]
    pub fn of(self, id: u64) -> Option<String> {
        self.0.with_value(|drafts| drafts.get(&id).cloned())
    }

    /// Somebody writes.
    pub fn write(self, id: u64, text: String) {
        self.change(|drafts| {
            drafts.insert(id, text);
        });
    }

    /// The server has this text; what was written since stays.
    pub fn done(self, id: u64, text: &str) {
        self.change(|drafts| {
            if drafts.get(&id).is_some_and(|draft| draft == text) {
                drafts.remove(&id);
            }
        });
    }

    fn change(self, change: impl FnOnce(&mut BTreeMap<u64, String>)) {
        self.0.update_value(change);
        if let Ok(json) = self.0.with_value(serde_json::to_string) {
            page::keep(KEY, &json);
        }
    }
}
