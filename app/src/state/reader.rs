//! Reads what people give, one thing after the other: weights that still come in may be those of the config behind them.

use leptos::prelude::*;
use leptos::task::spawn_local;

use super::given;
use super::model::Problem;
use super::store::Store;
use super::validation::Validation;
use crate::platform::files::{HandOver, Picked};
use crate::text;

/// Reads files that were handed to the second program.
#[derive(Clone, Copy)]
pub struct Reader {
    store: Store,
    validation: Validation,
    given: StoredValue<HandOver, LocalStorage>,
    is_reading: StoredValue<bool>,
    /// Weights that wait for their config.
    waiting: StoredValue<Vec<Picked>, LocalStorage>,
    /// What was refused last.
    refused: RwSignal<Option<Problem>>,
    /// Names that were given to models, and to which files.
    named: StoredValue<Vec<(String, String)>>,
}

impl Reader {
    /// Nothing read yet.
    #[must_use]
    pub fn new(store: Store, validation: Validation) -> Self {
        Self {
            store,
            validation,
            given: StoredValue::new_local(HandOver::of_tab()),
            is_reading: StoredValue::new(false),
            waiting: StoredValue::new_local(Vec::new()),
            refused: RwSignal::new(None),
            named: StoredValue::new(Vec::new()),
        }
    }

    /// Takes up whatever was handed over. Who is reading already comes to it.
    pub fn read(self) {
        if self.is_reading.get_value() {
            return;
        }
        self.is_reading.set_value(true);
        spawn_local(async move {
            while let Some(picked) = self.given.with_value(HandOver::first) {
                self.read_one(picked).await;
                self.given.with_value(HandOver::done);
            }
            self.is_reading.set_value(false);
        });
    }

    async fn read_one(self, picked: Vec<Picked>) {
        let shown = untrack(|| self.store.own_files());
        let waits = shown.is_some_and(|files| files.weights_alone().is_some());
        let config_name = given::config_name(&picked);
        let joined = self.waiting.with_value(|before| given::joined(before, &picked)).filter(|_| waits);
        let picked = joined.unwrap_or(picked);
        let is_taken = match given::read(&picked).await {
            Ok(mut given) => {
                let print = given::print_of(&picked);
                given.name = self
                    .named
                    .try_update_value(|named| distinct(named, &given.name, print))
                    .unwrap_or_default();
                let is_taken = self.store.open_own(&given);
                if is_taken {
                    let is_alone = given.weights_alone().is_some();
                    self.waiting.set_value(if is_alone { picked.clone() } else { Vec::new() });
                    self.validation.browser.take(&picked, given.name);
                }
                is_taken
            }
            Err(problem) => {
                self.store.problem.set(Some(problem));
                false
            }
        };
        let mut problem = self.store.problem.get_untracked();
        // A config is called what its file is called.
        if let (Some(problem), Some(name)) = (&mut problem, config_name.filter(|_| !is_taken))
            && let Some(rest) = problem.what.strip_prefix("config.json")
        {
            problem.what = format!("{name}{rest}");
            self.store.problem.set(Some(problem.clone()));
        }
        let refused = problem.as_ref().filter(|_| !is_taken).map(|problem| problem.what.clone());
        self.validation.browser.refused.set(refused);
        self.refused.set(problem);
    }

    /// Tells what only this program knows of what an address says; other pages than the first have one notice for all of it.
    pub fn tell(self, problem: Problem) {
        let told = self.store.problem.get_untracked().filter(|_| !self.store.page.get_untracked().is_first());
        let problem = match told {
            Some(told) => Problem { why: format!("{}; {}", told.why, problem.why), ..told },
            None => problem,
        };
        self.store.problem.set(Some(problem.clone()));
        self.refused.set(Some(problem));
    }

    /// Whether what the page tells was refused here. What an address says is told by both programs, each on its own pages;
    /// the page of the first has room for what was read as well.
    pub fn has_refused(self) -> bool {
        self.refused.with(|refused| refused.is_some() && self.store.problem.with(|told| told == refused))
    }
}

/// A name that no other files have: theirs where they were given before.
fn distinct(named: &mut Vec<(String, String)>, name: &str, print: String) -> String {
    // What was pasted is called by what stands in it.
    if name.is_empty() {
        return String::new();
    }
    let numbered = |number: usize| if number == 1 { name.to_owned() } else { text::numbered(name, number) };
    let is_free = |shown: &String| named.iter().all(|(known, of)| known != shown || *of == print);
    let shown = (1..).map(numbered).find(is_free).unwrap_or_default();
    if named.iter().all(|(known, _)| *known != shown) {
        named.push((shown.clone(), print));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_bindgen_test::wasm_bindgen_test;

    #[wasm_bindgen_test(unsupported = test)]
    fn other_files_have_another_name_and_the_same_their_own() {
        let mut named = Vec::new();
        let mut name = |name: &str, print: &str| distinct(&mut named, name, print.to_owned());
        assert_eq!([name("phi3, 1.9 M", "a"), name("phi3, 1.9 M", "b")], ["phi3, 1.9 M", "phi3, 1.9 M (2)"]);
        assert_eq!([name("phi3, 1.9 M", "b"), name("phi3, 1.9 M", "a")], ["phi3, 1.9 M (2)", "phi3, 1.9 M"]);
        assert_eq!([name("m", "a"), name("", "c")], ["m", ""]);
    }
}
