//! How far loads are, as the server's events tell it.

use std::collections::BTreeMap;

use leptos::prelude::*;
use phi3::api::{Attempt, AttemptState, EventKind};
use phi3::engine::{LoadProgress, Loading};
use phi3::platform::Instant;

/// An attempt that goes on.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// Id of its model; empty until an event has told it.
    pub model: String,
    /// How far it is, once it loads.
    pub loading: Option<Loading>,
}

/// Attempts that go on, by their ids.
pub type Running = BTreeMap<u64, Load>;

/// Takes what an event tells of loads.
pub fn hear(running: &mut Running, event: &EventKind, now_ms: f64) {
    match event {
        EventKind::Attempt { attempt } => see(running, attempt, now_ms),
        EventKind::Progress { attempt_id, progress } => {
            let load = running.entry(*attempt_id).or_insert(Load { model: String::new(), loading: None });
            load.go_on(*progress, now_ms);
        }
        EventKind::Reset => running.clear(),
        _ => {}
    }
}

/// Takes an attempt as the server knows it.
pub fn see(running: &mut Running, attempt: &Attempt, now_ms: f64) {
    if !is_on_its_way(attempt.state) {
        running.remove(&attempt.id);
        return;
    }
    let load = running.entry(attempt.id).or_insert(Load { model: String::new(), loading: None });
    load.model.clone_from(&attempt.model);
    if let Some(progress) = attempt.progress {
        load.go_on(progress, now_ms);
    }
}

fn is_on_its_way(state: AttemptState) -> bool {
    use AttemptState::{Checking, Downloading, Loading, Starting};
    matches!(state, Downloading | Checking | Starting | Loading)
}

impl Load {
    fn go_on(&mut self, progress: LoadProgress, now_ms: f64) {
        self.loading = Some(Loading::next(self.loading, progress, now_ms));
    }
}

/// Handle to them.
#[derive(Clone, Copy)]
pub struct Loads {
    running: RwSignal<Running>,
    clock: StoredValue<Instant>,
}

impl Loads {
    /// None that is known.
    #[must_use]
    pub fn new() -> Self {
        Self { running: RwSignal::new(Running::new()), clock: StoredValue::new(Instant::now()) }
    }

    /// Takes what an event tells.
    pub fn hear(self, event: &EventKind) {
        self.change(|running, now_ms| hear(running, event, now_ms));
    }

    /// Takes attempts as the server knows them.
    pub fn see<'a>(self, attempts: impl IntoIterator<Item = &'a Attempt>) {
        self.change(|running, now_ms| {
            attempts.into_iter().for_each(|attempt| see(running, attempt, now_ms));
        });
    }

    fn change(self, change: impl FnOnce(&mut Running, f64)) {
        let now_ms = self.clock.try_with_value(Instant::elapsed_ms).unwrap_or_default();
        let _ = self.running.try_update(|running| change(running, now_ms));
    }

    /// How far the load of an attempt is.
    #[must_use]
    pub fn of(self, id: u64) -> Option<Loading> {
        self.running.with(|running| running.get(&id)?.loading)
    }

    /// The attempt that loads a model, and how far it is.
    #[must_use]
    pub fn of_model(self, model: &str) -> Option<(u64, Option<Loading>)> {
        self.running.with(|running| {
            running.iter().rev().find(|(_, load)| load.model == model).map(|(id, load)| (*id, load.loading))
        })
    }
}

impl Default for Loads {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use phi3::api::AttemptKind;
    use phi3::engine::LoadStage;
    use wasm_bindgen_test::wasm_bindgen_test;

    fn attempt(id: u64, state: AttemptState) -> EventKind {
        let attempt = Attempt::queued("tiny", AttemptKind::Load, "cpu", 0);
        EventKind::Attempt { attempt: Box::new(Attempt { id, state, ..attempt }) }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_load_is_known_from_its_start_to_its_end() {
        let mut running = Running::new();
        hear(&mut running, &attempt(7, AttemptState::Starting), 0.0);
        assert_eq!(running[&7], Load { model: "tiny".to_owned(), loading: None });
        for (done_bytes, now_ms) in [(0, 0.0), (500, 1000.0)] {
            let progress = LoadProgress { stage: LoadStage::Weights, done_bytes, total_bytes: 1000 };
            hear(&mut running, &EventKind::Progress { attempt_id: 7, progress }, now_ms);
        }
        let loading = running[&7].loading.expect("it loads");
        assert_eq!((loading.share(), loading.bytes_per_s), (0.5, Some(500.0)));
        hear(&mut running, &attempt(7, AttemptState::Ready), 2000.0);
        assert!(running.is_empty());
    }
}
