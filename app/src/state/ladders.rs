//! The ladders of the server: started, watched, ended and gone on with.

use leptos::prelude::*;
use leptos::task::spawn_local;
use phi3::api::{EventKind, Ladder, LadderRung, ProfileEntry, RungState};
use phi3::engine::Loading;

use super::run::Run;
use super::{Page, Problem, Store, Told};
use crate::api::{self, ApiError, Climb, Events, Heard};
use crate::platform::page;
use crate::text::{self, ladder as words};

/// Ladders that are listed.
const LISTED: u32 = 100;

/// Handle to the ladders.
#[derive(Clone, Copy)]
pub struct Ladders {
    store: Store,
    /// Newest first; `None` until the server has told.
    pub all: RwSignal<Option<Vec<Ladder>>>,
    /// The ladder that is looked at: the one that the address points at, else the newest.
    pub shown: Memo<Option<Ladder>>,
    /// The profiles that one can be started with.
    pub profiles: RwSignal<Vec<ProfileEntry>>,
    /// The name of the one that is chosen.
    pub profile_name: RwSignal<String>,
    /// What the server told, of models too.
    pub told: Told,
    /// The attempt that runs, as its events tell it.
    pub run: RwSignal<Option<Run>>,
    /// What was refused last.
    pub problem: RwSignal<Option<Problem>>,
    clock: StoredValue<phi3::platform::Instant>,
}

impl Ladders {
    /// Fetches the ladders and follows them as long as the page is shown.
    #[must_use]
    pub fn new(store: Store) -> Self {
        let told = Told::here();
        let all = told.ladders;
        let shown = Memo::new(move |_| {
            let pointed = store.at.with(|at| at.parse::<u64>().ok());
            all.with(|all| {
                let all = all.as_ref()?;
                match pointed {
                    Some(id) => all.iter().find(|ladder| ladder.id == id).cloned(),
                    None => all.first().cloned(),
                }
            })
        });
        let ladders = Self {
            store,
            all,
            shown,
            profiles: RwSignal::new(Vec::new()),
            profile_name: RwSignal::new(String::new()),
            told,
            run: RwSignal::new(None),
            problem: RwSignal::new(None),
            clock: StoredValue::new(phi3::platform::Instant::now()),
        };
        // Listened to before they are fetched, so that none is missed.
        let events = StoredValue::new_local(Events::open(move |heard| match heard {
            Heard::Open => ladders.fetch(),
            Heard::Broken => {}
            Heard::Event(event) => match event.kind {
                EventKind::Ladder { ladder } => ladders.see(*ladder),
                EventKind::Reset => ladders.fetch(),
                _ => ladders.hear(*event),
            },
        }));
        let escape = window_event_listener(leptos::ev::keydown, move |ev| {
            if ev.key() == "Escape" && !ev.repeat() && !page::is_covered() {
                ladders.cancel_shown();
            }
        });
        on_cleanup(move || {
            escape.remove();
            events.try_update_value(Option::take);
        });
        ladders
    }

    /// The ladders of this page.
    #[must_use]
    pub fn here() -> Self {
        expect_context()
    }

    /// Asks the server anew.
    pub fn fetch(self) {
        spawn_local(async move {
            match api::ladders(LISTED).await {
                Ok(list) => {
                    let _ = self.problem.try_set(None);
                    let _ = self.all.try_set(Some(list));
                }
                Err(error) => self.refuse(&error),
            }
            if let Ok(profiles) = api::profiles().await {
                let _ = self.profiles.try_set(profiles);
            }
            if let Ok(models) = api::models().await {
                let _ = self.told.models.try_set(Some(models));
            }
        });
    }

    fn see(self, ladder: Ladder) {
        let _ = self.all.try_update(|all| put(all.get_or_insert_default(), ladder));
    }

    /// Follows the attempt that runs for the ladder that is looked at.
    fn hear(self, event: phi3::api::Event) {
        let Some(attempt) =
            self.shown.with_untracked(|ladder| running(ladder.as_ref()?)?.attempts.last().copied())
        else {
            return;
        };
        let now = self.clock.with_value(phi3::platform::Instant::elapsed_ms);
        let _ = self.run.try_update(|run| {
            if run.as_ref().and_then(|run| run.id) != Some(attempt) {
                let mut fresh = Run::default();
                fresh.started(attempt, now);
                *run = Some(fresh);
            }
            if let Some(run) = run {
                run.hear(event, now);
            }
        });
    }

    /// How far the load of an attempt is, where it is the one that runs.
    #[must_use]
    pub fn loading(self, attempt: Option<u64>) -> Option<Loading> {
        self.run.with(|run| run.as_ref().filter(|run| run.id.is_some() && run.id == attempt)?.loading)
    }

    fn refuse(self, error: &ApiError) {
        let _ = self.problem.try_set(Some(text::problem::server(error)));
    }

    /// The profile that is chosen to be started; the first until one is.
    #[must_use]
    pub fn profile(self) -> Option<ProfileEntry> {
        let name = self.profile_name.get();
        self.profiles.with(|all| all.iter().find(|profile| profile.name == name).or(all.first()).cloned())
    }

    /// Looks at a ladder.
    pub fn choose(self, id: u64) {
        self.store.go_to(Page::Ladder, id.to_string());
    }

    /// Starts one; a profile that is not named is the product's own.
    pub fn start(self, model: String, profile: String) {
        self.problem.set(None);
        spawn_local(async move {
            let profile = Some(profile).filter(|name| !name.is_empty());
            match api::start_ladder(&Climb { model, profile, ..Climb::default() }).await {
                Ok(started) => {
                    self.store.say(words::started(started.ladder_id));
                    self.choose(started.ladder_id);
                    self.fetch();
                }
                Err(error) => self.refuse(&error),
            }
        });
    }

    /// Asks for a ladder's end.
    pub fn cancel(self, id: u64) {
        self.ask(async move { api::cancel_ladder(id).await });
    }

    /// The same for the one that is looked at, where it goes on.
    fn cancel_shown(self) {
        let goes_on = |ladder: &Option<Ladder>| {
            ladder.as_ref().filter(|ladder| ladder.state.goes_on()).map(|ladder| ladder.id)
        };
        if let Some(id) = self.shown.with_untracked(goes_on) {
            self.cancel(id);
        }
    }

    /// Has a ladder go on where it stopped.
    pub fn resume(self, id: u64) {
        self.ask(async move { api::resume_ladder(id).await });
    }

    fn ask(self, asked: impl Future<Output = Result<Ladder, ApiError>> + 'static) {
        self.problem.set(None);
        spawn_local(async move {
            // What comes of it is told by events: the answer may be older than they are.
            if let Err(error) = asked.await {
                self.refuse(&error);
            }
        });
    }
}

/// The rung that runs.
#[must_use]
pub fn running(ladder: &Ladder) -> Option<&LadderRung> {
    ladder.rungs.iter().find(|rung| rung.state == RungState::Running)
}

/// The rung that says most: the one that runs, else the last that measured something, else the last that was run.
#[must_use]
pub fn telling(ladder: &Ladder) -> Option<&LadderRung> {
    let ran = |rung: &&LadderRung| {
        matches!(rung.state, RungState::Passed | RungState::Failed) && rung.predicted.is_some()
    };
    let rungs = || ladder.rungs.iter().rev().filter(ran);
    running(ladder).or_else(|| rungs().find(|rung| rung.measured.is_some())).or_else(|| rungs().next())
}

/// Puts a ladder in its place, newest first.
fn put(all: &mut Vec<Ladder>, ladder: Ladder) {
    match all.iter().position(|known| known.id <= ladder.id) {
        Some(at) if all[at].id == ladder.id => all[at] = ladder,
        Some(at) => all.insert(at, ladder),
        None => all.push(ladder),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_bindgen_test::wasm_bindgen_test;

    fn ladder(id: u64) -> Ladder {
        let rung = |step: &str| {
            serde_json::json!({
                "step": step, "title": step, "action": "load", "state": "waiting", "reason": "", "class": null,
                "load_config": null, "device": null, "parent": null, "changes": [], "branch": false,
                "predicted": null, "measured": null, "free_bytes": null, "attempts": [],
            })
        };
        let ladder = serde_json::json!({
            "id": id, "model": "tiny", "profile": "default", "state": "running", "position": null, "reason": "",
            "rungs": [rung("1"), rung("2"), rung("3")], "known_good": null, "note": "", "created_ms": id,
            "finished_ms": null,
        });
        serde_json::from_value(ladder).expect("the server's words")
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn ladders_keep_their_order_and_are_replaced() {
        let mut all = Vec::new();
        for id in [2, 1, 4, 3] {
            put(&mut all, ladder(id));
        }
        put(&mut all, Ladder { note: "seen".to_owned(), ..ladder(3) });
        let ids: Vec<_> = all.iter().map(|l| l.id).collect();
        assert_eq!((ids, all[1].note.as_str()), (vec![4, 3, 2, 1], "seen"));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn the_rung_that_runs_says_most() {
        let mut one = ladder(1);
        assert!(running(&one).is_none() && telling(&one).is_none());
        one.rungs[0].state = RungState::Passed;
        assert!(telling(&one).is_none(), "an inspection predicts nothing");
        let memory = phi3::engine::Memory { total_bytes: 7, ..Default::default() };
        one.rungs[1].state = RungState::Passed;
        (one.rungs[0].predicted, one.rungs[0].measured, one.rungs[1].predicted) =
            (Some(memory), Some(memory), Some(memory));
        assert_eq!(telling(&one).map(|r| r.step.as_str()), Some("1"), "the last that measured something");
        one.rungs[0].measured = None;
        assert_eq!(telling(&one).map(|r| r.step.as_str()), Some("2"));
        one.rungs[2].state = RungState::Running;
        assert_eq!(telling(&one).map(|r| &r.step), Some(&one.rungs[2].step));
    }
}
