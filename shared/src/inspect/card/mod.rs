//! What a model's card and the files beside its config tell: where it comes from, what it needs, how its authors mean
//! it to be run. Everything is read or quoted; what a card does not say is not made up.

mod front_matter;
mod hardware;
mod markdown;
mod python;
mod report;

pub use hardware::{HardwareKind, HardwareNote};
pub use report::{Card, CardSubject, FilePurpose, Origin, Recommended, RequiredFile};

use serde_json::{Map, Value};

/// Longest card that is read; real ones have 10 to 100 kB.
const MAX_CARD_BYTES: usize = 1 << 20;

/// Longest text that is taken over from a card.
const MAX_QUOTE_CHARS: usize = 400;

/// The facts of one `README.md`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CardFacts {
    /// `license` of the front matter; `other` has its name in `license_name`.
    pub license: Option<String>,
    /// `license_name` of the front matter.
    pub license_name: Option<String>,
    /// `base_model` of the front matter: one or several.
    pub base_model: Vec<String>,
    /// `pipeline_tag` of the front matter.
    pub pipeline_tag: Option<String>,
    /// `library_name` of the front matter.
    pub library_name: Option<String>,
    /// The literals of `generation_args = {…}` in a block of Python.
    pub generation_args: Map<String, Value>,
    /// `inference.parameters` of the front matter.
    pub inference: Vec<(String, Value)>,
    /// Sentences about the hardware that the model needs or was tested on.
    pub hardware: Vec<HardwareNote>,
}

impl CardFacts {
    /// Reads a card. Any text is one; it may just tell nothing. Of a longer one the first megabyte is read.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut end = text.len().min(MAX_CARD_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let (matter, body) = front_matter::split(&text[..end]);
        let inference = front_matter::inference(matter);
        let mut matter = front_matter::fields(matter);
        let mut first = |key: &str| matter.remove(key).and_then(|values| values.into_iter().next());
        let (license, license_name) = (first("license"), first("license_name"));
        let (pipeline_tag, library_name) = (first("pipeline_tag"), first("library_name"));
        let parts = markdown::parts(body);
        Self {
            license,
            license_name,
            pipeline_tag,
            library_name,
            base_model: matter.remove("base_model").unwrap_or_default(),
            generation_args: python::generation_args(&parts),
            inference,
            hardware: hardware::notes(&parts),
        }
    }
}

/// A text of a card on one line, cut where it is longer than a message should be.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
    let line = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_QUOTE_CHARS) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

#[cfg(test)]
mod tests;
