//! Models that this browser keeps: which, what there is room for, and the copy or check that goes on.

use std::time::Duration;

use leptos::prelude::*;
use leptos::task::spawn_local;
use phi3::api::{BrowserEvent, ErrorObject, Kept, KeptTask};
use phi3::engine::{LoadProgress, LoadStage, Loading};
use phi3::platform::Instant;

use super::browser_run::End;
use crate::platform::engine::Engines;
use crate::platform::files::Picked;
use crate::platform::storage::{self, Closed, Lock, Space};
use crate::text::kept as words;

/// Room for what is written beside a model's files: its manifest, the names of its files.
const BESIDE_BYTES: u64 = 64 << 10;
/// A tab that only looks holds the lock for a moment.
const LOCK_TRIES: u32 = 10;
/// Ends of the names of files that a run here reads.
const KINDS: [&str; 2] = [".json", ".safetensors"];

/// What this browser keeps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Shelf {
    /// Not looked at yet.
    #[default]
    Unknown,
    /// It keeps nothing, and why.
    Closed(Closed),
    /// These, the oldest first: names of directories, and what is in them.
    Open(Vec<(String, Kept)>),
}

impl Shelf {
    /// The models; none where it is not open.
    #[must_use]
    pub fn models(&self) -> &[(String, Kept)] {
        match self {
            Self::Open(models) => models,
            Self::Unknown | Self::Closed(_) => &[],
        }
    }

    /// A model by the name of its directory.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<&Kept> {
        self.models().iter().find(|(own, _)| own == id).map(|(_, kept)| kept)
    }

    /// Whether it has a model of this name with files of these names and lengths.
    #[must_use]
    pub fn has(&self, name: &str, files: &[(&str, u64)]) -> bool {
        let same = |kept: &Kept| {
            let is_there =
                |(name, bytes): &(&str, u64)| kept.files.iter().any(|f| f.name == *name && f.bytes == *bytes);
            kept.name == name && kept.files.len() == files.len() && files.iter().all(is_there)
        };
        self.models().iter().any(|(_, kept)| same(kept))
    }
}

/// Whether a file of a model's folder is one that a run here reads.
#[must_use]
pub fn is_read(name: &str) -> bool {
    KINDS.iter().any(|end| name.ends_with(end))
}

/// Bytes that a model of so many needs, where they are more than the browser still grants; with what that is.
#[must_use]
pub fn lacking(bytes: u64, space: Space) -> Option<(u64, u64)> {
    let needed = bytes.saturating_add(BESIDE_BYTES);
    let available = space.granted_bytes.saturating_sub(space.used_bytes);
    (needed > available).then_some((needed, available))
}

/// A copy or a check, as it is seen from here.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Name of the model.
    pub name: String,
    /// Whether a copy is verified, not made.
    pub is_check: bool,
    /// How far it is, once it began.
    pub loading: Option<Loading>,
    /// Why it failed.
    pub error: Option<ErrorObject>,
    /// How it ended; `None` while it goes on.
    pub end: Option<End>,
}

impl Job {
    /// One that was asked for.
    #[must_use]
    pub fn new(name: String, is_check: bool) -> Self {
        Self { name, is_check, loading: None, error: None, end: None }
    }

    /// Whether it goes on.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.end.is_none()
    }

    /// Takes what the engines say. What comes after the end is not taken.
    pub fn hear(&mut self, event: BrowserEvent, now_ms: f64) {
        match event {
            _ if !self.is_live() => {}
            BrowserEvent::Kept { done_bytes, total_bytes } => {
                let progress = LoadProgress { stage: LoadStage::Weights, done_bytes, total_bytes };
                self.loading = Some(Loading::next(self.loading, progress, now_ms));
            }
            BrowserEvent::Finished => self.end = Some(End::Finished),
            BrowserEvent::Failed { error } => self.fail(error),
            _ => {}
        }
    }

    /// Its end was asked for.
    pub fn cancel(&mut self) {
        if self.is_live() {
            self.end = Some(End::Cancelled);
        }
    }

    /// It failed, by the engines' own word or before they could say one.
    pub fn fail(&mut self, error: ErrorObject) {
        if self.is_live() {
            self.error = Some(error);
            self.end = Some(End::Failed);
        }
    }
}

/// Handles to what this browser keeps.
#[derive(Clone, Copy)]
pub struct Keeping {
    /// What it keeps.
    pub shelf: RwSignal<Shelf>,
    /// How much it grants, where it tells.
    pub space: RwSignal<Option<Space>>,
    /// The last copy or check.
    pub job: RwSignal<Option<Job>>,
    /// Whether one goes on, or what is left of one is being removed.
    pub is_busy: RwSignal<bool>,
    /// What came of the last removal or request to the browser, in words.
    pub said: RwSignal<String>,
    engines: StoredValue<Option<Engines>, LocalStorage>,
    /// Held from before a copy begins until what is left of one that failed is gone.
    lock: StoredValue<Option<Lock>, LocalStorage>,
    clock: StoredValue<Instant>,
}

impl Keeping {
    /// Not looked at yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            shelf: RwSignal::new(Shelf::Unknown),
            space: RwSignal::new(None),
            job: RwSignal::new(None),
            is_busy: RwSignal::new(false),
            said: RwSignal::new(String::new()),
            engines: StoredValue::new_local(None),
            lock: StoredValue::new_local(None),
            clock: StoredValue::new(Instant::now()),
        }
    }

    /// Looks at what is kept, after half copies were removed that no tab works on.
    pub fn look(self) {
        spawn_local(async move {
            if !self.is_busy.get_untracked()
                && let Some(lock) = storage::lock(1).await
            {
                storage::sweep(&lock).await;
            }
            self.see().await;
        });
    }

    /// Copies a model's files, as far as a run reads them.
    pub fn keep(self, name: String, files: Vec<Picked>) {
        let files: Vec<Picked> = files.into_iter().filter(|file| is_read(file.name())).collect();
        self.begin(Job::new(name.clone(), false));
        spawn_local(async move {
            if let Err(error) = self.copy(name, &files).await {
                self.change(|job| job.fail(error));
            }
            if !self.goes_on() {
                self.end();
            }
        });
    }

    /// Holds a model's files against what was written down of them.
    pub fn verify(self, id: String) {
        let Some(name) = self.shelf.with_untracked(|shelf| Some(shelf.find(&id)?.name.clone())) else {
            return;
        };
        self.begin(Job::new(name, true));
        if let Err(error) = self.start(&KeptTask::Verify { id }, &[]) {
            self.change(|job| job.fail(error));
            self.end();
        }
    }

    /// Ends what goes on; of a copy nothing stays.
    pub fn cancel(self) {
        self.change(Job::cancel);
        // A copy that has not begun ends by itself.
        if self.engines.with_value(Option::is_some) {
            self.end();
        }
    }

    /// Removes a model.
    pub fn remove(self, id: String) {
        let Some(kept) = self.shelf.with_untracked(|shelf| shelf.find(&id).cloned()) else { return };
        self.job.set(None);
        spawn_local(async move {
            self.said.set(match storage::remove(&id).await {
                Ok(()) => words::removed(&kept.name, kept.bytes()),
                Err(why) => words::not_removed(&kept.name, &why),
            });
            self.see().await;
        });
    }

    /// Asks the browser to delete nothing by itself.
    pub fn persist(self) {
        spawn_local(async move {
            let agreed = storage::persist().await;
            self.said.set(if agreed { words::PERSISTENT } else { words::NOT_PERSISTENT }.to_owned());
            self.see().await;
        });
    }

    async fn see(self) {
        let shelf = match storage::kept().await {
            Ok(models) => Shelf::Open(models),
            Err(closed) => Shelf::Closed(closed),
        };
        self.space.set(storage::space().await);
        self.shelf.set(shelf);
    }

    fn begin(self, job: Job) {
        self.said.set(String::new());
        self.job.set(Some(job));
        self.is_busy.set(true);
    }

    fn goes_on(self) -> bool {
        self.job.with_untracked(|job| job.as_ref().is_some_and(Job::is_live))
    }

    async fn copy(self, name: String, files: &[Picked]) -> Result<(), ErrorObject> {
        let lock = storage::lock(LOCK_TRIES).await;
        let lock = lock.ok_or_else(|| ErrorObject::new("busy", words::OTHER_TAB))?;
        storage::sweep(&lock).await;
        // Some browsers tell more than they grant: a copy that fills the storage all the same ends where it does.
        let bytes = files.iter().map(Picked::size).fold(0, u64::saturating_add);
        if let Some((needed, available)) = storage::space().await.and_then(|space| lacking(bytes, space)) {
            return Err(ErrorObject::new("quota_exceeded", words::no_room(&name, needed, available)));
        }
        // It may have been cancelled meanwhile.
        if !self.goes_on() {
            return Ok(());
        }
        let id = storage::new_id(&lock);
        self.lock.set_value(Some(lock));
        self.start(&KeptTask::Keep { id, name }, files)
    }

    fn start(self, task: &KeptTask, files: &[Picked]) -> Result<(), ErrorObject> {
        let engines = Engines::start(move |event| {
            let now = self.clock.with_value(Instant::elapsed_ms);
            let went_on = self.goes_on();
            self.change(|job| job.hear(event, now));
            if went_on && !self.goes_on() {
                self.end();
            }
        })?;
        engines.keep(task, files)?;
        self.engines.set_value(Some(engines));
        Ok(())
    }

    fn change(self, change: impl FnOnce(&mut Job)) {
        self.job.update(|job| {
            if let Some(job) = job {
                change(job);
            }
        });
    }

    /// Ends the worker, removes what is left of a copy that did not come to its end, and looks anew.
    fn end(self) {
        // The engines are what called us: they end when that call is over.
        let engines = self.engines.try_update_value(Option::take);
        set_timeout(
            move || {
                drop(engines);
                spawn_local(async move {
                    let lock = self.lock.try_update_value(Option::take).flatten();
                    if let Some(lock) = &lock {
                        storage::sweep(lock).await;
                    }
                    drop(lock);
                    self.see().await;
                    self.is_busy.set(false);
                });
            },
            Duration::ZERO,
        );
    }
}

impl Default for Keeping {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use phi3::api::KeptFile;
    use wasm_bindgen_test::wasm_bindgen_test;

    fn kept(name: &str, files: &[(&str, u64)]) -> Kept {
        let file = |(name, bytes): &(&str, u64)| KeptFile {
            name: (*name).to_owned(),
            bytes: *bytes,
            sha256: String::new(),
        };
        Kept { name: name.to_owned(), files: files.iter().map(file).collect() }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_copy_needs_room_for_all_of_it_and_a_little_beside() {
        let space = |used_bytes, granted_bytes| Space { used_bytes, granted_bytes, is_persistent: false };
        let all = 1000 + BESIDE_BYTES;
        assert_eq!(lacking(1000, space(0, all)), None);
        assert_eq!(lacking(1000, space(1, all)), Some((all, all - 1)));
        // What is used may be more than is granted, where the disk is full.
        assert_eq!(lacking(0, space(9, 5)), Some((BESIDE_BYTES, 0)));
        assert_eq!(lacking(u64::MAX, space(0, 5)), Some((u64::MAX, 5)));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn only_what_a_run_reads_is_copied() {
        assert!(
            ["config.json", "model-00001-of-00002.safetensors", "a.safetensors.index.json"]
                .into_iter()
                .all(is_read)
        );
        assert!(!["README.md", "pytorch_model.bin", "a.gguf", "json"].into_iter().any(is_read));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_model_is_the_same_by_its_name_and_by_all_of_its_files() {
        let files = [("config.json", 7), ("model.safetensors", 9)];
        let shelf = Shelf::Open(vec![("1".to_owned(), kept("m", &files))]);
        assert!(shelf.has("m", &files) && shelf.has("m", &[files[1], files[0]]));
        assert!(!shelf.has("n", &files) && !shelf.has("m", &files[..1]));
        assert!(!shelf.has("m", &[files[0], ("model.safetensors", 8)]));
        assert!(!Shelf::Unknown.has("m", &files));
        assert_eq!(shelf.find("1").map(Kept::bytes), Some(16));
        assert_eq!(shelf.find("2"), None);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_copy_tells_bytes_and_rate_until_its_end() {
        let mut job = Job::new("m".to_owned(), false);
        job.hear(BrowserEvent::Kept { done_bytes: 100, total_bytes: 400 }, 0.0);
        job.hear(BrowserEvent::Kept { done_bytes: 300, total_bytes: 400 }, 1000.0);
        let loading = job.loading.expect("it began");
        assert_eq!((loading.share(), loading.bytes_per_s), (0.75, Some(200.0)));
        job.cancel();
        job.hear(BrowserEvent::Failed { error: ErrorObject::new("io_error", "late") }, 1001.0);
        assert_eq!((job.end, job.error), (Some(End::Cancelled), None));
        let mut job = Job::new("m".to_owned(), true);
        job.hear(BrowserEvent::Failed { error: ErrorObject::new("kept_corrupt", "a") }, 0.0);
        job.hear(BrowserEvent::Finished, 0.0);
        assert_eq!(
            (job.end, job.error.map(|error| error.code)),
            (Some(End::Failed), Some("kept_corrupt".to_owned()))
        );
    }
}
