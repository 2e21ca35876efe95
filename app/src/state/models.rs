//! The models of the server.

use leptos::prelude::*;
use leptos::task::spawn_local;
use phi3::api::{EventKind, ModelEntry, ModelSource};
use serde_json::{Map, Value};

use super::{Loads, Page, Problem, Store, Told};
use crate::api::{self, ApiError, Events, Heard, Run};
use crate::text::{self, models as words};

/// Attempts that are looked through for loads that go on.
const NEWEST: u32 = 20;

/// Handle to the models.
#[derive(Clone, Copy)]
pub struct Models {
    store: Store,
    /// Every model; `None` until the server has answered.
    pub entries: RwSignal<Option<Vec<ModelEntry>>>,
    /// How far the loads of models are.
    pub loads: Loads,
    /// What was refused last.
    pub problem: RwSignal<Option<Problem>>,
    /// Why a model was not registered.
    pub unregistered: RwSignal<Option<Problem>>,
    events: StoredValue<Option<Events>, LocalStorage>,
}

impl Models {
    /// Fetches the models, and again whenever an attempt changes one of them.
    #[must_use]
    pub fn new(store: Store) -> Self {
        let models = Self {
            store,
            entries: Told::here().models,
            loads: Loads::new(),
            problem: RwSignal::new(None),
            unregistered: RwSignal::new(None),
            events: StoredValue::new_local(None),
        };
        let events = Events::open(move |heard| match heard {
            Heard::Open => {
                models.fetch();
                models.fetch_loads();
            }
            Heard::Event(event) => {
                models.loads.hear(&event.kind);
                if matches!(event.kind, EventKind::Attempt { .. } | EventKind::Reset) {
                    models.fetch();
                }
            }
            Heard::Broken => {}
        });
        models.events.set_value(events);
        on_cleanup(move || {
            models.events.try_update_value(Option::take);
        });
        models
    }

    /// The models of this page.
    #[must_use]
    pub fn here() -> Self {
        expect_context()
    }

    /// Asks the server anew.
    pub fn fetch(self) {
        spawn_local(async move {
            match api::models().await {
                Ok(entries) => {
                    let _ = self.entries.try_set(Some(entries));
                }
                Err(error) => self.refuse(&error),
            }
        });
    }

    /// What goes on already: events tell of it as it changes.
    fn fetch_loads(self) {
        spawn_local(async move {
            if let Ok(newest) = api::attempts(NEWEST, None).await {
                self.loads.see(&newest);
            }
        });
    }

    fn refuse(self, error: &ApiError) {
        let _ = self.problem.try_set(Some(text::problem::server(error)));
    }

    /// Has a model loaded with the load config that is planned.
    pub fn load(self, id: String) {
        let overrides = self.planned();
        self.start(async move { api::load(&id, &Run::with(overrides)).await });
    }

    /// Has a model validated with the load config that is planned.
    pub fn validate(self, id: String) {
        let overrides = self.planned();
        self.start(async move { api::validate(&id, &Run::with(overrides)).await });
    }

    /// Has a model unloaded.
    pub fn unload(self, id: String) {
        self.start(async move { api::unload(&id).await });
    }

    fn planned(self) -> Map<String, Value> {
        self.store.rest.with_untracked(|rest| rest.load_config.clone())
    }

    /// What is started is looked at where attempts are.
    fn start(self, asked: impl Future<Output = Result<phi3::api::Started, ApiError>> + 'static) {
        self.problem.set(None);
        spawn_local(async move {
            match asked.await {
                Ok(started) => {
                    self.store.say(words::started(started.attempt_id));
                    self.store.go_to(Page::Attempts, started.attempt_id.to_string());
                }
                Err(error) => self.refuse(&error),
            }
        });
    }

    /// Commits the load config of the newest validated attempt as known to be good.
    pub fn commit(self, id: String) {
        self.problem.set(None);
        spawn_local(async move {
            match api::commit(&id).await {
                Ok(certificate) => {
                    self.store.say(format!("{}: {}", words::KNOWN_GOOD, words::attempt(certificate.attempt)));
                    self.fetch();
                }
                Err(error) => self.refuse(&error),
            }
        });
    }

    /// Registers a model.
    pub fn register(self, source: ModelSource) {
        self.unregistered.set(None);
        spawn_local(async move {
            match api::register(&source).await {
                Ok(registered) => {
                    self.store.say(format!("{} {}", words::REGISTERED_AS, registered.model_id));
                    self.fetch();
                }
                Err(error) => {
                    let _ = self.unregistered.try_set(Some(text::problem::server(&error)));
                }
            }
        });
    }
}
