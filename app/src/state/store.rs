//! The one place that is written to, and everything that follows from it.

use std::sync::Arc;
use std::time::Duration;

use leptos::prelude::*;
use phi3::config::{PRESETS, Preset};
use phi3::estimate::{self, Format, Options, Report, Resolved, Size};
use phi3::link::{LinkError, State};
use phi3::units::parse_size;

use super::derived::{self, Curve, DTypeRow};
use super::link::{OWN, View};
use super::model::{Model, Opened, Origin, OwnFiles, Problem, Stranger};
use super::steps;
use crate::platform::page;
use crate::text;

/// Where the tab keeps a config of one's own.
const OWN_KEY: &str = "preflight.own";
/// The address follows the page this much later, so that a drag writes it once.
const ADDRESS_DELAY: Duration = Duration::from_millis(250);

/// The page's state. Copies are handles to the same signals.
#[derive(Clone, Copy)]
pub struct Store {
    /// The last config that was understood.
    pub model: RwSignal<Arc<Model>>,
    /// A config of an unknown architecture that stands in its place, until another is opened.
    pub stranger: RwSignal<Option<Arc<Stranger>>>,
    /// The choices; `device_memory` is unused here, see `memory_text`.
    pub options: RwSignal<Options>,
    /// Device memory as typed.
    pub memory_text: RwSignal<String>,
    /// The files of a config of one's own, while it is shown.
    own: RwSignal<Option<OwnFiles>>,
    /// What the address holds and this page does not show.
    rest: RwSignal<State>,
    /// What was refused last, until something is accepted or it is put away.
    pub problem: RwSignal<Option<Problem>>,
    /// A short confirmation.
    pub toast: RwSignal<Option<String>>,
    /// Device memory in bytes: the last that could be read.
    pub memory: Memo<Option<u64>>,
    /// Why the device memory cannot be read.
    pub memory_problem: Memo<Option<String>>,
    /// The choices with defaults filled in.
    pub resolved: Memo<Resolved>,
    /// The estimate.
    pub report: Memo<Arc<Report>>,
    /// Memory against context.
    pub curve: Memo<Arc<Curve>>,
    /// Every dtype at the chosen context.
    pub rows: Memo<Vec<DTypeRow>>,
}

impl Store {
    /// The state that the address asks for, and the default page where it asks for nothing.
    ///
    /// # Panics
    /// When an embedded preset is refused; a test holds that none is.
    #[must_use]
    pub fn new() -> Self {
        let first = Model::preset(&PRESETS[0]).map_err(|p| p.why).expect("a test parses every preset");
        let model = RwSignal::new(Arc::new(first));
        let options = RwSignal::new(Options::default());
        let memory_text = RwSignal::new(String::new());

        let typed = move || {
            let text = memory_text.get();
            if text.trim().is_empty() { Ok(None) } else { parse_size(&text).map(Some) }
        };
        let memory = Memo::new(move |last: Option<&Option<u64>>| {
            typed().unwrap_or_else(|_unreadable| last.copied().flatten())
        });
        let memory_problem = Memo::new(move |_| typed().err().map(|e| e.to_string()));

        // Every way to write `options` keeps them in range; an address from elsewhere is cut to range as it is read.
        let resolve = |model: &Model, options: &Options| {
            Resolved::new(&model.decoder, None, options)
                .or_else(|_| Resolved::new(&model.decoder, None, &Options::default()))
        };
        let resolved = Memo::new(move |_| {
            model.with(|m| options.with(|o| resolve(m, o))).expect("the defaults are in range of themselves")
        });
        let report = Memo::new(move |_| {
            let asked = Options { device_memory: memory.get().map(Size), ..options.get() };
            let only_memory = || Options { device_memory: asked.device_memory, ..Options::default() };
            model.with(|m| {
                estimate::estimate(&m.decoder, None, &asked)
                    .or_else(|_| estimate::estimate(&m.decoder, None, &only_memory()))
                    .map(Arc::new)
                    .expect("the defaults are in range of themselves")
            })
        });

        let weights = Memo::new(move |_| model.with(|m| derived::weights_by_dtype(&m.decoder)));
        let weights_of = move |format: Format| {
            weights
                .with(|w| w.iter().find(|w| w.0 == format).map(|w| w.1))
                .unwrap_or_else(|| model.with(|m| estimate::weights_bytes(&m.decoder, format)))
        };
        let end = Memo::new(move |_| {
            let positions = model.with(|m| m.decoder.max_position_embeddings as u64);
            steps::plot_end(resolved.with(|r| r.context), positions)
        });
        // The context moves along the curve and does not change it.
        let beside_context = Memo::new(move |_| Resolved { context: 1, ..resolved.get() });
        let curve = Memo::new(move |_| {
            let resolved = beside_context.get();
            let weights = weights_of(resolved.format);
            Arc::new(model.with(|m| derived::curve(&m.decoder, weights, &resolved, end.get())))
        });
        let rows = Memo::new(move |_| {
            let chosen = resolved.with(|r| r.format);
            model.with(|m| {
                weights.with(|w| options.with(|o| derived::rows(&m.decoder, w, o, chosen, memory.get())))
            })
        });

        let stranger = RwSignal::new(None);
        let problem = RwSignal::new(None);
        let toast = RwSignal::new(None);
        let store = Self {
            model,
            stranger,
            options,
            memory_text,
            own: RwSignal::new(None),
            rest: RwSignal::new(State::default()),
            problem,
            toast,
            memory,
            memory_problem,
            resolved,
            report,
            curve,
            rows,
        };
        store.show(View::from_hash(&page::hash()));
        store.follow_address();
        store
    }

    /// The store of this page.
    #[must_use]
    pub fn here() -> Self {
        expect_context()
    }

    /// Changes the choices.
    pub fn choose(self, change: impl FnOnce(&mut Options)) {
        self.options.update(change);
    }

    /// Applies a suggestion's `key=value`; false where it is not understood.
    pub fn apply(self, change: &str) -> bool {
        let mut view = View { options: self.options.get_untracked(), ..View::default() };
        let understood = view.set(change);
        if understood {
            self.options.set(view.options);
        }
        understood
    }

    /// Puts every choice back to its default.
    pub fn reset(self) {
        self.options.set(Options::default());
    }

    /// Shows a preset.
    pub fn open_preset(self, name: &str) {
        if let Some(preset) = Preset::find(name) {
            self.open(Model::preset(preset).map(|model| Opened::Known(Box::new(model))), None);
        }
    }

    /// Shows a config that a person gave and keeps it for the tab.
    pub fn open_own(self, files: &OwnFiles) {
        let opened = Opened::own(files);
        if opened.is_ok()
            && let Ok(json) = serde_json::to_string(files)
        {
            page::keep(OWN_KEY, &json);
        }
        self.open(opened, Some(files));
    }

    /// Takes a model, or says why not and leaves the page as it is. `own` are its files where it is no preset.
    fn open(self, opened: Result<Opened, Problem>, own: Option<&OwnFiles>) {
        if opened.is_ok() {
            self.own.set(own.cloned());
        }
        batch(move || match opened {
            Ok(Opened::Known(model)) => {
                let positions = model.decoder.max_position_embeddings as u64;
                self.problem.set(None);
                self.stranger.set(None);
                if self.options.with_untracked(|o| o.context.is_some_and(|c| c > positions)) {
                    self.choose(|o| o.context = Some(positions));
                }
                self.model.set(Arc::new(*model));
            }
            Ok(Opened::Unknown(stranger)) => {
                self.problem.set(None);
                self.stranger.set(Some(Arc::new(*stranger)));
            }
            Err(problem) => self.problem.set(Some(problem)),
        });
    }

    /// Name of what is shown.
    pub fn title(self) -> String {
        self.stranger
            .with(|s| s.as_ref().map(|s| s.title.clone()))
            .unwrap_or_else(|| self.model.with(|m| m.title.clone()))
    }

    /// Name of the preset that is shown; `None` for a config of one's own.
    pub fn preset_shown(self) -> Option<&'static str> {
        if self.stranger.with(Option::is_some) {
            return None;
        }
        self.model.with(|m| match m.origin {
            Origin::Preset(name) => Some(name),
            Origin::Own => None,
        })
    }

    /// Says something for two seconds.
    pub fn say(self, words: impl Into<String>) {
        let words = words.into();
        self.toast.set(Some(words.clone()));
        let put_away = move || {
            if self.toast.with_untracked(|t| t.as_ref() == Some(&words)) {
                self.toast.set(None);
            }
        };
        set_timeout(put_away, Duration::from_secs(2));
    }

    /// Copies text and says so.
    pub fn copy(self, text: String, what: &str) {
        let what = what.to_owned();
        leptos::task::spawn_local(async move {
            let done = page::copy(text).await;
            self.say(if done { text::copied(&what) } else { text::COPY_REFUSED.to_owned() });
        });
    }

    /// What of the page stands in its address.
    pub fn view(self) -> View {
        let model = self.preset_shown().unwrap_or(OWN).to_owned();
        let own = self.own.get();
        View {
            model,
            own,
            options: self.options.get(),
            memory: self.memory_text.get(),
            rest: self.rest.get(),
        }
    }

    /// Makes the page what an address says.
    fn show(self, view: Result<View, LinkError>) {
        let view = match view {
            Ok(view) => view,
            Err(error) => return self.problem.set(Some(text::problem::link(&error))),
        };
        batch(move || {
            let shown = untrack(|| self.view());
            self.rest.set(view.rest.clone());
            if view.memory != shown.memory {
                self.memory_text.set(view.memory.clone());
            }
            match view.model.as_str() {
                OWN if view.own.is_some() && view.own == shown.own => {}
                model if model == shown.model && model != OWN => {}
                "" => self.open_preset(PRESETS[0].name),
                OWN => {
                    let kept = page::kept(OWN_KEY).and_then(|json| serde_json::from_str(&json).ok());
                    match view.own_files(kept) {
                        Some(files) => self.open(Opened::own(&files), Some(&files)),
                        None => self.problem.set(Some(text::problem::other_tab())),
                    }
                }
                name if Preset::find(name).is_some() => self.open_preset(name),
                name => self.problem.set(Some(text::problem::no_preset(name))),
            }
            // Last: a model that is opened cuts the context to its own length.
            match self.model.with_untracked(|m| Resolved::new(&m.decoder, None, &view.options)) {
                Ok(_) => self.options.set(view.options),
                Err(error) => self.problem.set(Some(text::problem::option(&error))),
            }
        });
    }

    fn follow_address(self) {
        let written = StoredValue::new(View::from_hash(&page::hash()).unwrap_or_default());
        let timer: StoredValue<Option<TimeoutHandle>> = StoredValue::new(None);
        Effect::new(move |_| {
            let view = self.view();
            if let Some(timer) = timer.get_value() {
                timer.clear();
            }
            let write = move || {
                let before = written.get_value();
                if before != view {
                    page::set_hash(&view.to_hash(), !before.model.is_empty() && view.is_step_from(&before));
                    written.set_value(view);
                }
            };
            timer.set_value(set_timeout_with_handle(write, ADDRESS_DELAY).ok());
        });
        let back = move |_| {
            let view = View::from_hash(&page::hash());
            if view.as_ref().ok() != Some(&written.get_value()) {
                written.set_value(view.clone().unwrap_or_default());
                self.show(view);
            }
        };
        let handle = window_event_listener(leptos::ev::popstate, back);
        on_cleanup(move || handle.remove());
        Effect::new(move |_| page::set_title(&text::title(&self.title())));
    }
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}
