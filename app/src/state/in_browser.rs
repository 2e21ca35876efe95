//! Validation in this browser: what is asked for, and the run.

use std::time::Duration;

use leptos::prelude::*;
use phi3::api::{BrowserEvent, BrowserRun, BrowserSource, ErrorObject};
use phi3::config::Preset;
use phi3::dtype::DType;
use phi3::placement::DeviceId;
use phi3::platform::Instant;
use phi3::validate::ProbeSet;

use super::browser_run::BrowserRuns;
use super::{Keeping, Page, Store, given};
use crate::platform::engine::Engines;
use crate::platform::files::Picked;
use crate::platform::page;
use crate::text::in_browser as words;

/// Folder of the model that comes with the page.
const TINY: &str = "tiny";
/// Keys of the others in a list; that of a model that is kept begins so.
const CHOSEN: &str = "chosen";
const MADE_UP: &str = "made_up";
const KEPT: &str = "kept:";
/// What that continues where nothing else is asked: it knows stories.
pub const TINY_PROMPT: &str = "Once upon a time there was a little bird who could not fly.";
/// Most threads that a run here asks for.
const MOST_THREADS: u32 = 4;
/// Ids that a run here generates where nobody says how many.
pub const USUAL_TOKENS: usize = 48;
/// Most ids that a run generates.
pub const MAX_NEW_TOKENS: usize = 512;

/// What was typed for a count of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// Nothing: as many as is usual.
    Usual,
    /// So many.
    So(usize),
    /// More than a run generates.
    TooMany,
    /// No whole number from 1 on.
    None,
}

impl Count {
    /// Reads it.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let text = text.trim();
        match text.parse::<usize>() {
            _ if text.is_empty() => Self::Usual,
            Ok(count @ 1..=MAX_NEW_TOKENS) => Self::So(count),
            Ok(0) => Self::None,
            Ok(_) => Self::TooMany,
            // More digits than a number has.
            Err(_) if text.bytes().all(|byte| byte.is_ascii_digit()) => Self::TooMany,
            Err(_) => Self::None,
        }
    }
}

/// Where a validation runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On the processor, in this tab.
    Cpu,
    /// On the GPU, in this tab.
    WebGpu,
    /// On both, and held against each other.
    Both,
    /// On the server.
    Server,
}

impl Place {
    /// In the order of the page.
    pub const ALL: [Self; 4] = [Self::Cpu, Self::WebGpu, Self::Both, Self::Server];

    /// The name in an address.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::WebGpu => "webgpu",
            Self::Both => "both",
            Self::Server => "server",
        }
    }

    /// The place of a name.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|place| place.name() == name)
    }

    /// Its devices in this browser, the reference first; none where it is the server.
    #[must_use]
    pub fn devices(self) -> Vec<DeviceId> {
        let gpu = DeviceId::Gpu { backend: "wgpu".to_owned(), index: 0 };
        match self {
            Self::Cpu => vec![DeviceId::Cpu],
            Self::WebGpu => vec![gpu],
            Self::Both => vec![DeviceId::Cpu, gpu],
            Self::Server => Vec::new(),
        }
    }
}

/// Which model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Subject {
    /// The one that comes with the page.
    #[default]
    Tiny,
    /// Files that were chosen or dropped.
    Chosen,
    /// Files that this browser keeps, by the name of their directory.
    Kept(String),
    /// The config on the page, with weights that are made up.
    MadeUp,
}

impl Subject {
    /// Its key in a list.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Tiny => TINY.to_owned(),
            Self::Chosen => CHOSEN.to_owned(),
            Self::Kept(id) => format!("{KEPT}{id}"),
            Self::MadeUp => MADE_UP.to_owned(),
        }
    }

    /// That of a key; the model that comes with the page where there is none.
    #[must_use]
    pub fn of(key: &str) -> Self {
        match key {
            CHOSEN => Self::Chosen,
            MADE_UP => Self::MadeUp,
            _ => key.strip_prefix(KEPT).map_or(Self::Tiny, |id| Self::Kept(id.to_owned())),
        }
    }

    /// Threads that the CPU computes it with here, at least one.
    #[must_use]
    pub fn threads(&self) -> usize {
        let limits = page::limits();
        // Starting them takes longer than all that the smallest model computes.
        let is_shared = limits.is_isolated && *self != Self::Tiny;
        let most = if is_shared { MOST_THREADS } else { 1 };
        limits.threads.unwrap_or(1).clamp(1, most) as usize
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// Which model.
    pub subject: Subject,
    /// Format of the weights; `None`: as stored.
    pub dtype: Option<DType>,
    /// What is to be continued; empty: the default.
    pub prompt: String,
    /// Most ids to generate; as many as is usual at its place where nobody says.
    pub max_new_tokens: Option<usize>,
    /// Boundaries to cross.
    pub probe: ProbeSet,
    /// Whether logits are held against the CPU in f32.
    pub reference: bool,
    /// The server's model, where one was chosen.
    pub model: Option<String>,
    /// The last run on the server.
    pub attempt: Option<u64>,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            subject: Subject::Tiny,
            dtype: None,
            prompt: String::new(),
            max_new_tokens: None,
            probe: ProbeSet::None,
            reference: true,
            model: None,
            attempt: None,
        }
    }
}

impl Asked {
    /// What is continued; `None` where nothing but blanks stands there, and so the default is.
    #[must_use]
    pub fn prompt(&self) -> Option<&str> {
        Some(self.prompt.trim()).filter(|prompt| !prompt.is_empty())
    }

    /// The prompt, how much is generated, and the server's model and run, as they stand in an address: nothing where they
    /// are the default.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = form_urlencoded::Serializer::new(String::new());
        if self.prompt().is_some() {
            text.append_pair("prompt", &self.prompt);
        }
        if let Some(tokens) = self.max_new_tokens {
            text.append_pair("tokens", &tokens.to_string());
        }
        if let Some(model) = &self.model {
            text.append_pair("model", model);
        }
        if let Some(attempt) = self.attempt {
            text.append_pair("attempt", &attempt.to_string());
        }
        text.finish()
    }

    /// The same with what an address says; what is not understood counts as not said.
    #[must_use]
    pub fn with_text(self, text: &str) -> Self {
        let mut asked =
            Self { prompt: String::new(), max_new_tokens: None, model: None, attempt: None, ..self };
        for (key, value) in form_urlencoded::parse(text.as_bytes()) {
            match (key.as_ref(), value.parse::<usize>()) {
                ("prompt", _) if value.trim().is_empty() => {}
                ("prompt", _) => asked.prompt = value.into_owned(),
                ("tokens", Ok(tokens)) => asked.max_new_tokens = Some(tokens.clamp(1, MAX_NEW_TOKENS)),
                ("model", _) => asked.model = Some(value.into_owned()),
                ("attempt", Ok(id)) => asked.attempt = Some(id as u64),
                _ => {}
            }
        }
        asked
    }
}

/// Handles to validation in this browser.
#[derive(Clone, Copy)]
pub struct InBrowser {
    store: Store,
    /// The last run.
    pub runs: RwSignal<Option<BrowserRuns>>,
    /// What the next one is to be.
    pub asked: RwSignal<Asked>,
    /// Files of a model that were chosen or dropped.
    pub chosen: RwSignal<Vec<Picked>, LocalStorage>,
    /// What their model is called.
    chosen_name: RwSignal<String>,
    /// What was given last and refused: nothing of it runs, and nothing else does before a person has seen what will.
    pub refused: RwSignal<Option<String>>,
    /// Whether what stands in the field for the count of ids is none: nothing runs before it is mended.
    pub is_count_wrong: RwSignal<bool>,
    /// Models that this browser keeps.
    pub kept: Keeping,
    engines: StoredValue<Option<Engines>, LocalStorage>,
    clock: StoredValue<Instant>,
}

impl InBrowser {
    /// Nothing was asked for yet.
    #[must_use]
    pub fn new(store: Store) -> Self {
        let this = Self {
            store,
            runs: RwSignal::new(None),
            asked: RwSignal::new(Asked::default()),
            chosen: RwSignal::new_local(Vec::new()),
            chosen_name: RwSignal::new(String::new()),
            refused: RwSignal::new(None),
            is_count_wrong: RwSignal::new(false),
            kept: Keeping::new(),
            engines: StoredValue::new_local(None),
            clock: StoredValue::new(Instant::now()),
        };
        this.keep_asked();
        // Another model on the page is an answer to what was refused.
        let shown = Memo::new(move |_| (store.preset_shown(), store.own_files().map(|files| files.config)));
        Effect::new(move |before: Option<_>| {
            let now = shown.get();
            if before.is_some_and(|before| before != now) {
                this.refused.set(None);
            }
            now
        });
        this
    }

    /// The address holds the prompt and how much is generated: a reload and Back return to them, and a link brings them.
    fn keep_asked(self) {
        let (store, asked) = (self.store, self.asked);
        let text = Memo::new(move |_| asked.with(Asked::to_text));
        Effect::new(move |before: Option<String>| {
            let (now, said) = (text.get(), store.sift.get());
            if store.page.get() == Page::Validate && now != said {
                // Who comes to the page finds what was asked here before.
                if said.is_empty() || before.is_some_and(|before| before != now) {
                    store.sift.set(now.clone());
                } else {
                    asked.update(|asked| *asked = std::mem::take(asked).with_text(&said));
                }
            }
            now
        });
    }

    /// Takes files of a model that were given to the page: where weights are among them, they are what is validated next.
    pub fn take(self, picked: &[Picked], name: String) {
        let paths: Vec<&str> = picked.iter().map(|file| file.path.as_str()).collect();
        let files: Vec<Picked> = given::model_files(&paths).into_iter().map(|i| picked[i].clone()).collect();
        if !files.is_empty() {
            self.chosen.set(files);
            self.chosen_name.set(name);
            self.asked.update(|asked| asked.subject = Subject::Chosen);
        }
    }

    /// Name of the model that is validated next.
    pub fn model(self) -> String {
        match self.asked.with(|asked| asked.subject.clone()) {
            Subject::Tiny => words::TINY.to_owned(),
            Subject::MadeUp => words::made_up(&self.store.title()),
            Subject::Chosen => self.chosen_name(),
            Subject::Kept(id) => {
                self.kept.shelf.with(|shelf| shelf.find(&id).map(|kept| kept.name.clone())).unwrap_or(id)
            }
        }
    }

    /// Name of the model whose files were chosen.
    pub fn chosen_name(self) -> String {
        self.chosen_name.get()
    }

    /// Has this browser keep the files that were chosen.
    pub fn keep(self) {
        self.kept.keep(untrack(|| self.chosen_name()), self.chosen.get_untracked());
    }

    /// Removes a model that is kept.
    pub fn remove(self, id: String) {
        if self.asked.with_untracked(|asked| asked.subject == Subject::Kept(id.clone())) {
            self.asked.update(|asked| asked.subject = Subject::Tiny);
        }
        self.kept.remove(id);
    }

    /// Whether a run goes on.
    #[must_use]
    pub fn is_live(self) -> bool {
        self.runs.with(|runs| runs.as_ref().is_some_and(BrowserRuns::is_live))
    }

    /// Has the engines fetched and started, for the run that will most likely be asked for next; where that is the model
    /// that comes with the page, they rehearse it.
    pub fn warm(self) {
        if self.engines.with_value(Option::is_some) {
            return;
        }
        self.fetch();
        let asked = self.asked.get_untracked();
        if asked.subject == Subject::Tiny
            && let Ok(run) = self.run(&asked, vec![DeviceId::Cpu])
        {
            // Refused, it costs time alone: the run itself is told why.
            self.engines.with_value(|engines| engines.as_ref().map(|engines| engines.rehearse(&run)));
        }
    }

    fn fetch(self) {
        if self.engines.with_value(Option::is_none)
            && let Ok(engines) = self.engines()
        {
            self.engines.set_value(Some(engines));
        }
    }

    /// Ends engines that wait for a run.
    pub fn cool(self) {
        if !untrack(|| self.is_live()) {
            self.engines.set_value(None);
        }
    }

    /// Runs what is asked for.
    pub fn start(self, place: Place) {
        self.refused.set(None);
        let devices = place.devices();
        let mut runs = BrowserRuns::new(untrack(|| self.model()), &devices);
        if let Err(error) = self.ask(devices) {
            runs.fail(error);
            self.end();
        }
        self.runs.set(Some(runs));
    }

    /// Ends the run, whatever it is doing.
    pub fn cancel(self) {
        self.engines.set_value(None);
        self.runs.update(|runs| {
            if let Some(runs) = runs {
                runs.cancel();
            }
        });
    }

    fn engines(self) -> Result<Engines, ErrorObject> {
        Engines::start(move |event| {
            // Engines that fail while they wait for a run are of no use to it.
            let is_last = matches!(event, BrowserEvent::Finished | BrowserEvent::Failed { .. });
            let now = self.clock.with_value(Instant::elapsed_ms);
            self.runs.update(|runs| {
                if let Some(runs) = runs {
                    runs.hear(event, now);
                }
            });
            if is_last {
                self.end();
            }
        })
    }

    fn run(self, asked: &Asked, devices: Vec<DeviceId>) -> Result<BrowserRun, ErrorObject> {
        let prompt = asked.prompt().or_else(|| (asked.subject == Subject::Tiny).then_some(TINY_PROMPT));
        Ok(BrowserRun {
            devices,
            source: match &asked.subject {
                Subject::Tiny => BrowserSource::Fetched { base: TINY.to_owned() },
                Subject::Chosen => BrowserSource::Chosen,
                Subject::Kept(id) => BrowserSource::Kept { id: id.clone() },
                Subject::MadeUp => {
                    BrowserSource::MadeUp { config: self.config_on_page()?, prompt_tokens: None }
                }
            },
            dtype: asked.dtype,
            prompt: prompt.map(str::to_owned),
            max_new_tokens: asked.max_new_tokens.unwrap_or(USUAL_TOKENS),
            probe: asked.probe,
            skip_reference: !asked.reference,
            threads: asked.subject.threads(),
            repeats: 0,
        })
    }

    fn ask(self, devices: Vec<DeviceId>) -> Result<(), ErrorObject> {
        let asked = self.asked.get_untracked();
        let run = self.run(&asked, devices)?;
        self.fetch();
        let files = if asked.subject == Subject::Chosen { self.chosen.get_untracked() } else { Vec::new() };
        self.engines.with_value(|engines| match engines {
            Some(engines) => engines.run(&run, &files),
            None => Err(ErrorObject::new("engine_stopped", words::NO_WORKER)),
        })
    }

    fn config_on_page(self) -> Result<String, ErrorObject> {
        let own = untrack(|| self.store.own_files()).map(|files| files.config);
        let preset = || untrack(|| self.store.preset_shown()).and_then(Preset::find);
        let config = own.or_else(|| preset().map(|preset| preset.config.to_owned()));
        config.ok_or_else(|| ErrorObject::new("not_found", words::NO_CONFIG))
    }

    /// The engines have done their work: their worker ends and gives its memory back.
    fn end(self) {
        // They are what called us: they end when that call is over.
        let engines = self.engines.try_update_value(Option::take);
        set_timeout(move || drop(engines), Duration::ZERO);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_bindgen_test::wasm_bindgen_test;

    #[wasm_bindgen_test(unsupported = test)]
    fn places_come_back_by_name_and_the_reference_runs_first() {
        assert!(Place::ALL.into_iter().all(|place| Place::find(place.name()) == Some(place)));
        assert_eq!(Place::find(""), None);
        let names: Vec<String> = Place::Both.devices().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["cpu", "wgpu:0"]);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_is_more_than_a_run_generates_is_told_from_what_is_no_number() {
        let most = MAX_NEW_TOKENS.to_string();
        assert_eq!([Count::of(""), Count::of(" 7 ")], [Count::Usual, Count::So(7)]);
        assert_eq!(Count::of(&most), Count::So(MAX_NEW_TOKENS));
        assert_eq!(Count::of(&(MAX_NEW_TOKENS + 1).to_string()), Count::TooMany);
        assert_eq!(Count::of("99999999999999999999999999"), Count::TooMany);
        assert!(["0", "-1", "1.5", "many"].into_iter().all(|text| Count::of(text) == Count::None));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn blanks_are_no_prompt_here_and_in_an_address() {
        let asked = |prompt: &str| Asked { prompt: prompt.to_owned(), ..Asked::default() };
        assert_eq!([asked(" \t").prompt(), asked(" a ").prompt()], [None, Some("a")]);
        assert_eq!(asked("  ").to_text(), "");
        assert_eq!(asked("a").with_text("prompt=+++").prompt, "");
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn models_come_back_by_key() {
        let kept = Subject::Kept("1764180000000".to_owned());
        for subject in [Subject::Tiny, Subject::Chosen, kept, Subject::MadeUp] {
            assert_eq!(Subject::of(&subject.key()), subject);
        }
        assert_eq!(Subject::of("nothing"), Subject::Tiny);
    }
}
