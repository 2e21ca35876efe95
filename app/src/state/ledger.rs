//! The attempts of the server, as rows to search, filter and sort.

use phi3::api::{Attempt, AttemptState};
use phi3::load_config::OutcomeClass;

use super::Names;
use super::columns::Column;

/// An attempt as the table shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its id.
    pub id: u64,
    /// The attempt that it changes one thing of.
    pub parent: Option<u64>,
    /// Id of the model.
    pub model: String,
    /// Where it stands.
    pub state: AttemptState,
    /// How it ended, by name.
    pub outcome: Option<&'static str>,
    /// How it stands: the verdict of what came to its end, else its state.
    pub standing: &'static str,
    /// What differs from the parent, in words.
    pub change: String,
    /// Milliseconds since 1970.
    pub created_ms: u64,
    /// From leaving the queue to the end.
    pub duration_ms: Option<u64>,
    /// Device asked for.
    pub device: String,
    /// Tokens a second.
    pub decode_tokens_per_s: Option<f64>,
    /// From prompt to first id, where there was one.
    pub ttft_ms: Option<f64>,
    /// How long the load took.
    pub load_ms: Option<f64>,
    /// Memory measured.
    pub memory_bytes: Option<u64>,
    /// What somebody noted.
    pub note: String,
    /// All that a search looks at, in lower case.
    haystack: String,
}

/// Takes a row among others, the newest first, in the place of what was known of its attempt.
pub fn put(rows: &mut Vec<Row>, row: Row) {
    match rows.iter().position(|known| known.id == row.id) {
        Some(at) => rows[at] = row,
        None => {
            let at = rows.iter().position(|known| known.id < row.id).unwrap_or(rows.len());
            rows.insert(at, row);
        }
    }
}

impl Row {
    /// A row of an attempt.
    #[must_use]
    pub fn new(attempt: &Attempt) -> Self {
        let change = attempt.changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let outcome = attempt.outcome.map(OutcomeClass::name);
        let error = attempt.error.as_ref().map(|error| error.message.as_str()).unwrap_or_default();
        let words = [
            &attempt.model,
            attempt.state.name(),
            outcome.unwrap_or_default(),
            &change,
            attempt.report.as_ref().map_or(&attempt.device, |report| &report.device),
            error,
            &attempt.note,
        ];
        Self {
            id: attempt.id,
            parent: attempt.parent,
            model: attempt.model.clone(),
            state: attempt.state,
            standing: attempt.standing(),
            outcome,
            created_ms: attempt.created_ms,
            duration_ms: attempt
                .started_ms
                .zip(attempt.finished_ms)
                .map(|(from, to)| to.saturating_sub(from)),
            // Where it ran; where it has not yet, what was asked for.
            device: attempt.report.as_ref().map_or(&attempt.device, |report| &report.device).clone(),
            decode_tokens_per_s: attempt.report.as_ref().and_then(|report| report.decode_tokens_per_s),
            ttft_ms: attempt.report.as_ref().and_then(|report| report.ttft_ms),
            load_ms: attempt.report.as_ref().map(|report| report.load_ms),
            memory_bytes: attempt.report.as_ref().map(|report| report.memory.measured.total_bytes),
            note: attempt.note.clone(),
            haystack: format!("#{} {}", attempt.id, words.join(" ")).to_lowercase(),
            change,
        }
    }
}

/// Every way to stand: a state, or where a run came to its end its verdict.
pub fn standings() -> impl Iterator<Item = &'static str> {
    let verdicts = [Attempt::PASSED, Attempt::UNVERIFIED];
    verdicts.into_iter().chain(AttemptState::ALL.into_iter().map(AttemptState::name))
}

/// The way to stand that a word names.
#[must_use]
pub fn standing(word: &str) -> Option<&'static str> {
    standings().find(|standing| *standing == word)
}

/// The outcome that a word names.
#[must_use]
pub fn outcome(word: &str) -> Option<&'static str> {
    OutcomeClass::ALL.into_iter().map(OutcomeClass::name).find(|outcome| *outcome == word)
}

/// The outcomes that rows have, in the order of the classes.
#[must_use]
pub fn outcomes(rows: &[Row]) -> Vec<&'static str> {
    let there: std::collections::BTreeSet<_> = rows.iter().filter_map(|row| row.outcome).collect();
    OutcomeClass::ALL.into_iter().map(OutcomeClass::name).filter(|name| there.contains(name)).collect()
}

/// Which rows, and in which order.
#[derive(Debug, Clone, PartialEq)]
pub struct Sieve {
    /// Words that a row must have, all of them.
    pub needle: String,
    /// How a row must stand: the word of its badge.
    pub standing: Option<&'static str>,
    /// How a row must have ended, by name.
    pub outcome: Option<&'static str>,
    /// What rows are sorted by.
    pub by: Column,
    /// Whether the largest comes first.
    pub descending: bool,
}

impl Default for Sieve {
    /// All, newest first.
    fn default() -> Self {
        Self { needle: String::new(), standing: None, outcome: None, by: Column::Id, descending: true }
    }
}

impl Sieve {
    /// As it stands in an address: nothing where it is the default.
    #[must_use]
    pub fn to_text(&self) -> String {
        let default = Self::default();
        let mut text = form_urlencoded::Serializer::new(String::new());
        if !self.needle.is_empty() {
            text.append_pair("q", &self.needle);
        }
        for (key, word) in [("state", self.standing), ("outcome", self.outcome)] {
            if let Some(word) = word {
                text.append_pair(key, word);
            }
        }
        if (self.by, self.descending) != (default.by, default.descending) {
            text.append_pair(if self.descending { "down" } else { "up" }, self.by.name());
        }
        text.finish()
    }

    /// Reads it again; what is not understood counts as not said.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        let mut sieve = Self::default();
        for (key, value) in form_urlencoded::parse(text.as_bytes()) {
            match key.as_ref() {
                "q" => sieve.needle = value.into_owned(),
                "state" => sieve.standing = standing(&value),
                "outcome" => sieve.outcome = outcome(&value),
                "up" | "down" => {
                    if let Some(column) = Column::find(&value) {
                        (sieve.by, sieve.descending) = (column, key == "down");
                    }
                }
                _ => {}
            }
        }
        sieve
    }

    /// Places of the rows that stay, in order. Rows that are equal keep the newest first.
    #[must_use]
    pub fn apply(&self, rows: &[Row], names: &Names) -> Vec<usize> {
        let needle = self.needle.to_lowercase();
        let words: Vec<&str> = needle.split_whitespace().collect();
        let is_called = |row: &Row, word: &str| names.of(&row.model).to_lowercase().contains(word);
        let stays = |row: &Row| {
            self.standing.is_none_or(|standing| standing == row.standing)
                && self.outcome.is_none_or(|outcome| Some(outcome) == row.outcome)
                && words.iter().all(|word| row.haystack.contains(word) || is_called(row, word))
        };
        let mut places: Vec<usize> = (0..rows.len()).filter(|i| stays(&rows[*i])).collect();
        // What has no number stands below all that have.
        let by = |a: Option<f64>, b: Option<f64>| a.unwrap_or(-1.0).total_cmp(&b.unwrap_or(-1.0));
        places.sort_by(|a, b| {
            let (a, b) = (&rows[*a], &rows[*b]);
            let order = match self.by {
                Column::Id => a.id.cmp(&b.id),
                Column::Model => names.of(&a.model).cmp(names.of(&b.model)),
                Column::State => a.state.name().cmp(b.state.name()),
                Column::Change => a.change.cmp(&b.change),
                Column::Duration => a.duration_ms.cmp(&b.duration_ms),
                Column::Rate => by(a.decode_tokens_per_s, b.decode_tokens_per_s),
                Column::Device => a.device.cmp(&b.device),
                Column::Ttft => by(a.ttft_ms, b.ttft_ms),
                Column::Load => by(a.load_ms, b.load_ms),
                Column::Memory => a.memory_bytes.cmp(&b.memory_bytes),
                Column::Note => a.note.cmp(&b.note),
            };
            let order = if self.descending { order.reverse() } else { order };
            order.then(b.id.cmp(&a.id))
        });
        places
    }
}

/// A place in the tree of attempts. An only child stands below its parent in the same lane, since a chain of changes may
/// be long; brothers and sisters stand one lane further in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Branch {
    /// How far in.
    pub lane: usize,
    /// Whether its parent has other children too.
    pub is_branched: bool,
    /// Place in the rows.
    pub row: usize,
}

/// What is drawn in a lane on the left of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guide {
    /// Nothing.
    Gap,
    /// A line that passes by.
    Pass,
    /// A line from above to this attempt, which goes on.
    Tee,
    /// A line from above to this attempt, which ends here.
    End,
}

/// The lanes on the left of an attempt of a tree.
#[must_use]
pub fn guides(tree: &[Branch], at: usize) -> Vec<Guide> {
    let Some(branch) = tree.get(at) else { return Vec::new() };
    let goes_on = |lane: usize| {
        let mut below = tree[at + 1..].iter().take_while(|later| later.lane > lane);
        below.any(|later| later.is_branched && later.lane == lane + 1)
    };
    let guide = |lane: usize| match (branch.is_branched && lane + 1 == branch.lane, goes_on(lane)) {
        (true, true) => Guide::Tee,
        (true, false) => Guide::End,
        (false, true) => Guide::Pass,
        (false, false) => Guide::Gap,
    };
    (0..branch.lane).map(guide).collect()
}

/// Most attempts of a tree that are drawn.
const MOST_BRANCHES: usize = 200;

/// The tree that an attempt belongs to: from the first of its parents down to every child.
#[must_use]
pub fn tree(rows: &[Row], id: u64) -> Vec<Branch> {
    let place = |id: u64| rows.iter().position(|row| row.id == id);
    let Some(mut root) = place(id) else { return Vec::new() };
    // A parent is older than its child, so this ends; the count guards against a server that says otherwise.
    for _ in 0..rows.len() {
        match rows[root].parent.and_then(place) {
            Some(parent) if rows[parent].id < rows[root].id => root = parent,
            _ => break,
        }
    }
    let mut found = Vec::new();
    let mut open = vec![Branch { lane: 0, is_branched: false, row: root }];
    while let Some(branch) = open.pop() {
        if found.len() == MOST_BRANCHES {
            break;
        }
        found.push(branch);
        let id = rows[branch.row].id;
        let mut children: Vec<usize> =
            (0..rows.len()).filter(|i| rows[*i].parent == Some(id) && rows[*i].id > id).collect();
        children.sort_by_key(|i| std::cmp::Reverse(rows[*i].id));
        let is_branched = children.len() > 1;
        let lane = branch.lane + usize::from(is_branched);
        open.extend(children.into_iter().map(|row| Branch { lane, is_branched, row }));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_bindgen_test::wasm_bindgen_test;

    fn row(id: u64, parent: Option<u64>, state: &str, note: &str) -> Row {
        let attempt = serde_json::json!({
            "id": id, "model": "tiny", "kind": "validate", "state": state, "parent": parent, "changes": [],
            "device": "cpu", "load_config": {}, "created_ms": id, "text": "", "note": note,
        });
        Row::new(&serde_json::from_value(attempt).expect("the server's words"))
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_is_told_of_an_attempt_takes_the_place_of_what_was_known() {
        let row = |id, state| {
            let attempt = Attempt::queued("m", phi3::api::AttemptKind::Load, "cpu", 1);
            Row::new(&Attempt { id, state, ..attempt })
        };
        let mut rows = vec![row(4, AttemptState::Checking), row(1, AttemptState::Stopped)];
        for told in [row(4, AttemptState::Loading), row(2, AttemptState::Ready), row(7, AttemptState::Queued)]
        {
            put(&mut rows, told);
        }
        let told: Vec<_> = rows.iter().map(|row| (row.id, row.standing)).collect();
        assert_eq!(told, [(7, "queued"), (4, "loading"), (2, "ready"), (1, "stopped")]);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn rows_are_found_by_all_their_words_and_sorted() {
        let rows = [
            row(1, None, "stopped", "b first"),
            row(2, Some(1), "failed", "A"),
            row(3, Some(2), "stopped", "b"),
        ];
        let ids = |sieve: Sieve| {
            sieve.apply(&rows, &Names::default()).into_iter().map(|i| rows[i].id).collect::<Vec<_>>()
        };
        assert_eq!(ids(Sieve::default()), [3, 2, 1]);
        assert_eq!(ids(Sieve { needle: "FIRST stopped".to_owned(), ..Sieve::default() }), [1]);
        assert_eq!(ids(Sieve { needle: "#2".to_owned(), ..Sieve::default() }), [2]);
        assert_eq!(ids(Sieve { standing: Some("stopped"), ..Sieve::default() }), [3, 1]);
        assert!(ids(Sieve { standing: Some("passed"), ..Sieve::default() }).is_empty());
        assert_eq!(ids(Sieve { by: Column::Note, descending: false, ..Sieve::default() }), [2, 3, 1]);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn rows_are_sifted_by_how_they_ended() {
        let ended = |id, outcome: &str| {
            let attempt = serde_json::json!({
                "id": id, "model": "tiny", "kind": "validate", "state": "failed", "parent": null, "changes": [],
                "device": "cpu", "load_config": {}, "created_ms": id, "text": "", "note": "", "outcome": outcome,
            });
            Row::new(&serde_json::from_value(attempt).expect("the server's words"))
        };
        let rows =
            [ended(1, "nan_inf"), ended(2, "oom_device_kv"), ended(3, "nan_inf"), row(4, None, "queued", "")];
        assert_eq!(outcomes(&rows), ["oom_device_kv", "nan_inf"]);
        let sieve = Sieve { outcome: outcome("nan_inf"), ..Sieve::default() };
        assert_eq!(sieve.apply(&rows, &Names::default()), [2, 0]);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_sieve_goes_through_an_address() {
        for sieve in [
            Sieve::default(),
            Sieve { needle: "a;b & c".to_owned(), standing: Some("failed"), ..Sieve::default() },
            Sieve { standing: Some("unverified"), outcome: Some("oom_device_kv"), ..Sieve::default() },
            Sieve { by: Column::Rate, descending: false, ..Sieve::default() },
        ] {
            assert_eq!(Sieve::from_text(&sieve.to_text()), sieve, "{}", sieve.to_text());
        }
        assert_eq!(Sieve::default().to_text(), "");
        assert_eq!(Sieve::from_text("x=1&state=none&outcome=none&up=nothing"), Sieve::default());
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_tree_holds_the_whole_family() {
        let rows = [
            row(1, None, "failed", ""),
            row(2, Some(1), "failed", ""),
            row(3, Some(1), "stopped", ""),
            row(4, Some(2), "stopped", ""),
            row(5, None, "stopped", ""),
        ];
        let of = |id| tree(&rows, id).into_iter().map(|b| (b.lane, rows[b.row].id)).collect::<Vec<_>>();
        assert_eq!(of(4), [(0, 1), (1, 2), (1, 4), (1, 3)]);
        assert_eq!(of(5), [(0, 5)]);
        let drawn = tree(&rows, 4);
        let guides: Vec<_> = (0..drawn.len()).map(|at| guides(&drawn, at)).collect();
        assert_eq!(guides, [vec![], vec![Guide::Tee], vec![Guide::Pass], vec![Guide::End]]);
        // A chain stays in its lane, however long it is.
        let chain: Vec<Row> = (1..=50).map(|id| row(id, (id > 1).then(|| id - 1), "failed", "")).collect();
        assert!(tree(&chain, 50).iter().all(|branch| branch.lane == 0 && !branch.is_branched));
        assert!(of(9).is_empty());
    }
}
