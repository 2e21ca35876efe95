//! What the server told last: it stays while a person looks at other pages, and while the server is away.

use leptos::prelude::*;
use phi3::api::{Ladder, ModelEntry};

use super::Names;
use super::ledger::Row;

/// Handles to it.
#[derive(Clone, Copy)]
pub struct Told {
    /// Models; `None` until they were told.
    pub models: RwSignal<Option<Vec<ModelEntry>>>,
    /// What they are called.
    pub names: Memo<Names>,
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
        let models = RwSignal::new(None::<Vec<ModelEntry>>);
        Self {
            models,
            names: Memo::new(move |_| models.with(|all| Names::new(all.as_deref().unwrap_or_default()))),
            attempts: RwSignal::new(Vec::new()),
            waits_for_attempts: RwSignal::new(true),
            ladders: RwSignal::new(None),
        }
    }

    /// What a model is called.
    #[must_use]
    pub fn name(self, id: &str) -> String {
        self.names.with(|names| names.of(id).to_owned())
    }

    /// The models as they are chosen from: id and name.
    #[must_use]
    pub fn choices(self) -> Vec<(String, String)> {
        let choice = |entry: &ModelEntry| (entry.id.clone(), self.name(&entry.id));
        self.models.with(|all| all.iter().flatten().map(choice).collect())
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
