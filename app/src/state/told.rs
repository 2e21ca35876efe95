//! What the server told last: it stays while a person looks at other pages, and while the server is away.

use leptos::prelude::*;
use phi3::api::{Ladder, ModelEntry};

use super::ledger::Row;

/// Handles to it.
#[derive(Clone, Copy)]
pub struct Told {
    /// Models; `None` until they were told.
    pub models: RwSignal<Option<Vec<ModelEntry>>>,
    /// Attempts, newest first; none until they were told.
    pub attempts: RwSignal<Vec<Row>>,
    /// Whether no attempt was told yet.
    pub waits_for_attempts: RwSignal<bool>,
    /// Ladders, newest first; `None` until they were told.
    pub ladders: RwSignal<Option<Vec<Ladder>>>,
}

impl Told {
    /// Nothing was told yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            models: RwSignal::new(None),
            attempts: RwSignal::new(Vec::new()),
            waits_for_attempts: RwSignal::new(true),
            ladders: RwSignal::new(None),
        }
    }

    /// What was told to this program.
    #[must_use]
    pub fn here() -> Self {
        expect_context()
    }
}

impl Default for Told {
    fn default() -> Self {
        Self::new()
    }
}
