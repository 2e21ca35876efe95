//! The playground: a conversation with a model that is loaded on the server. It stays in this tab, and so does an answer
//! that is on its way while another page is looked at.

use leptos::prelude::*;
use leptos::task::spawn_local;
use phi3::api::{Attempt, ErrorObject, EventKind};
use phi3::platform::Instant;
use serde::{Deserialize, Serialize};

use super::answer::{End, Exchange, turns};
use super::sampling::Typed;
use super::{Page, Problem, Store, Told};
use crate::api::chat::{self, Answering};
use crate::api::{self, ApiError, Events, Heard, Run};
use crate::platform::body::Abort;
use crate::platform::page;
use crate::text;

/// Where the tab keeps the conversation.
const KEY: &str = "preflight.playground";

/// Two presses of a double click are no further apart on any system, as it comes.
const DOUBLE_CLICK_MS: f64 = 500.0;

/// What the tab keeps.
#[derive(Default, Serialize, Deserialize)]
struct Kept {
    exchanges: Vec<Exchange>,
    typed: Typed,
    #[serde(default)]
    draft: String,
}

/// Handle to the playground.
#[derive(Clone, Copy)]
pub struct Playground {
    store: Store,
    /// The models that answer; `None` until the server has told.
    pub answering: RwSignal<Option<Vec<Answering>>>,
    /// What the server told: the models that could be loaded.
    pub told: Told,
    /// The load that was asked for here.
    pub loading: RwSignal<Option<Attempt>>,
    /// Why there are none, or why a load was refused.
    pub problem: RwSignal<Option<Problem>>,
    /// Exchanges that came to their end.
    pub before: RwSignal<Vec<Exchange>>,
    /// The one that goes on.
    pub now: RwSignal<Option<Exchange>>,
    /// The settings, as typed.
    pub typed: RwSignal<Typed>,
    /// What is being written.
    pub draft: RwSignal<String>,
    abort: StoredValue<Option<Abort>, LocalStorage>,
    /// When the last question was sent.
    sent: StoredValue<Option<Instant>>,
}

impl Playground {
    /// The conversation that the tab has kept.
    #[must_use]
    pub fn new(store: Store) -> Self {
        let kept = page::kept(KEY).and_then(|json| serde_json::from_str::<Kept>(&json).ok());
        let Kept { exchanges, typed, draft } = kept.unwrap_or_default();
        let playground = Self {
            store,
            answering: RwSignal::new(None),
            told: Told::here(),
            loading: RwSignal::new(None),
            problem: RwSignal::new(None),
            before: RwSignal::new(exchanges),
            now: RwSignal::new(None),
            typed: RwSignal::new(typed),
            draft: RwSignal::new(draft),
            abort: StoredValue::new_local(None),
            sent: StoredValue::new(None),
        };
        Effect::new(move |before: Option<()>| {
            let kept = Kept {
                exchanges: playground.before.get(),
                typed: playground.typed.get(),
                draft: playground.draft.get(),
            };
            if before.is_some()
                && let Ok(json) = serde_json::to_string(&kept)
            {
                page::keep(KEY, &json);
            }
        });
        playground
    }

    /// The playground of this program.
    #[must_use]
    pub fn here() -> Self {
        expect_context()
    }

    /// Looks at the models as long as the page is shown.
    pub fn follow(self) {
        let events = Events::open(move |heard| match heard {
            // Also after a server that was started anew: it knows what became of a load.
            Heard::Open => {
                self.look();
                self.look_at_load();
            }
            Heard::Event(event) => match event.kind {
                EventKind::Attempt { attempt } => {
                    if self.loading.with_untracked(|l| l.as_ref().is_some_and(|l| l.id == attempt.id)) {
                        self.loading.set(Some(*attempt));
                    }
                    self.look();
                }
                EventKind::Progress { attempt_id, progress } => self.loading.update(|loading| {
                    if let Some(loading) = loading.as_mut().filter(|l| l.id == attempt_id) {
                        loading.progress = Some(progress);
                    }
                }),
                EventKind::Reset => {
                    self.look();
                    self.look_at_load();
                }
                _ => {}
            },
            Heard::Broken => {}
        });
        let events = StoredValue::new_local(events);
        on_cleanup(move || {
            events.try_update_value(Option::take);
        });
    }

    /// Takes the load that was asked for here as the server knows it now; one that it does not know is none.
    fn look_at_load(self) {
        let goes_on =
            |load: &Option<Attempt>| load.as_ref().filter(|load| !load.state.is_final()).map(|load| load.id);
        let Some(id) = self.loading.with_untracked(goes_on) else { return };
        spawn_local(async move {
            match api::attempt(id).await {
                Ok(attempt) => self.loading.set(Some(attempt)),
                Err(ApiError::Refused(_)) => self.loading.set(None),
                Err(_) => {}
            }
        });
    }

    /// Asks the server anew for its models.
    pub fn look(self) {
        spawn_local(async move {
            match chat::answering().await {
                Ok(list) => {
                    self.problem.set(None);
                    if self.answering.with_untracked(|now| now.as_ref() != Some(&list)) {
                        self.answering.set(Some(list));
                    }
                }
                Err(error) => self.problem.set(Some(text::problem::server(&error))),
            }
            if let Ok(known) = api::models().await {
                self.told.models.set(Some(known));
            }
        });
    }

    /// The model that is asked: the one that the address points at, else the first.
    #[must_use]
    pub fn model(self) -> Option<Answering> {
        let pointed = self.store.at.get();
        self.answering.with(|all| {
            let all = all.as_ref()?;
            all.iter().find(|m| m.id == pointed).or(all.first()).cloned()
        })
    }

    /// Chooses a model.
    pub fn choose(self, id: String) {
        self.store.go_to(Page::Playground, id);
    }

    /// Has a model loaded with the load config that is planned.
    pub fn load(self, id: String) {
        let planned = self.store.rest.with_untracked(|rest| rest.load_config.clone());
        self.problem.set(None);
        spawn_local(async move {
            let started = match api::load(&id, &Run::with(planned)).await {
                Ok(started) => started,
                Err(error) => return self.problem.set(Some(text::problem::server(&error))),
            };
            // Its end may have come before its id.
            match api::attempt(started.attempt_id).await {
                Ok(attempt) => self.loading.set(Some(attempt)),
                Err(error) => self.problem.set(Some(text::problem::server(&error))),
            }
            self.look();
        });
    }

    /// Whether an answer is on its way.
    #[must_use]
    pub fn is_live(self) -> bool {
        self.now.with(Option::is_some)
    }

    /// Whether something was said, or is being written.
    #[must_use]
    pub fn has_talked(self) -> bool {
        self.before.with(|before| !before.is_empty())
            || self.is_live()
            || self.draft.with(|draft| !draft.is_empty())
    }

    /// Sends what is written.
    pub fn send(self) {
        let question = self.draft.with_untracked(|draft| draft.trim().to_owned());
        let (model, sampling) = untrack(|| (self.model(), self.typed.with(Typed::sampling)));
        let (Some(model), Some(sampling)) = (model, sampling) else { return };
        if question.is_empty() || untrack(|| self.is_live()) {
            return;
        }
        let sent = self.typed.with_untracked(|typed| {
            self.before.with_untracked(|before| turns(&typed.system, before, &question))
        });
        let Some(abort) = Abort::new() else { return };
        self.abort.set_value(Some(abort.clone()));
        self.sent.set_value(Some(Instant::now()));
        self.draft.set(String::new());
        self.now.set(Some(Exchange::new(question)));
        spawn_local(async move {
            let clock = Instant::now();
            let told = chat::chat(&model.id, &sent, &sampling, &abort, |piece| {
                self.change(|now| now.hear(piece, clock.elapsed_ms()));
            })
            .await;
            self.change(|now| match told {
                _ if abort.is_aborted() => now.close(End::Here),
                Ok(()) => now.close(End::Broken),
                Err(ApiError::Refused(error)) => now.fail(error),
                Err(ApiError::Absent(why)) => now.fail(ErrorObject::new("server_absent", why)),
                Err(ApiError::Unreadable(why)) => now.fail(ErrorObject::new("unreadable", why)),
            });
            self.abort.set_value(None);
            if let Some(done) = self.now.try_update(Option::take).flatten() {
                self.before.update(|before| before.push(done));
            }
        });
    }

    fn change(self, change: impl FnOnce(&mut Exchange)) {
        self.now.update(|now| {
            if let Some(now) = now {
                change(now);
            }
        });
    }

    /// Stops the answer: the server sees its client leave and ends the stream before its next token.
    pub fn stop(self) {
        self.abort.with_value(|abort| {
            if let Some(abort) = abort {
                abort.abort();
            }
        });
    }

    /// The same for the button that stands where the one to send stood: the second press of a double click is none.
    pub fn press_stop(self) {
        if self.sent.with_value(|sent| sent.as_ref().is_none_or(|sent| sent.elapsed_ms() >= DOUBLE_CLICK_MS))
        {
            self.stop();
        }
    }

    /// Forgets the conversation.
    pub fn clear(self) {
        self.stop();
        self.before.set(Vec::new());
    }

    /// Takes the last exchange back into what is being written.
    pub fn take_back(self) {
        if let Some(last) = self.before.try_update(Vec::pop).flatten() {
            self.draft.set(last.question);
        }
    }
}
