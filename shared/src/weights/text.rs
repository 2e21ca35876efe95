//! Text from a file, made fit for a message.

use std::fmt::Display;

use super::WeightsProblem;

/// Longer than any tensor's name in the field.
const MAX_NAME_BYTES: usize = 512;
const MAX_CHARS: usize = 300;

/// A text on one line, cut where it is longer than a message should be.
pub(super) fn one_line(text: impl Display) -> String {
    let text = text.to_string();
    let mut chars = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut line: String = chars.by_ref().take(MAX_CHARS).collect();
    if chars.next().is_some() {
        line.push('…');
    }
    line
}

/// Refuses a tensor's name that could not stand in a message.
pub(super) fn check_name(name: &str) -> Result<(), WeightsProblem> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains(char::is_control) {
        let what = format!(
            "a tensor's name has {} bytes or unprintable characters: `{}`",
            name.len(),
            one_line(name.escape_debug())
        );
        return Err(WeightsProblem::Corrupt(what));
    }
    Ok(())
}
