//! Text from a file, made fit for a message.

use std::fmt::{self, Display, Write};

use super::WeightsProblem;

/// Longer than any tensor's name in the field.
const MAX_NAME_BYTES: usize = 512;
const MAX_CHARS: usize = 300;

/// A text on one line, cut where it is longer than a message should be; the rest is not even made.
pub(super) fn one_line(text: impl Display) -> String {
    let mut line = Line { text: String::new(), chars: 0 };
    // Fails where it is full.
    let _full = write!(line, "{text}");
    line.text
}

struct Line {
    text: String,
    chars: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if self.chars == MAX_CHARS {
                self.text.push('…');
                return Err(fmt::Error);
            }
            self.chars += 1;
            self.text.push(if c.is_control() { ' ' } else { c });
        }
        Ok(())
    }
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
