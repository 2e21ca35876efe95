//! One validation as it is seen from here: pure, so that any order of events can be tested.

use phi3::api::{Attempt, AttemptState, ErrorObject, Event, EventKind};
use phi3::engine::{LoadProgress, Loading};
use phi3::load_config::OutcomeClass;
use phi3::validate::Report;

/// What is known of a validation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Run {
    /// Its id, once the server has given one.
    pub id: Option<u64>,
    /// Where it stands.
    pub state: Option<AttemptState>,
    /// Attempts before it.
    pub position: Option<usize>,
    /// The load, while it loads.
    pub loading: Option<Loading>,
    /// Ids generated.
    pub tokens: Vec<u32>,
    /// Text generated.
    pub text: String,
    /// The report, at the end.
    pub report: Option<Box<Report>>,
    /// Id of its model, once the server has told it.
    pub model: String,
    /// What it came to, where that has a name.
    pub outcome: Option<OutcomeClass>,
    /// Why it failed.
    pub error: Option<ErrorObject>,
    /// The last lines of the worker's log, after a failure.
    pub log: Vec<String>,
    /// Whether the connection is broken.
    pub broken: bool,
    /// Whether its end was asked for here.
    pub cancelling: bool,
    /// Events that came before the id was known.
    early: Vec<Event>,
}

impl Run {
    /// One that was begun before, of which nothing is known yet.
    #[must_use]
    pub fn of(id: u64) -> Self {
        Self { id: Some(id), ..Self::default() }
    }

    /// Whether it goes on.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.error.is_none() && !self.state.is_some_and(AttemptState::is_final)
    }

    /// The server has given it an id.
    pub fn started(&mut self, id: u64, now_ms: f64) {
        self.id = Some(id);
        for event in std::mem::take(&mut self.early) {
            self.hear(event, now_ms);
        }
    }

    /// Takes an event; true where events were lost and the attempt must be fetched anew.
    pub fn hear(&mut self, event: Event, now_ms: f64) -> bool {
        let Some(mine) = self.id else {
            self.early.push(event);
            return false;
        };
        match event.kind {
            EventKind::Attempt { attempt } if attempt.id == mine => self.see(*attempt, now_ms),
            EventKind::Progress { attempt_id, progress } if attempt_id == mine => self.load(progress, now_ms),
            EventKind::Token { attempt_id, token, text } if attempt_id == mine => {
                self.tokens.push(token);
                self.text.push_str(&text);
            }
            EventKind::Report { attempt_id, report } if attempt_id == mine => self.report = Some(report),
            EventKind::Shutdown => self.broken = true,
            EventKind::Reset => return true,
            _ => {}
        }
        false
    }

    /// Takes the whole attempt as the server knows it.
    pub fn see(&mut self, attempt: Attempt, now_ms: f64) {
        self.state = Some(attempt.state);
        self.model = attempt.model;
        self.outcome = attempt.outcome;
        self.position = attempt.position;
        if let Some(progress) = attempt.progress {
            self.load(progress, now_ms);
        }
        // Tokens may have been lost to this reader; the attempt has the whole text.
        if attempt.text.len() > self.text.len() {
            self.text = attempt.text;
        }
        if let Some(report) = attempt.report {
            self.tokens.clone_from(&report.generated_tokens);
            self.report = Some(Box::new(report));
        }
        if attempt.error.is_some() {
            self.error = attempt.error;
        }
        if !attempt.log.is_empty() {
            self.log = attempt.log;
        }
    }

    fn load(&mut self, progress: LoadProgress, now_ms: f64) {
        self.loading = Some(Loading::next(self.loading, progress, now_ms));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use phi3::engine::LoadStage;
    use wasm_bindgen_test::wasm_bindgen_test;

    fn token(attempt_id: u64, text: &str) -> Event {
        Event { id: 1, kind: EventKind::Token { attempt_id, token: 5, text: text.to_owned() } }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn events_before_the_id_count_and_those_of_others_do_not() {
        let mut run = Run::default();
        run.hear(token(7, "a"), 0.0);
        run.hear(token(8, "x"), 0.0);
        assert_eq!(run.text, "");
        run.started(7, 0.0);
        run.hear(token(7, "b"), 1.0);
        run.hear(token(8, "y"), 1.0);
        assert_eq!((run.text.as_str(), run.tokens.len()), ("ab", 2));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_reset_asks_for_the_attempt_and_the_attempt_mends_the_text() {
        let mut run = Run::default();
        run.started(7, 0.0);
        run.hear(token(7, "a"), 0.0);
        assert!(run.hear(Event { id: 2, kind: EventKind::Reset }, 0.0));
        let attempt = serde_json::json!({
            "id": 7, "model": "default", "kind": "validate", "state": "failed", "device": "cpu", "created_ms": 1,
            "changes": [], "load_config": {}, "text": "abc", "error": {"code": "worker_died", "message": "killed", "path": null},
        });
        run.see(serde_json::from_value(attempt).expect("the server's words"), 0.0);
        assert_eq!(run.text, "abc");
        assert!(!run.is_live());
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn the_rate_is_that_of_the_stage() {
        let mut run = Run::default();
        run.started(1, 0.0);
        let step = |stage, done_bytes| {
            let progress = LoadProgress { stage, done_bytes, total_bytes: 100 };
            Event { id: 1, kind: EventKind::Progress { attempt_id: 1, progress } }
        };
        run.hear(step(LoadStage::Checking, 90), 0.0);
        run.hear(step(LoadStage::Weights, 0), 1000.0);
        assert_eq!(run.loading.and_then(|l| l.bytes_per_s), None);
        run.hear(step(LoadStage::Weights, 50), 1500.0);
        assert_eq!(run.loading.and_then(|l| l.bytes_per_s), Some(100.0));
    }
}
