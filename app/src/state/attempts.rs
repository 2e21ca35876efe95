//! The attempts of the server: fetched once, followed by events, searched and sorted here.

use leptos::prelude::*;
use leptos::task::spawn_local;
use phi3::api::{Attempt, AttemptKind, AttemptRecord, Comparison, EventKind};
use phi3::load_config::{LoadConfig, Proposal};

use super::columns::Column;
use super::ledger::{self, Row, Sieve};
use super::lineage::{self, Ancestor, Parent};
use super::{Loads, Notes, Page, Problem, Store, Told};
use crate::api::{self, ApiError, Events, Heard};
use crate::text;

/// Attempts asked for at a time.
const PAGE: u32 = 1000;
/// Attempts that are kept here at most; older ones are asked for by their id.
const MOST: usize = 50_000;

/// What stands beside the table.
#[derive(Debug, Clone, PartialEq)]
pub enum Beside {
    /// Nothing.
    Nothing,
    /// One attempt.
    One(Box<AttemptRecord>),
    /// Several, and what differs.
    Several(Comparison),
    /// What was asked for is not to be had.
    Refused(Problem),
}

/// Handle to the attempts.
#[derive(Clone, Copy)]
pub struct Attempts {
    store: Store,
    /// What the server told, of models too.
    pub told: Told,
    /// Every row, newest first.
    pub rows: RwSignal<Vec<Row>>,
    /// Which rows, and in which order.
    pub sieve: RwSignal<Sieve>,
    /// Places of the rows that are shown.
    pub shown: Memo<Vec<usize>>,
    /// Ids that are marked for a comparison.
    pub marked: RwSignal<Vec<u64>>,
    /// The attempt that is looked at.
    pub chosen: Memo<Option<u64>>,
    /// What stands beside the table.
    pub beside: RwSignal<Beside>,
    /// Whether rows are on their way that were never told before.
    pub loading: RwSignal<bool>,
    /// How far those are that load.
    pub loads: Loads,
    /// Why there are none.
    pub problem: RwSignal<Option<Problem>>,
    /// Notes that are being written: what others say of them meanwhile does not take their place.
    pub notes: Notes,
    events: StoredValue<Option<Events>, LocalStorage>,
    /// What was told of single ones since all were asked for: it is newer than what comes of all.
    newer: StoredValue<Vec<Row>>,
}

/// Ids in a pointer: `12`, `12,15`; behind a semicolon stands the sieve.
fn ids(at: &str) -> Vec<u64> {
    let ids = at.split(';').next().unwrap_or_default();
    ids.split(',').filter_map(|id| id.trim().parse().ok()).take(50).collect()
}

/// The sieve in a pointer.
fn sieve_of(at: &str) -> Sieve {
    Sieve::from_text(at.split_once(';').map_or("", |(_, sieve)| sieve))
}

/// A pointer to ids with a sieve.
fn pointer(ids: &str, sieve: &Sieve) -> String {
    let sieve = sieve.to_text();
    if sieve.is_empty() { ids.to_owned() } else { format!("{ids};{sieve}") }
}

impl Attempts {
    /// Fetches the attempts and follows them.
    #[must_use]
    pub fn new(store: Store) -> Self {
        let told = Told::here();
        let Told { attempts: rows, waits_for_attempts: loading, names, .. } = told;
        let sieve = RwSignal::new(store.at.with_untracked(|at| sieve_of(at)));
        let shown = Memo::new(move |_| {
            rows.with(|rows: &Vec<Row>| sieve.with(|sieve| names.with(|names| sieve.apply(rows, names))))
        });
        let pointed = Memo::new(move |_| {
            if store.page.get() == Page::Attempts { store.at.with(|at| ids(at)) } else { Vec::new() }
        });
        let attempts = Self {
            store,
            told,
            rows,
            sieve,
            shown,
            marked: RwSignal::new(Vec::new()),
            chosen: Memo::new(move |_| {
                pointed.with(|ids| if ids.len() == 1 { ids.first().copied() } else { None })
            }),
            beside: RwSignal::new(Beside::Nothing),
            loading,
            loads: Loads::new(),
            problem: RwSignal::new(None),
            notes: Notes::here(),
            events: StoredValue::new_local(None),
            newer: StoredValue::new(Vec::new()),
        };
        Effect::new(move |_| attempts.look_at(pointed.get()));
        Effect::new(move |_| {
            if let Some(attempt) = attempts.notes.kept.get() {
                attempts.see(&attempt);
            }
        });
        attempts.keep_sieve();
        attempts.follow();
        attempts
    }

    /// The attempts of this page.
    #[must_use]
    pub fn here() -> Self {
        expect_context()
    }

    /// The address holds the sieve: a reload and Back return to it.
    fn keep_sieve(self) {
        let store = self.store;
        Effect::new(move |_| {
            let at = store.at.get();
            if store.page.get() == Page::Attempts && self.sieve.with_untracked(|now| *now != sieve_of(&at)) {
                self.sieve.set(sieve_of(&at));
            }
        });
        Effect::new(move |before: Option<()>| {
            let sieve = self.sieve.get();
            if before.is_some() && store.page.get_untracked() == Page::Attempts {
                let at = store.at.get_untracked();
                let now = pointer(at.split(';').next().unwrap_or_default(), &sieve);
                if now != at {
                    store.at.set(now);
                }
            }
        });
    }

    fn go(self, ids: &str) {
        self.store.go_to(Page::Attempts, self.sieve.with_untracked(|sieve| pointer(ids, sieve)));
    }

    fn follow(self) {
        // Listened to before they are fetched, so that none is missed.
        let events = Events::open(move |heard| match heard {
            Heard::Open => self.fetch(),
            Heard::Broken => {}
            Heard::Event(event) => {
                self.loads.hear(&event.kind);
                match event.kind {
                    EventKind::Attempt { attempt } => self.see(&attempt),
                    EventKind::Reset => self.fetch(),
                    _ => {}
                }
            }
        });
        self.events.set_value(events);
        on_cleanup(move || {
            self.events.try_update_value(Option::take);
        });
    }

    /// Whether not one row is known: none were told so far.
    #[must_use]
    pub fn waits(self) -> bool {
        self.loading.get() && self.rows.with(Vec::is_empty)
    }

    /// Asks the server anew.
    pub fn fetch(self) {
        self.newer.set_value(Vec::new());
        spawn_local(async move {
            // What they are called.
            if let Ok(models) = api::models().await {
                let _ = self.told.models.try_set(Some(models));
            }
        });
        spawn_local(async move {
            let mut all: Vec<Row> = Vec::new();
            let mut cursor = None;
            loop {
                let page = match api::attempts(PAGE, cursor).await {
                    Ok(page) => page,
                    Err(error) => {
                        let _ = self.problem.try_set(Some(text::problem::server(&error)));
                        return;
                    }
                };
                let is_last = page.len() < PAGE as usize;
                cursor = page.last().map(|attempt| attempt.id);
                all.extend(page.iter().map(Row::new));
                self.loads.see(&page);
                if self.beside.is_disposed() {
                    return;
                }
                self.problem.set(None);
                // The newest are shown while older ones still come.
                self.newer
                    .with_value(|newer| newer.iter().for_each(|row| ledger::put(&mut all, row.clone())));
                self.rows.set(all.clone());
                if is_last || all.len() >= MOST {
                    break;
                }
            }
            self.loading.set(false);
        });
    }

    fn see(self, attempt: &Attempt) {
        self.put(attempt);
        if self.chosen.get_untracked() == Some(attempt.id) {
            self.look_at(vec![attempt.id]);
        }
    }

    /// Has the table say what was told of an attempt.
    fn put(self, attempt: &Attempt) {
        let row = Row::new(attempt);
        self.newer.update_value(|newer| ledger::put(newer, row.clone()));
        self.rows.update(|rows| ledger::put(rows, row));
    }

    /// Looks again at what the address points at.
    pub fn look(self) {
        self.look_at(self.store.at.with_untracked(|at| ids(at)));
    }

    fn look_at(self, ids: Vec<u64>) {
        if ids.is_empty() {
            return self.beside.set(Beside::Nothing);
        }
        spawn_local(async move {
            let found = match ids.as_slice() {
                [id] => api::record(*id).await.map(|record| {
                    // The row says what stands beside it.
                    if !self.beside.is_disposed() {
                        self.put(&record.attempt);
                    }
                    Beside::One(Box::new(record))
                }),
                ids => api::compare(ids).await.map(Beside::Several),
            };
            let _ = self.beside.try_set(
                found.unwrap_or_else(|error: ApiError| Beside::Refused(text::problem::server(&error))),
            );
        });
    }

    /// Looks at one attempt.
    pub fn choose(self, id: u64) {
        self.go(&id.to_string());
    }

    /// Looks at none.
    pub fn close(self) {
        self.go("");
    }

    /// Marks an attempt for a comparison, or takes the mark away.
    pub fn mark(self, id: u64) {
        self.marked.update(|marked| match marked.iter().position(|m| *m == id) {
            Some(at) => {
                marked.remove(at);
            }
            None => marked.push(id),
        });
    }

    /// Puts the marked ones side by side.
    pub fn compare(self) {
        let ids = self.marked.with_untracked(|m| m.iter().map(u64::to_string).collect::<Vec<_>>().join(","));
        self.go(&ids);
    }

    /// Sorts by a column; a second time the other way round.
    pub fn sort_by(self, column: Column) {
        self.sieve.update(|sieve| {
            sieve.descending = if sieve.by == column {
                !sieve.descending
            } else {
                matches!(column, Column::Id | Column::Rate | Column::Memory)
            };
            sieve.by = column;
        });
    }

    /// Leaves a note as somebody else wrote it meanwhile.
    pub fn take_theirs(self, id: u64) {
        self.notes.give_up(id);
        self.look();
    }

    /// Plans the next attempt from one: it is the parent, and its model, its load config and its context are what the
    /// plan begins with.
    pub fn plan_from(self, record: AttemptRecord) {
        let store = self.store;
        spawn_local(async move {
            let AttemptRecord { attempt, evidence } = record;
            let told = api::config(&evidence.source).await.ok();
            let name = untrack(|| self.told.name(&attempt.model));
            if !told.is_some_and(|config| lineage::show_model(store, &name, &config)) {
                store.say(text::attempts::NO_CONFIG);
            }
            let context = evidence.asked_context.map(|tokens| tokens as u64);
            let config = LoadConfig::from_map(&attempt.load_config).unwrap_or_default();
            let parent = Parent { attempt: Some(Ancestor { id: attempt.id, model: attempt.model }), config };
            batch(move || {
                store.reset();
                store.choose(|options| options.context = context);
                store.rest.update(|rest| rest.load_config = attempt.load_config);
                store.go_to(Page::Plan, parent.to_text());
            });
        });
    }

    /// Tries what an attempt says to try next: the same with one change, as its child.
    pub fn try_next(self, attempt: &Attempt, change: &Proposal) {
        let Some(run) = lineage::next_run(attempt, change) else { return };
        let (model, is_load) = (attempt.model.clone(), attempt.kind == AttemptKind::Load);
        spawn_local(async move {
            let asked =
                if is_load { api::load(&model, &run).await } else { api::validate(&model, &run).await };
            match asked {
                Ok(started) => {
                    self.store.say(text::models::started(started.attempt_id));
                    self.choose(started.attempt_id);
                }
                Err(error) => self.store.say(error.to_string()),
            }
        });
    }

    /// Has a loaded model unloaded.
    pub fn unload(self, model: String) {
        spawn_local(async move {
            if let Err(error) = api::unload(&model).await {
                self.store.say(error.to_string());
            }
        });
    }

    /// Asks for the end of an attempt.
    pub fn cancel(self, id: u64) {
        spawn_local(async move {
            if let Err(error) = api::cancel(id).await {
                self.store.say(error.to_string());
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_bindgen_test::wasm_bindgen_test;

    #[wasm_bindgen_test(unsupported = test)]
    fn a_pointer_holds_ids() {
        assert_eq!(ids("12, 15"), [12, 15]);
        assert!(ids("x").is_empty());
        let sieve = Sieve { needle: "oom".to_owned(), ..Sieve::default() };
        let at = pointer("12,15", &sieve);
        assert_eq!((ids(&at), sieve_of(&at)), (vec![12, 15], sieve));
        assert_eq!(pointer("7", &Sieve::default()), "7");
    }
}
