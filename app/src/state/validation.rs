//! Validation: where it runs, the server if there is one, and the validation that runs on it.

use leptos::prelude::*;
use leptos::task::spawn_local;
use phi3::api::{ErrorObject, ModelEntry};
use phi3::estimate::Options;
use phi3::platform::Instant;
use phi3::validate::ProbeSet;
use serde_json::Map;

use super::carry::carry;
use super::run::Run;
use super::{InBrowser, Page, Place, Presence, ServerWatch, Store, Told};
use crate::api::{self, ApiError, DEFAULT_MODEL, Events, Heard};

/// Whether a server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// Not known yet.
    Checking,
    /// Nobody answers: the page came from plain files.
    Absent,
    /// It answers, and this is the model that it validates: the one that was chosen, else its default one, else its
    /// first; `None` where it has none.
    Present(Option<Box<ModelEntry>>),
}

/// Handles to the state of validation.
#[derive(Clone, Copy)]
pub struct Validation {
    /// The server.
    pub server: RwSignal<Server>,
    /// What it told, of its models too.
    pub told: Told,
    /// The last validation on it.
    pub run: RwSignal<Option<Run>>,
    /// Validation in this browser.
    pub browser: InBrowser,
    /// Where it runs: as the address says, else on a server that has a model, else here. `None` until it is known
    /// whether there is a server.
    pub place: Memo<Option<Place>>,
    store: Store,
    watch: ServerWatch,
    events: StoredValue<Option<Events>, LocalStorage>,
    clock: StoredValue<Instant>,
}

impl Validation {
    /// Looks for a server.
    #[must_use]
    pub fn new(store: Store, watch: ServerWatch) -> Self {
        let server = RwSignal::new(Server::Checking);
        let place = Memo::new(move |_| {
            let said = store.at.with(|at| Place::find(at)).filter(|_| store.page.get() == Page::Validate);
            said.or_else(|| match server.get() {
                Server::Checking => None,
                Server::Present(Some(_)) => Some(Place::Server),
                Server::Present(None) | Server::Absent => Some(Place::Cpu),
            })
        });
        let validation = Self {
            server,
            told: Told::here(),
            run: RwSignal::new(None),
            browser: InBrowser::new(store),
            place,
            store,
            watch,
            events: StoredValue::new_local(None),
            clock: StoredValue::new(Instant::now()),
        };
        // Where nobody answered the first question nobody is asked a second one: plain files have no models.
        Effect::new(move |_| match watch.presence.get() {
            Presence::Present => validation.look(),
            Presence::Absent => validation.server.set(Server::Absent),
            Presence::Checking | Presence::Lost => {}
        });
        validation.follow();
        validation
    }

    /// The server's model and run that the address names, which a reload and a link bring back.
    fn follow(self) {
        let named = Memo::new(move |_| self.browser.asked.with(|asked| (asked.model.clone(), asked.attempt)));
        Effect::new(move |_| {
            let (model, attempt) = named.get();
            let is_there =
                |id: &String| self.told.models.with(|all| all.iter().flatten().any(|model| model.id == *id));
            if let Some(id) = model.filter(is_there) {
                self.show_model(&id);
            }
            let is_shown =
                |id: &u64| self.run.with_untracked(|run| run.as_ref().and_then(|run| run.id) == Some(*id));
            if let Some(id) = attempt.filter(|id| !is_shown(id))
                && !untrack(|| self.is_live())
            {
                self.run.set(Some(Run::of(id)));
                self.listen(true);
            }
        });
    }

    /// Validation on this page.
    #[must_use]
    pub fn here() -> Self {
        expect_context()
    }

    /// Asks anew whether a server is there.
    pub fn look(self) {
        spawn_local(async move {
            let server = match api::models().await {
                Ok(models) => {
                    let of = |id: &str| models.iter().find(|model| model.id == id);
                    let chosen = self.model().and_then(|model| of(&model.id));
                    let model = chosen.or(of(DEFAULT_MODEL)).or(models.first()).cloned();
                    self.told.models.set(Some(models));
                    Server::Present(model.map(Box::new))
                }
                Err(ApiError::Refused(_) | ApiError::Unreadable(_)) => Server::Present(None),
                Err(ApiError::Absent(_)) => Server::Absent,
            };
            self.server.set(server);
        });
    }

    /// The model that the server validates.
    fn model(self) -> Option<Box<ModelEntry>> {
        match self.server.get_untracked() {
            Server::Present(model) => model,
            Server::Checking | Server::Absent => None,
        }
    }

    /// Chooses one of the server's models; the address keeps it.
    pub fn choose_model(self, id: &str) {
        self.browser.asked.update(|asked| asked.model = Some(id.to_owned()));
        self.show_model(id);
    }

    fn show_model(self, id: &str) {
        let of_id =
            |all: &Option<Vec<ModelEntry>>| all.iter().flatten().find(|model| model.id == id).cloned();
        let model = self.told.models.with_untracked(of_id);
        self.server.set(Server::Present(model.map(Box::new)));
    }

    /// Whether a validation goes on, here or on the server.
    #[must_use]
    pub fn is_live(self) -> bool {
        self.browser.is_live() || self.run.with(|run| run.as_ref().is_some_and(Run::is_live))
    }

    /// Chooses where it runs; the address keeps it.
    pub fn choose(self, place: Place) {
        self.store.go_to(Page::Validate, place.name().to_owned());
    }

    /// Runs it at its place, unless one goes on; looks for a server where that is the place and none was there.
    pub fn begin(self) {
        if untrack(|| self.is_live() || self.browser.is_count_wrong.get()) {
            return;
        }
        match self.place.get_untracked() {
            None => {}
            Some(Place::Server) => match self.server.get_untracked() {
                Server::Present(Some(_)) => self.start(),
                _ if self.watch.presence.get_untracked() == Presence::Absent => api::doubt(),
                _ => self.look(),
            },
            Some(place) => self.browser.start(place),
        }
    }

    /// Asks for the end of what goes on.
    pub fn cancel(self) {
        if untrack(|| self.browser.is_live()) {
            self.browser.cancel();
        } else {
            self.cancel_on_server();
        }
    }

    /// Name of the model that it would run now, if there is one.
    pub fn model_name(self) -> Option<String> {
        match (self.place.get()?, self.server.get()) {
            (Place::Server, Server::Present(Some(model))) => Some(self.told.name(&model.id)),
            (Place::Server, _) => None,
            _ => Some(self.browser.model()),
        }
    }

    /// Starts it on the server, of the model that is chosen there.
    fn start(self) {
        self.browser.refused.set(None);
        self.run.set(Some(Run::default()));
        self.listen(false);
    }

    /// Follows the run, which is asked for first where it was not yet.
    fn listen(self, mut asked: bool) {
        // Events are listened to before the run is asked for, so that none is missed.
        let events = Events::open(move |heard| match heard {
            Heard::Open => {
                self.change(|run| run.broken = false);
                if std::mem::replace(&mut asked, true) {
                    self.fetch();
                } else {
                    self.ask();
                }
            }
            Heard::Broken if !asked => self.fail(&ApiError::Absent("the connection was refused".to_owned())),
            Heard::Broken => self.change(|run| run.broken = true),
            Heard::Event(event) => {
                let mut lost = false;
                self.change(|run| lost = run.hear(*event, self.now()));
                if lost {
                    self.fetch();
                }
                self.end();
            }
        });
        if events.is_none() {
            self.fail(&ApiError::Absent("this browser refuses event streams".to_owned()));
        }
        self.events.set_value(events);
    }

    fn cancel_on_server(self) {
        let Some(id) = self.run.with_untracked(|run| run.as_ref()?.id) else { return };
        self.change(|run| run.cancelling = true);
        spawn_local(async move {
            match api::cancel(id).await {
                Ok(attempt) => self.change(|run| run.see(attempt, self.now())),
                Err(error) => self.fail(&error),
            }
            self.end();
        });
    }

    fn now(self) -> f64 {
        self.clock.with_value(Instant::elapsed_ms)
    }

    fn change(self, change: impl FnOnce(&mut Run)) {
        self.run.update(|run| {
            if let Some(run) = run {
                change(run);
            }
        });
    }

    fn ask(self) {
        let Some(model) = self.model() else { return };
        let asked = self.browser.asked.get_untracked();
        let options = Options { dtype: asked.dtype.map(Into::into), ..Options::default() };
        let run = api::Run {
            load_config: carry(&options, &Map::new()).load_config,
            prompt: asked.prompt().map(str::to_owned),
            max_new_tokens: asked.max_new_tokens,
            probe: Some(asked.probe).filter(|probe| *probe != ProbeSet::None),
            ..api::Run::default()
        };
        spawn_local(async move {
            match api::validate(&model.id, &run).await {
                Ok(started) => {
                    self.change(|run| run.started(started.attempt_id, self.now()));
                    self.browser.asked.update(|asked| asked.attempt = Some(started.attempt_id));
                    self.end();
                }
                Err(error) => self.fail(&error),
            }
        });
    }

    /// Takes the attempt as it is now; after a failure this brings its log.
    fn fetch(self) {
        let Some(id) = self.run.with_untracked(|run| run.as_ref()?.id) else { return };
        spawn_local(async move {
            match api::attempt(id).await {
                Ok(attempt) => self.change(|run| run.see(attempt, self.now())),
                // A server that was started anew knows nothing of it.
                Err(ApiError::Refused(error)) => self.fail(&ApiError::Refused(error)),
                // The stream is trying again and will bring us back here.
                Err(ApiError::Absent(_) | ApiError::Unreadable(_)) => {}
            }
            self.end();
        });
    }

    /// Closes the stream when nothing more will come.
    fn end(self) {
        let over = self.run.with_untracked(|run| run.as_ref().is_some_and(|run| !run.is_live()));
        if over && self.events.with_value(Option::is_some) {
            if self.run.with_untracked(|run| {
                run.as_ref().is_some_and(|run| run.error.is_some() && run.log.is_empty())
            }) {
                self.fetch();
            }
            // The stream is what called us: it is dropped when that call is over.
            let events = self.events.try_update_value(Option::take);
            set_timeout(move || drop(events), std::time::Duration::ZERO);
        }
    }

    fn fail(self, error: &ApiError) {
        let error = match error {
            ApiError::Refused(error) => error.clone(),
            ApiError::Absent(why) => {
                self.server.set(Server::Absent);
                ErrorObject::new("server_absent", why.clone())
            }
            ApiError::Unreadable(why) => ErrorObject::new("unreadable", why.clone()),
        };
        self.change(|run| run.error = Some(error));
        self.end();
    }
}
