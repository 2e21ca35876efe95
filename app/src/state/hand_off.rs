//! Run on server: asked for by a person, never by an address.

use leptos::prelude::*;
use leptos::task::spawn_local;
use phi3::api::{DeviceNow, ErrorObject, LadderStarted, ModelEntry};
use serde_json::Value;

use super::carry::{self, Carried, Left};
use super::lineage::Ancestor;
use super::{Page, Plan, Store};
use crate::api::{self, ApiError, Climb, Run};
use crate::platform::page;
use crate::text::{hand_off as words, ladder, models};

/// Id of the dialog.
pub const DIALOG: &str = "hand-off";

/// What the server is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Load, run a short prompt, unload.
    Validate,
    /// Load and keep.
    Load,
    /// Rung after rung, with the product's own profile.
    Ladder,
}

impl Task {
    /// In the order of the dialog.
    pub const ALL: [Self; 3] = [Self::Validate, Self::Load, Self::Ladder];
}

/// How it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// By the rules.
    Plainly,
    /// Though it would end as it did before.
    Force,
    /// Though it changes several things of its parent.
    Branch,
}

/// What the server has.
#[derive(Debug, Clone, PartialEq)]
pub struct There {
    /// Its models.
    pub models: Vec<ModelEntry>,
    /// Its devices.
    pub devices: Vec<DeviceNow>,
}

/// Handle to the dialog.
#[derive(Clone, Copy)]
pub struct HandOff {
    store: Store,
    plan: Plan,
    /// What the server has; `None` until it has told.
    pub there: RwSignal<Option<There>>,
    /// What is to be done.
    pub task: RwSignal<Task>,
    /// Id of the model; empty where there is none.
    pub model: RwSignal<String>,
    /// The device; empty where the load config or the server says it.
    pub device: RwSignal<String>,
    /// Why it was refused.
    pub problem: RwSignal<Option<ErrorObject>>,
    /// Whether it has been asked for.
    pub asking: RwSignal<bool>,
    /// What goes along, and what stays.
    pub carried: Memo<Carried>,
}

impl HandOff {
    /// Nothing is asked for.
    #[must_use]
    pub fn new(store: Store) -> Self {
        let there = RwSignal::new(None::<There>);
        let task = RwSignal::new(Task::Validate);
        let carried = Memo::new(move |_| {
            let planned = store.rest.with(|rest| rest.load_config.clone());
            let mut carried = store.options.with(|options| carry::carry(options, &planned));
            if task.get() == Task::Validate
                && let Some(context) = carried.context.take()
            {
                carried.left.push(Left { what: words::context(context), why: words::NO_CONTEXT });
            }
            if task.get() == Task::Ladder {
                // A ladder's steps say where they run.
                return carried;
            }
            let device = store.device.get();
            let live = there.with(|there| there.as_ref().map(|t| t.devices.clone()).unwrap_or_default());
            carried.left.extend(carry::left_device(device.as_deref(), store.memory.get(), &live));
            carried
        });
        Self {
            store,
            plan: Plan::new(store),
            there,
            task,
            model: RwSignal::new(String::new()),
            device: RwSignal::new(String::new()),
            problem: RwSignal::new(None),
            asking: RwSignal::new(false),
            carried,
        }
    }

    /// Opens the dialog and asks the server what it has.
    pub fn open(self) {
        self.problem.set(None);
        self.there.set(None);
        page::show_dialog(DIALOG, true);
        spawn_local(async move {
            let models = api::models().await;
            // Without devices the server still chooses one.
            let devices = api::devices().await.map(|d| d.devices).unwrap_or_default();
            match models {
                Ok(models) => self.see(There { models, devices }),
                Err(error) => self.refuse(error),
            }
        });
    }

    fn see(self, there: There) {
        let names = untrack(|| self.names());
        // The next of an attempt is of its model.
        let of_parent = self.parent().and_then(|parent| there.models.iter().find(|m| m.id == parent.model));
        let same = of_parent.or(carry::same_model(&there.models, &names)).or(there.models.first());
        let model = same.map(|model| model.id.clone()).unwrap_or_default();
        let row = self.store.device.get_untracked();
        let device = row.and_then(|row| carry::same_device(&there.devices, &row).map(|d| d.device.clone()));
        batch(move || {
            self.model.set(model);
            self.device.set(device.unwrap_or_default());
            self.there.set(Some(there));
        });
    }

    /// The attempt that the plan on the page goes on from.
    fn parent(self) -> Option<Ancestor> {
        self.plan.parent.with_untracked(|parent| parent.attempt.clone())
    }

    /// What the model on the page is called.
    fn names(self) -> Vec<String> {
        self.plan.hub_name().into_iter().chain([self.store.title()]).collect()
    }

    /// Whether the chosen model is called like the one on the page.
    #[must_use]
    pub fn is_same(self) -> bool {
        let names = self.names();
        self.there.with(|there| {
            let models = there.as_ref().map(|there| there.models.as_slice()).unwrap_or_default();
            carry::same_model(models, &names).is_some_and(|same| self.model.with(|id| *id == same.id))
        })
    }

    /// Whether the load config says where the layers go.
    #[must_use]
    pub fn is_placed(self) -> bool {
        self.carried.with(|carried| carried.load_config.contains_key("device_map"))
    }

    /// Asks the server; what comes of it is looked at where attempts are.
    pub fn run(self, how: How) {
        let model = self.model.get_untracked();
        if model.is_empty() || self.asking.get_untracked() {
            return;
        }
        let carried = self.carried.get_untracked();
        let device = Some(self.device.get_untracked()).filter(|device| !device.is_empty());
        let note = self.store.rest.with_untracked(|rest| rest.notes.clone());
        let parent = self.parent().filter(|parent| parent.model == model).map(|parent| parent.id);
        let run = Run {
            context: carried.context,
            device,
            note,
            parent,
            branch: how == How::Branch,
            force: how == How::Force,
            ..Run::with(carried.load_config)
        };
        let task = self.task.get_untracked();
        self.problem.set(None);
        self.asking.set(true);
        spawn_local(async move {
            let attempt = |started: phi3::api::Started| (Page::Attempts, started.attempt_id);
            let started = match task {
                Task::Validate => api::validate(&model, &run).await.map(attempt),
                Task::Load => api::load(&model, &run).await.map(attempt),
                Task::Ladder => climb(model, run).await.map(|started| (Page::Ladder, started.ladder_id)),
            };
            self.asking.set(false);
            match started {
                Ok((page, id)) => {
                    page::show_dialog(DIALOG, false);
                    let is_ladder = page == Page::Ladder;
                    self.store.say(if is_ladder { ladder::started(id) } else { models::started(id) });
                    self.store.go_to(page, id.to_string());
                }
                Err(error) => self.refuse(error),
            }
        });
    }

    fn refuse(self, error: ApiError) {
        let error = match error {
            ApiError::Refused(error) => error,
            ApiError::Absent(why) => ErrorObject::new("server_absent", why),
            ApiError::Unreadable(why) => ErrorObject::new("unreadable", why),
        };
        self.problem.set(Some(error));
    }

    /// The load config that goes along, as it is read.
    #[must_use]
    pub fn load_config_text(self) -> String {
        self.carried.with(|carried| format!("{:#}", Value::Object(carried.load_config.clone())))
    }
}

/// Starts the product's own ladder, with what goes along under every step of it.
async fn climb(model: String, run: Run) -> Result<LadderStarted, ApiError> {
    let mut ask = Climb { model, note: run.note, ..Climb::default() };
    if !run.load_config.is_empty() || run.context.is_some() {
        let own = api::profiles().await?.into_iter().find(|profile| profile.built_in);
        let text = own.map(|profile| profile.toml).unwrap_or_default();
        let whole = carry::profile_with(&text, &run.load_config, run.context);
        ask.toml = Some(whole.map_err(|key| {
            ApiError::Refused(ErrorObject::new("load_config_invalid", words::no_toml(&key)).at(key))
        })?);
    }
    api::start_ladder(&ask).await
}
