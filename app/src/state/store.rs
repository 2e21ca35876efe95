//! The one place that is written to, and everything that follows from it.

use std::sync::Arc;
use std::time::Duration;

use leptos::prelude::*;
use phi3::config::{PRESETS, Preset};
use phi3::estimate::{self, Backend, Format, Options, Report, Resolved, Size};
use phi3::link::{LinkError, State};
use phi3::units::parse_size;

use super::derived::{self, Curve, DTypeRow};
use super::devices;
use super::link::{OWN, View};
use super::model::{Model, Opened, Origin, OwnFiles, Problem, Stranger};
use super::page::Page;
use super::{said, steps};
use crate::platform::page;
use crate::text;

/// Where the tab keeps a config of one's own.
const OWN_KEY: &str = "preflight.own";
/// The address follows the page this much later, so that a drag writes it once.
const ADDRESS_DELAY: Duration = Duration::from_millis(250);
/// Told in the tab when one of its programs has written the address: the browser tells only of Back.
const ADDRESS_CHANGED: &str = "preflight-address";

/// The page's state. Copies are handles to the same signals.
#[derive(Clone, Copy)]
pub struct Store {
    /// The page that is shown.
    pub page: RwSignal<Page>,
    /// What that page points at, see [`View::at`].
    pub at: RwSignal<String>,
    /// What it sifts by, see [`View::sift`].
    pub sift: RwSignal<String>,
    /// The last config that was understood.
    pub model: RwSignal<Arc<Model>>,
    /// A config of an unknown architecture that stands in its place, until another is opened.
    pub stranger: RwSignal<Option<Arc<Stranger>>>,
    /// The choices; the device has its place in `device` and `memory_text`.
    pub options: RwSignal<Options>,
    /// The device by its name in the table, or this browser.
    pub device: RwSignal<Option<String>>,
    /// Device memory as typed; counts where no device is named.
    pub memory_text: RwSignal<String>,
    /// The same, the last that could be read.
    held_memory: Memo<String>,
    /// The files of a config of one's own, while it is shown.
    own: RwSignal<Option<OwnFiles>>,
    /// What the address holds besides: the load config, notes.
    pub rest: RwSignal<State>,
    /// Whether the next change of the address is one click's, which Back undoes whatever it changed.
    is_click: StoredValue<bool>,
    /// What was refused last, until something is accepted or it is put away.
    pub problem: RwSignal<Option<Problem>>,
    /// A short confirmation.
    pub toast: RwSignal<Option<String>>,
    /// Device memory in bytes: the last that could be read.
    pub memory: Memo<Option<u64>>,
    /// Why the device memory cannot be read.
    pub memory_problem: Memo<Option<String>>,
    /// The choices with the device among them.
    pub chosen: Memo<Options>,
    /// The same with the load config below them: what is estimated.
    pub asked: Memo<Options>,
    /// The same with defaults filled in.
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
        let rest = RwSignal::new(State::default());
        let device = RwSignal::new(None::<String>);
        let memory_text = RwSignal::new(String::new());

        let typed = move || {
            let text = memory_text.get();
            if text.trim().is_empty() { Ok(None) } else { parse_size(&text).map(Some) }
        };
        let listed = Memo::new(move |_| device.with(|d| d.as_deref().and_then(devices::usable_bytes)));
        let memory = Memo::new(move |last: Option<&Option<u64>>| {
            listed.get().or_else(|| typed().unwrap_or_else(|_unreadable| last.copied().flatten()))
        });
        // The address says what holds, whatever is being typed.
        let held_memory = Memo::new(move |last: Option<&String>| match typed() {
            Ok(_) => memory_text.get(),
            Err(_) => last.cloned().unwrap_or_default(),
        });
        let memory_problem =
            Memo::new(
                move |_| {
                    if device.with(Option::is_some) { None } else { typed().err().map(|e| e.to_string()) }
                },
            );
        let chosen = Memo::new(move |_| {
            // A row of the table brings its runtime along.
            let row = device.get().filter(|name| name != devices::BROWSER);
            let other_parts = model.with(|m| m.weights.as_ref().and_then(|weights| weights.other_parts));
            let options = options.get();
            // A page computes on the CPU, in what WebAssembly may have.
            let is_here = row.is_none() && device.with(Option::is_some);
            let backend = if is_here { Some(Backend::Cpu) } else { options.backend };
            Options { device: row, device_memory: memory.get().map(Size), backend, other_parts, ..options }
        });
        let asked = Memo::new(move |_| {
            // What the load config says stands below what was chosen here.
            chosen.with(|chosen| rest.with(|rest| said::options(&rest.load_config, chosen)))
        });

        // Every way to write `options` keeps them in range; an address from elsewhere is cut to range as it is read.
        let resolve = |model: &Model, options: &Options| {
            Resolved::new(&model.decoder, model.stored(), options)
                .or_else(|_| Resolved::new(&model.decoder, model.stored(), &Options::default()))
        };
        let resolved = Memo::new(move |_| {
            model.with(|m| asked.with(|o| resolve(m, o))).expect("the defaults are in range of themselves")
        });
        let report = Memo::new(move |_| {
            let asked = asked.get();
            let only_memory = || Options {
                device_memory: asked.device_memory,
                other_parts: asked.other_parts,
                ..Options::default()
            };
            model.with(|m| {
                let mut report = estimate::estimate(&m.decoder, m.stored(), &asked)
                    .or_else(|_| estimate::estimate(&m.decoder, m.stored(), &only_memory()))
                    .expect("the defaults are in range of themselves");
                if let Some(contradiction) = m.weights.as_ref().and_then(|it| it.contradiction.as_ref()) {
                    report.doubt(contradiction);
                }
                Arc::new(report)
            })
        });

        let weights = Memo::new(move |_| model.with(|m| derived::weights_by_dtype(&m.decoder, m.stored())));
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
            let weights = model.with(|m| match m.stored() {
                Some(stored) => estimate::resolved_weights_bytes(&m.decoder, Some(stored), &resolved),
                None => weights_of(resolved.format),
            });
            Arc::new(model.with(|m| derived::curve(&m.decoder, weights, &resolved, end.get())))
        });
        let rows = Memo::new(move |_| {
            let chosen = resolved.with(|r| r.format);
            model.with(|m| {
                weights.with(|w| asked.with(|o| derived::rows(&m.decoder, w, o, chosen, memory.get())))
            })
        });

        let stranger = RwSignal::new(None);
        let problem = RwSignal::new(None);
        let toast = RwSignal::new(None);
        let store = Self {
            page: RwSignal::new(Page::default()),
            at: RwSignal::new(String::new()),
            sift: RwSignal::new(String::new()),
            model,
            stranger,
            options,
            device,
            memory_text,
            held_memory,
            own: RwSignal::new(None),
            rest,
            is_click: StoredValue::new(false),
            problem,
            toast,
            memory,
            memory_problem,
            chosen,
            asked,
            resolved,
            report,
            curve,
            rows,
        };
        store.show(View::read(&page::hash()));
        store.follow_address();
        store
    }

    /// The store of this page.
    #[must_use]
    pub fn here() -> Self {
        expect_context()
    }

    /// Goes to a page.
    pub fn go(self, page: Page) {
        self.go_to(page, String::new());
    }

    /// Goes to what a page shows of this.
    pub fn go_to(self, page: Page, at: String) {
        batch(move || {
            self.at.set(at);
            // A page that is shown already stays as it is, and looks at what it is pointed at.
            if self.page.get_untracked() != page {
                self.sift.set(String::new());
                self.page.set(page);
            }
        });
    }

    /// Changes the choices.
    pub fn choose(self, change: impl FnOnce(&mut Options)) {
        self.options.update(change);
    }

    /// Applies a suggestion's `key=value` as a step of its own; false where it is not understood.
    pub fn apply(self, change: &str) -> bool {
        let mut view = View { options: self.options.get_untracked(), ..View::default() };
        let understood = view.set(change);
        if understood {
            self.is_click.set_value(true);
            self.options.set(view.options);
        }
        understood
    }

    /// Chooses a device of the table, this browser, or none; takes the place of a size that was typed.
    pub fn choose_device(self, name: Option<String>) {
        self.place(name, String::new(), None);
    }

    /// Takes a size that was typed in place of a device, and keeps what drives that: less may be free of it than a
    /// table can know. Without one it is a CPU's.
    pub fn type_memory(self, text: String) {
        let gpu = self.device.with_untracked(|name| phi3::devices::find(name.as_deref()?).ok());
        let chosen = || self.options.with_untracked(|options| options.backend);
        let backend = gpu.map(|gpu| Backend::of(gpu.vendor())).or_else(chosen).unwrap_or(Backend::Cpu);
        self.place(None, text, Some(backend));
    }

    /// Leaves the memory of a device with this backend to be typed.
    pub fn choose_other(self, backend: Backend) {
        let text = self.memory_text.get_untracked();
        self.place(None, text, Some(backend));
    }

    /// Takes what is free on a device of the server, and what drives that.
    pub fn choose_live(self, memory: String, backend: Backend) {
        self.place(None, memory, Some(backend));
    }

    fn place(self, device: Option<String>, memory: String, backend: Option<Backend>) {
        batch(move || {
            self.device.set(device);
            self.memory_text.set(memory);
            if self.options.with_untracked(|options| options.backend != backend) {
                self.choose(|options| options.backend = backend);
            }
        });
    }

    /// Puts every choice back to its default; the device stays, and so does what drives it.
    pub fn reset(self) {
        self.options.update(|options| *options = Options { backend: options.backend, ..Options::default() });
    }

    /// Shows a preset.
    pub fn open_preset(self, name: &str) {
        if let Some(preset) = Preset::find(name) {
            self.open(Model::preset(preset).map(|model| Opened::Known(Box::new(model))), None);
        }
    }

    /// Shows a model that a person gave and keeps its files for the tab; false where it is refused.
    pub fn open_own(self, files: &OwnFiles) -> bool {
        let opened = Opened::own(files);
        let is_shown = opened.is_ok();
        if is_shown && let Ok(json) = serde_json::to_string(files) {
            page::keep(OWN_KEY, &json);
        }
        self.open(opened, Some(files));
        is_shown
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
                // Whatever is told of a change is drawn anew, with what is being typed in it.
                if self.stranger.with_untracked(Option::is_some) {
                    self.stranger.set(None);
                }
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

    /// The files of a config of one's own that is shown.
    pub fn own_files(self) -> Option<OwnFiles> {
        self.own.get()
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

    /// Copies the link that shows this page to somebody else.
    pub fn share(self) {
        match untrack(|| self.view()).to_share() {
            Ok(shared) => {
                let what = text::share::what(&shared.left_out);
                self.copy(format!("{}#{}", page::address(), shared.hash), &what);
            }
            Err(error) => self.problem.set(Some(text::problem::no_link(&error))),
        }
    }

    /// What of the page stands in its address.
    pub fn view(self) -> View {
        let model = self.preset_shown().unwrap_or(OWN).to_owned();
        let own = self.own.get();
        View {
            page: self.page.get(),
            at: self.at.get(),
            sift: self.sift.get(),
            model,
            own,
            options: self.options.get(),
            device: self.device.get(),
            memory: self.held_memory.get(),
            rest: self.rest.get(),
        }
    }

    /// Makes the page what an address says.
    fn show(self, read: Result<(View, Vec<String>), LinkError>) {
        let (view, left_out) = match read {
            Ok(read) => read,
            Err(error) => return self.problem.set(Some(text::problem::link(&error))),
        };
        batch(move || {
            let shown = untrack(|| self.view());
            self.rest.set(view.rest.clone());
            self.at.set(view.at.clone());
            self.sift.maybe_update(|sift| {
                let is_news = *sift != view.sift;
                sift.clone_from(&view.sift);
                is_news
            });
            if view.page != shown.page {
                self.page.set(view.page);
            }
            if view.device != shown.device {
                self.device.set(view.device.clone());
            }
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
                        Some(files) if Some(&files) == shown.own.as_ref() => {}
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
            if !left_out.is_empty() {
                self.problem.set(Some(text::problem::left_out(&left_out)));
            }
        });
    }

    /// Writes the address as the page changes, and changes the page as the address does: by Back, or by the other
    /// program of this tab.
    fn follow_address(self) {
        let written = StoredValue::new(View::from_hash(&page::hash()).unwrap_or_default());
        let timer: StoredValue<Option<TimeoutHandle>> = StoredValue::new(None);
        let telling = StoredValue::new(false);
        let write = move |view: View, is_step: bool| {
            let before = written.get_value();
            if before == view {
                return;
            }
            let hash = view.to_hash();
            let push = !before.model.is_empty() && is_step;
            let is_own = view.own.is_some() && view.own != before.own;
            written.set_value(view);
            let is_same = hash == page::hash();
            if !is_same {
                page::set_hash(&hash, push);
            }
            // The files of a config of one's own are not in the address as a whole: their change is told too.
            if !is_same || is_own {
                telling.set_value(true);
                page::tell(ADDRESS_CHANGED);
                telling.set_value(false);
            }
        };
        Effect::new(move |_| {
            let view = self.view();
            if let Some(timer) = timer.try_update_value(Option::take).flatten() {
                timer.clear();
            }
            let is_click = self.is_click.try_update_value(std::mem::take).unwrap_or_default();
            if is_click || written.with_value(|before| view.is_step_from(before)) {
                write(view, true);
            } else {
                timer.set_value(set_timeout_with_handle(move || write(view, false), ADDRESS_DELAY).ok());
            }
        });
        let follow = move || {
            let hash = page::hash();
            let kept = || page::kept(OWN_KEY).and_then(|json| serde_json::from_str::<OwnFiles>(&json).ok());
            let is_same = |view: &View| view.to_hash() == hash && (view.model != OWN || view.own == kept());
            if written.with_value(is_same) {
                return;
            }
            // A change that waits to be written is of the address that was left.
            if let Some(timer) = timer.try_update_value(Option::take).flatten() {
                timer.clear();
            }
            self.show(View::read(&hash));
            // What is shown now is what the address says, with the files that the tab has kept.
            written.set_value(untrack(|| self.view()));
        };
        let back = window_event_listener(leptos::ev::popstate, move |_| follow());
        let told = window_event_listener_untyped(ADDRESS_CHANGED, move |_| {
            if !telling.get_value() {
                follow();
            }
        });
        on_cleanup(move || {
            back.remove();
            told.remove();
        });
        Effect::new(move |_| page::set_title(&text::title(&self.title(), self.page.get())));
    }
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}
