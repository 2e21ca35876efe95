//! Many differences in few words: the same one in many layers is said once, with the layers.

use std::collections::HashMap;

/// Layers in a row from which on they are said as a range.
const RANGE: usize = 4;

/// What is wrong with tensors, in the order found.
#[derive(Debug, Default)]
pub(super) struct Differences {
    groups: Vec<Group>,
    /// Groups of layers by what makes two of them one: a hostile file has a hundred thousand.
    by_key: HashMap<(String, String, String), usize>,
}

#[derive(Debug)]
struct Group {
    /// The name before and after the layer's number; all of it in `before` where there is none.
    before: String,
    after: String,
    what: String,
    layers: Vec<usize>,
}

impl Differences {
    pub(super) fn push(&mut self, name: &str, what: String) {
        let (before, layer, after) = split(name);
        let group = Group { before: before.to_owned(), after: after.to_owned(), what, layers: Vec::new() };
        let Some(layer) = layer else {
            self.groups.push(group);
            return;
        };
        let key = (before.to_owned(), after.to_owned(), group.what.clone());
        let index = *self.by_key.entry(key).or_insert_with(|| {
            self.groups.push(group);
            self.groups.len() - 1
        });
        self.groups[index].layers.push(layer);
    }

    /// One line each; every tensor is named, those of many layers in a row as a range.
    pub(super) fn lines(mut self) -> Vec<String> {
        self.groups.iter_mut().for_each(|group| group.layers.sort_unstable());
        self.groups.iter().flat_map(Group::lines).collect()
    }
}

impl Group {
    fn lines(&self) -> Vec<String> {
        let Self { before, after, what, layers } = self;
        if layers.is_empty() {
            return vec![format!("`{before}` {what}")];
        }
        let mut lines = Vec::new();
        for run in layers.chunk_by(|a, b| a + 1 == *b) {
            if let [first, .., last] = run
                && run.len() >= RANGE
            {
                lines.push(format!("`{before}{{{first}..{last}}}{after}` {what}"));
            } else {
                lines.extend(run.iter().map(|layer| format!("`{before}{layer}{after}` {what}")));
            }
        }
        lines
    }
}

/// A name around the first of its parts that is a number.
fn split(name: &str) -> (&str, Option<usize>, &str) {
    let mut start = 0;
    for part in name.split('.') {
        if let Ok(layer) = part.parse() {
            return (&name[..start], Some(layer), &name[start + part.len()..]);
        }
        start += part.len() + 1;
    }
    (name, None, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_layers_are_ranges_and_nothing_is_lost() {
        let mut differences = Differences::default();
        differences.push("norm", "is missing".to_owned());
        for layer in [0, 1, 2, 3, 5, 7, 8] {
            differences.push(&format!("a.{layer}.b"), "is missing".to_owned());
        }
        differences.push("a.4.b", "is f64".to_owned());
        assert_eq!(
            differences.lines(),
            [
                "`norm` is missing",
                "`a.{0..3}.b` is missing",
                "`a.5.b` is missing",
                "`a.7.b` is missing",
                "`a.8.b` is missing",
                "`a.4.b` is f64",
            ]
        );
    }
}
