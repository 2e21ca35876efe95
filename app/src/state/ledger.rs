//! The attempts of the server, as rows to search, filter and sort.

use phi3::api::{Attempt, AttemptState};

/// What a row is sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// Its id, and so its time.
    Id,
    /// The model.
    Model,
    /// Where it stands.
    State,
    /// What differs from the parent.
    Change,
    /// How long it took.
    Duration,
    /// Decode rate.
    Rate,
    /// The note.
    Note,
}

impl Column {
    /// In the order of the table.
    pub const ALL: [Self; 7] =
        [Self::Id, Self::State, Self::Model, Self::Change, Self::Duration, Self::Rate, Self::Note];
}

/// An attempt as the table shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its id.
    pub id: u64,
    /// The attempt that it changes one thing of.
    pub parent: Option<u64>,
    /// The model.
    pub model: String,
    /// Where it stands.
    pub state: AttemptState,
    /// How it ended, by name.
    pub outcome: Option<&'static str>,
    /// What differs from the parent, in words.
    pub change: String,
    /// Milliseconds since 1970.
    pub created_ms: u64,
    /// From leaving the queue to the end.
    pub duration_ms: Option<u64>,
    /// Tokens a second.
    pub decode_tokens_per_s: Option<f64>,
    /// What somebody noted.
    pub note: String,
    /// All that a search looks at, in lower case.
    haystack: String,
}

impl Row {
    /// A row of an attempt.
    #[must_use]
    pub fn new(attempt: &Attempt) -> Self {
        let change = attempt.changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let outcome = attempt.outcome.map(phi3::load_config::OutcomeClass::name);
        let error = attempt.error.as_ref().map(|error| error.message.as_str()).unwrap_or_default();
        let words = [
            &attempt.model,
            attempt.state.name(),
            outcome.unwrap_or_default(),
            &change,
            &attempt.device,
            error,
            &attempt.note,
        ];
        Self {
            id: attempt.id,
            parent: attempt.parent,
            model: attempt.model.clone(),
            state: attempt.state,
            outcome,
            created_ms: attempt.created_ms,
            duration_ms: attempt
                .started_ms
                .zip(attempt.finished_ms)
                .map(|(from, to)| to.saturating_sub(from)),
            decode_tokens_per_s: attempt.report.as_ref().map(|report| report.decode_tokens_per_s),
            note: attempt.note.clone(),
            haystack: format!("#{} {}", attempt.id, words.join(" ")).to_lowercase(),
            change,
        }
    }
}

/// Which rows, and in which order.
#[derive(Debug, Clone, PartialEq)]
pub struct Sieve {
    /// Words that a row must have, all of them.
    pub needle: String,
    /// The state that a row must have.
    pub state: Option<AttemptState>,
    /// What rows are sorted by.
    pub by: Column,
    /// Whether the largest comes first.
    pub descending: bool,
}

impl Default for Sieve {
    /// All, newest first.
    fn default() -> Self {
        Self { needle: String::new(), state: None, by: Column::Id, descending: true }
    }
}

impl Sieve {
    /// Places of the rows that stay, in order. Rows that are equal keep the newest first.
    #[must_use]
    pub fn apply(&self, rows: &[Row]) -> Vec<usize> {
        let needle = self.needle.to_lowercase();
        let words: Vec<&str> = needle.split_whitespace().collect();
        let stays = |row: &Row| {
            self.state.is_none_or(|state| state == row.state)
                && words.iter().all(|word| row.haystack.contains(word))
        };
        let mut places: Vec<usize> = (0..rows.len()).filter(|i| stays(&rows[*i])).collect();
        places.sort_by(|a, b| {
            let (a, b) = (&rows[*a], &rows[*b]);
            let order = match self.by {
                Column::Id => a.id.cmp(&b.id),
                Column::Model => a.model.cmp(&b.model),
                Column::State => a.state.name().cmp(b.state.name()),
                Column::Change => a.change.cmp(&b.change),
                Column::Duration => a.duration_ms.cmp(&b.duration_ms),
                Column::Rate => {
                    a.decode_tokens_per_s.unwrap_or(-1.0).total_cmp(&b.decode_tokens_per_s.unwrap_or(-1.0))
                }
                Column::Note => a.note.cmp(&b.note),
            };
            let order = if self.descending { order.reverse() } else { order };
            order.then(b.id.cmp(&a.id))
        });
        places
    }
}

/// A place in the tree of attempts: how deep, and which row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Branch {
    /// Steps from the root.
    pub depth: usize,
    /// Place in the rows.
    pub row: usize,
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
    let mut open = vec![Branch { depth: 0, row: root }];
    while let Some(branch) = open.pop() {
        if found.len() == MOST_BRANCHES {
            break;
        }
        found.push(branch);
        let id = rows[branch.row].id;
        let mut children: Vec<usize> =
            (0..rows.len()).filter(|i| rows[*i].parent == Some(id) && rows[*i].id > id).collect();
        children.sort_by_key(|i| std::cmp::Reverse(rows[*i].id));
        open.extend(children.into_iter().map(|row| Branch { depth: branch.depth + 1, row }));
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
    fn rows_are_found_by_all_their_words_and_sorted() {
        let rows = [
            row(1, None, "stopped", "b first"),
            row(2, Some(1), "failed", "A"),
            row(3, Some(2), "stopped", "b"),
        ];
        let ids = |sieve: Sieve| sieve.apply(&rows).into_iter().map(|i| rows[i].id).collect::<Vec<_>>();
        assert_eq!(ids(Sieve::default()), [3, 2, 1]);
        assert_eq!(ids(Sieve { needle: "FIRST stopped".to_owned(), ..Sieve::default() }), [1]);
        assert_eq!(ids(Sieve { needle: "#2".to_owned(), ..Sieve::default() }), [2]);
        assert_eq!(ids(Sieve { state: Some(AttemptState::Stopped), ..Sieve::default() }), [3, 1]);
        assert_eq!(ids(Sieve { by: Column::Note, descending: false, ..Sieve::default() }), [2, 3, 1]);
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
        let of = |id| tree(&rows, id).into_iter().map(|b| (b.depth, rows[b.row].id)).collect::<Vec<_>>();
        assert_eq!(of(4), [(0, 1), (1, 2), (2, 4), (1, 3)]);
        assert_eq!(of(5), [(0, 5)]);
        assert!(of(9).is_empty());
    }
}
