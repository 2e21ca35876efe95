//! Reads what people give, one thing after the other: weights that still come in may be those of the config behind them.

use leptos::prelude::*;
use leptos::task::spawn_local;

use super::given;
use super::model::Problem;
use super::store::Store;
use super::validation::Validation;
use crate::platform::files::{HandOver, Picked};

/// Reads files that were handed to the second program.
#[derive(Clone, Copy)]
pub struct Reader {
    store: Store,
    validation: Validation,
    given: StoredValue<HandOver, LocalStorage>,
    is_reading: StoredValue<bool>,
    /// Weights that wait for their config.
    waiting: StoredValue<Vec<Picked>, LocalStorage>,
    /// What was refused last.
    refused: RwSignal<Option<Problem>>,
}

impl Reader {
    /// Nothing read yet.
    #[must_use]
    pub fn new(store: Store, validation: Validation) -> Self {
        Self {
            store,
            validation,
            given: StoredValue::new_local(HandOver::of_tab()),
            is_reading: StoredValue::new(false),
            waiting: StoredValue::new_local(Vec::new()),
            refused: RwSignal::new(None),
        }
    }

    /// Takes up whatever was handed over. Who is reading already comes to it.
    pub fn read(self) {
        if self.is_reading.get_value() {
            return;
        }
        self.is_reading.set_value(true);
        spawn_local(async move {
            while let Some(picked) = self.given.with_value(HandOver::first) {
                self.read_one(picked).await;
                self.given.with_value(HandOver::done);
            }
            self.is_reading.set_value(false);
        });
    }

    async fn read_one(self, picked: Vec<Picked>) {
        let shown = untrack(|| self.store.own_files());
        let waits = shown.is_some_and(|files| files.weights_alone().is_some());
        let joined = self.waiting.with_value(|before| given::joined(before, &picked)).filter(|_| waits);
        let picked = joined.unwrap_or(picked);
        match given::read(&picked).await {
            Ok(given) => {
                if self.store.open_own(&given) {
                    let is_alone = given.weights_alone().is_some();
                    self.waiting.set_value(if is_alone { picked.clone() } else { Vec::new() });
                    self.validation.browser.take(&picked);
                }
            }
            Err(problem) => self.store.problem.set(Some(problem)),
        }
        self.refused.set(self.store.problem.get_untracked());
    }

    /// Whether what the page tells was refused here. What an address says is told by both programs, each on its own pages;
    /// the page of the first has room for what was read as well.
    pub fn has_refused(self) -> bool {
        self.refused.with(|refused| refused.is_some() && self.store.problem.with(|told| told == refused))
    }
}
