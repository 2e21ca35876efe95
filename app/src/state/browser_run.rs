//! A validation in this browser as it is seen from here: pure, so that any order of events can be tested.

use phi3::api::{BrowserEvent, ErrorObject};
use phi3::engine::Loading;
use phi3::placement::DeviceId;
use phi3::validate::{Difference, Report, Validations};

/// Where a device's turn stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Another device's turn comes first.
    Waiting,
    /// The engines are fetched and started; config, tokenizer and headers are read.
    Starting,
    /// The model is loaded.
    Loading,
    /// The prompt runs.
    Running,
    /// Its logits are held against the reference's.
    Comparing,
    /// Its report is here.
    Done,
}

/// How a run came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Every device reported.
    Finished,
    /// It failed.
    Failed,
    /// Its end was asked for here.
    Cancelled,
}

/// One device's turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Side {
    /// Which.
    pub device: DeviceId,
    /// Where it stands.
    pub step: Step,
    /// Its load, once that began.
    pub loading: Option<Loading>,
    /// Ids generated.
    pub tokens: Vec<u32>,
    /// Their text.
    pub text: String,
    /// Its report, at the end.
    pub report: Option<Box<Report>>,
}

/// What is known of a validation on one device or on several, one after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct BrowserRuns {
    /// Name of the model.
    pub model: String,
    /// The devices, in the order that they run.
    pub sides: Vec<Side>,
    /// The second device's logits held against the first's.
    pub compared: Option<Difference>,
    /// Why it failed.
    pub error: Option<ErrorObject>,
    /// How it ended; `None` while it goes on.
    pub end: Option<End>,
    /// Whose turn it is.
    turn: usize,
}

impl BrowserRuns {
    /// A run that was asked for.
    #[must_use]
    pub fn new(model: String, devices: &[DeviceId]) -> Self {
        let side = |(at, device): (usize, &DeviceId)| Side {
            device: device.clone(),
            step: if at == 0 { Step::Starting } else { Step::Waiting },
            loading: None,
            tokens: Vec::new(),
            text: String::new(),
            report: None,
        };
        let sides = devices.iter().enumerate().map(side).collect();
        Self { model, sides, compared: None, error: None, end: None, turn: 0 }
    }

    /// Whether it goes on.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.end.is_none()
    }

    /// Whether it is a device's turn, and not over.
    #[must_use]
    pub fn is_turn_of(&self, at: usize) -> bool {
        self.is_live() && self.turn == at && self.sides.get(at).is_some_and(|side| side.step != Step::Done)
    }

    /// Takes what the engines say. What comes after the end is not taken.
    pub fn hear(&mut self, event: BrowserEvent, now_ms: f64) {
        if !self.is_live() {
            return;
        }
        match event {
            BrowserEvent::Started { device } => {
                self.turn = self.sides.iter().position(|side| side.device == device).unwrap_or(self.turn);
                self.step(Step::Loading);
            }
            BrowserEvent::Progress { progress } => {
                if let Some(side) = self.sides.get_mut(self.turn) {
                    side.loading = Some(Loading::next(side.loading, progress, now_ms));
                }
            }
            BrowserEvent::Validating => self.step(Step::Running),
            BrowserEvent::Token { token, text } => {
                if let Some(side) = self.sides.get_mut(self.turn) {
                    side.tokens.push(token);
                    side.text.push_str(&text);
                }
            }
            BrowserEvent::Comparing => self.step(Step::Comparing),
            BrowserEvent::Report { report } => {
                self.step(Step::Done);
                if let Some(side) = self.sides.get_mut(self.turn) {
                    side.report = Some(report);
                }
            }
            BrowserEvent::Compared { difference } => self.compared = Some(difference),
            // Of another worker than a run's.
            BrowserEvent::Kept { .. } => {}
            BrowserEvent::Finished => self.end = Some(End::Finished),
            BrowserEvent::Failed { error } => self.fail(error),
        }
    }

    /// It failed, by the engines' own word or before they could say one.
    pub fn fail(&mut self, error: ErrorObject) {
        if self.is_live() {
            self.error = Some(error);
            self.end = Some(End::Failed);
        }
    }

    /// Its end was asked for.
    pub fn cancel(&mut self) {
        if self.is_live() {
            self.end = Some(End::Cancelled);
        }
    }

    /// The reports that came, to be kept or shown; `None` where none did.
    #[must_use]
    pub fn validations(&self) -> Option<Validations> {
        let reports: Vec<Report> =
            self.sides.iter().filter_map(|side| side.report.as_deref().cloned()).collect();
        if reports.is_empty() {
            return None;
        }
        Some(Validations { model: self.model.clone(), reports, compared: self.compared.clone() })
    }

    fn step(&mut self, step: Step) {
        if let Some(side) = self.sides.get_mut(self.turn) {
            side.step = step;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use phi3::engine::{LoadProgress, LoadStage};
    use wasm_bindgen_test::wasm_bindgen_test;

    fn gpu() -> DeviceId {
        "wgpu:0".parse().expect("a device")
    }

    fn both() -> BrowserRuns {
        BrowserRuns::new("tiny".to_owned(), &[DeviceId::Cpu, gpu()])
    }

    fn token(text: &str) -> BrowserEvent {
        BrowserEvent::Token { token: 1, text: text.to_owned() }
    }

    fn steps(runs: &BrowserRuns) -> Vec<Step> {
        runs.sides.iter().map(|side| side.step).collect()
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn each_device_has_its_turn_and_its_own_tokens() {
        let mut runs = both();
        assert_eq!(steps(&runs), [Step::Starting, Step::Waiting]);
        assert!(runs.is_turn_of(0) && !runs.is_turn_of(1));
        runs.hear(BrowserEvent::Started { device: DeviceId::Cpu }, 0.0);
        let progress = LoadProgress { stage: LoadStage::Weights, done_bytes: 50, total_bytes: 100 };
        runs.hear(BrowserEvent::Progress { progress }, 0.0);
        assert_eq!(runs.sides[0].loading.map(Loading::share), Some(0.5));
        runs.hear(BrowserEvent::Validating, 1.0);
        runs.hear(token("a"), 1.0);
        runs.hear(BrowserEvent::Started { device: gpu() }, 2.0);
        runs.hear(BrowserEvent::Validating, 2.0);
        runs.hear(token("b"), 2.0);
        runs.hear(token("c"), 2.0);
        runs.hear(BrowserEvent::Comparing, 3.0);
        assert_eq!((runs.sides[0].text.as_str(), runs.sides[1].text.as_str()), ("a", "bc"));
        assert_eq!(steps(&runs), [Step::Running, Step::Comparing]);
        assert!(runs.is_turn_of(1) && !runs.is_turn_of(0));
        assert_eq!(runs.validations(), None);
        runs.hear(BrowserEvent::Finished, 4.0);
        assert!(!runs.is_live() && !runs.is_turn_of(1));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn nothing_changes_after_the_end() {
        let mut runs = both();
        runs.cancel();
        runs.hear(token("late"), 0.0);
        runs.hear(BrowserEvent::Failed { error: ErrorObject::new("oom", "late") }, 0.0);
        assert_eq!(
            (runs.end, runs.error.is_none(), runs.sides[0].text.as_str()),
            (Some(End::Cancelled), true, "")
        );
        let mut runs = both();
        runs.fail(ErrorObject::new("unavailable", "no WebGPU"));
        runs.cancel();
        assert_eq!(
            (runs.end, runs.error.map(|e| e.code)),
            (Some(End::Failed), Some("unavailable".to_owned()))
        );
    }
}
