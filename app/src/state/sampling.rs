//! The playground's settings, as they are typed.

use serde::{Deserialize, Serialize};

use crate::api::chat::Sampling;
use crate::text::playground as words;

/// What stands in the fields; an empty one is left to the server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Typed {
    /// A number from 0 to 2.
    pub temperature: String,
    /// A number from 0 to 1.
    pub top_p: String,
    /// A whole number above 0.
    pub max_tokens: String,
    /// A whole number.
    pub seed: String,
    /// What stands before the conversation.
    pub system: String,
}

/// A field of the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Temperature.
    Temperature,
    /// Share of probability.
    TopP,
    /// Longest answer.
    MaxTokens,
    /// Seed.
    Seed,
}

impl Field {
    /// In the order of the form.
    pub const ALL: [Self; 4] = [Self::Temperature, Self::TopP, Self::MaxTokens, Self::Seed];
}

fn number(text: &str, range: std::ops::RangeInclusive<f64>) -> Option<f64> {
    text.parse().ok().filter(|number| range.contains(number))
}

impl Typed {
    /// What stands in a field.
    #[must_use]
    pub fn of(&self, field: Field) -> &str {
        match field {
            Field::Temperature => &self.temperature,
            Field::TopP => &self.top_p,
            Field::MaxTokens => &self.max_tokens,
            Field::Seed => &self.seed,
        }
    }

    /// Puts a text into a field.
    pub fn set(&mut self, field: Field, text: String) {
        *match field {
            Field::Temperature => &mut self.temperature,
            Field::TopP => &mut self.top_p,
            Field::MaxTokens => &mut self.max_tokens,
            Field::Seed => &mut self.seed,
        } = text;
    }

    /// Why a field's text cannot be sent; the ranges are those of `/v1`.
    #[must_use]
    pub fn problem(&self, field: Field) -> Option<&'static str> {
        let text = self.of(field).trim();
        let is_good = text.is_empty()
            || match field {
                Field::Temperature => number(text, 0.0..=2.0).is_some(),
                Field::TopP => number(text, 0.0..=1.0).is_some(),
                Field::MaxTokens => text.parse::<u32>().is_ok_and(|count| count > 0),
                Field::Seed => text.parse::<u64>().is_ok(),
            };
        (!is_good).then(|| words::expected(field))
    }

    /// What is sent; `None` where a field is wrong.
    #[must_use]
    pub fn sampling(&self) -> Option<Sampling> {
        if Field::ALL.into_iter().any(|field| self.problem(field).is_some()) {
            return None;
        }
        let text = |field| self.of(field).trim();
        Some(Sampling {
            temperature: text(Field::Temperature).parse().ok(),
            top_p: text(Field::TopP).parse().ok(),
            max_tokens: text(Field::MaxTokens).parse().ok(),
            seed: text(Field::Seed).parse().ok(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_bindgen_test::wasm_bindgen_test;

    #[wasm_bindgen_test(unsupported = test)]
    fn what_is_typed_is_sent_or_refused() {
        assert_eq!(Typed::default().sampling(), Some(Sampling::default()));
        let mut typed = Typed::default();
        for (field, good, bad) in [
            (Field::Temperature, "0.7", "2.1"),
            (Field::TopP, " 0.9 ", "-1"),
            (Field::MaxTokens, "64", "0"),
            (Field::Seed, "7", "1.5"),
        ] {
            typed.set(field, bad.to_owned());
            assert!(typed.problem(field).is_some() && typed.sampling().is_none(), "{bad}");
            typed.set(field, good.to_owned());
            assert_eq!(typed.problem(field), None, "{good}");
        }
        let sent = Sampling { temperature: Some(0.7), top_p: Some(0.9), max_tokens: Some(64), seed: Some(7) };
        assert_eq!(typed.sampling(), Some(sent));
    }
}
