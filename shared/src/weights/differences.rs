//! Many differences in few words: the same one in many layers, or of many experts, is said once, with their numbers.

use std::collections::HashMap;

use crate::units::format_count;

/// Numbers in a row from which on they are said as a range.
const RANGE: usize = 4;

/// Differences that are kept. More than the tensors of any published model with experts; a hostile config beside a
/// small file has millions.
const MOST: usize = 1 << 16;

/// Lines that are said.
const MOST_LINES: usize = 500;

/// What is wrong with tensors, in the order found.
#[derive(Debug, Default)]
pub(super) struct Differences(Vec<(String, String)>);

impl Differences {
    /// Takes a tensor's name and what is wrong with it.
    pub(super) fn push(&mut self, name: &str, what: String) {
        if !self.is_full() {
            self.0.push((name.to_owned(), what));
        }
    }

    /// Whether no more are kept.
    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= MOST
    }

    /// One line each; every tensor is named, those of many layers or experts in a row as a range.
    pub(super) fn lines(self) -> Vec<String> {
        let cut = self.is_full();
        let by_layer = in_ranges(self.0, Number::First);
        let by_expert = in_ranges(by_layer, Number::Last);
        let more = by_expert.len().saturating_sub(MOST_LINES);
        let mut lines: Vec<String> =
            by_expert.into_iter().take(MOST_LINES).map(|(name, what)| format!("`{name}` {what}")).collect();
        if cut {
            lines.push(format!("and more: these are the first {}", format_count(MOST as u64)));
        } else if more > 0 {
            lines.push(format!("and {} more", format_count(more as u64)));
        }
        lines
    }
}

/// Which of a name's numbers.
#[derive(Debug, Clone, Copy)]
enum Number {
    /// The layer's.
    First,
    /// The expert's, where there are experts.
    Last,
}

/// What differs in that number alone becomes one, where the numbers lie in a row.
fn in_ranges(differences: Vec<(String, String)>, which: Number) -> Vec<(String, String)> {
    // In the order found; a name without a number is a group of its own.
    let mut groups: Vec<(usize, Vec<usize>)> = Vec::new();
    let mut by_key: HashMap<(&str, &str, &str), usize> = HashMap::new();
    for (index, (name, what)) in differences.iter().enumerate() {
        let Some((before, number, after)) = split(name, which) else {
            groups.push((index, Vec::new()));
            continue;
        };
        let group = *by_key.entry((before, after, what)).or_insert_with(|| {
            groups.push((index, Vec::new()));
            groups.len() - 1
        });
        groups[group].1.push(number);
    }
    let mut out = Vec::with_capacity(groups.len());
    for (index, mut numbers) in groups {
        let (name, what) = &differences[index];
        let Some((before, _, after)) = split(name, which) else {
            out.push((name.clone(), what.clone()));
            continue;
        };
        numbers.sort_unstable();
        for run in numbers.chunk_by(|a, b| a + 1 == *b) {
            match run {
                [first, .., last] if run.len() >= RANGE => {
                    out.push((format!("{before}{{{first}..{last}}}{after}"), what.clone()));
                }
                _ => out.extend(run.iter().map(|n| (format!("{before}{n}{after}"), what.clone()))),
            }
        }
    }
    out
}

/// A name around one of its parts that are numbers.
fn split(name: &str, which: Number) -> Option<(&str, usize, &str)> {
    let mut start = 0;
    let mut parts = name.split('.').filter_map(|part| {
        let at = start;
        start += part.len() + 1;
        Some((&name[..at], part.parse().ok()?, &name[at + part.len()..]))
    });
    match which {
        Number::First => parts.next(),
        Number::Last => parts.last(),
    }
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

    #[test]
    fn experts_in_a_row_are_ranges_within_ranges() {
        let mut differences = Differences::default();
        for layer in 0..6 {
            differences.push(&format!("l.{layer}.norm"), "is missing".to_owned());
            for expert in 0..300 {
                differences.push(&format!("l.{layer}.experts.{expert}.up"), "is missing".to_owned());
            }
        }
        differences.push("l.6.experts.7.up", "is missing".to_owned());
        assert_eq!(
            differences.lines(),
            [
                "`l.{0..5}.norm` is missing",
                "`l.{0..5}.experts.{0..6}.up` is missing",
                "`l.{0..5}.experts.{8..299}.up` is missing",
                "`l.{0..6}.experts.7.up` is missing",
            ]
        );
    }

    #[test]
    fn what_a_hostile_config_lacks_is_cut_and_says_so() {
        let mut differences = Differences::default();
        let mut layer = 0;
        while !differences.is_full() {
            differences.push(&format!("l.{layer}.a"), "is missing".to_owned());
            layer += 2;
        }
        differences.push("l.1.a", "is not kept".to_owned());
        let lines = differences.lines();
        assert_eq!(lines.len(), MOST_LINES + 1);
        assert_eq!(lines[MOST_LINES], "and more: these are the first 65,536");
    }
}
