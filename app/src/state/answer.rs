//! One question and its answer, as it comes: pure, so that any order of pieces can be tested.

use phi3::api::{ErrorObject, Turn};
use serde::{Deserialize, Serialize};

use crate::api::chat::{Piece, Usage};

/// How an answer came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The model said so: a stop id came.
    Stop,
    /// At the limit of tokens.
    Length,
    /// It was stopped from this page.
    Here,
    /// The server ended it.
    There,
    /// The connection broke, or the server gave an error.
    Broken,
}

/// One question and what was answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exchange {
    /// What was asked.
    pub question: String,
    /// The text so far.
    pub text: String,
    /// How it ended; `None` while it goes on.
    pub end: Option<End>,
    /// Tokens, as the server counts them at the end.
    pub usage: Option<Usage>,
    /// Why it broke off.
    pub error: Option<ErrorObject>,
    /// Pieces of text: one a token, less those that show no text yet.
    pieces: u64,
    first_ms: Option<f64>,
    last_ms: f64,
}

impl Exchange {
    /// A question that is sent now; times are counted from here.
    #[must_use]
    pub fn new(question: String) -> Self {
        Self {
            question,
            text: String::new(),
            end: None,
            usage: None,
            error: None,
            pieces: 0,
            first_ms: None,
            last_ms: 0.0,
        }
    }

    /// Takes a piece that came `ms` after the question was sent.
    pub fn hear(&mut self, piece: Piece, ms: f64) {
        match piece {
            Piece::Text(text) => {
                self.text.push_str(&text);
                self.pieces += 1;
                self.first_ms.get_or_insert(ms);
                self.last_ms = ms;
            }
            Piece::Ended(reason) => {
                self.last_ms = ms;
                self.end = Some(match reason.as_str() {
                    "stop" => End::Stop,
                    "length" => End::Length,
                    _ => End::There,
                });
            }
            Piece::Usage(usage) => self.usage = Some(usage),
            Piece::Failed(error) => self.fail(error),
        }
    }

    /// It broke off.
    pub fn fail(&mut self, error: ErrorObject) {
        self.error = Some(error);
        self.end = Some(End::Broken);
    }

    /// Nothing more comes.
    pub fn close(&mut self, end: End) {
        self.end.get_or_insert(end);
    }

    /// From the question to the first text, as it is seen here.
    #[must_use]
    pub fn ttft_ms(&self) -> Option<f64> {
        self.first_ms
    }

    /// Tokens of the answer, and whether the server counted them.
    #[must_use]
    pub fn tokens(&self) -> (u64, bool) {
        self.usage.map_or((self.pieces, false), |usage| (usage.completion_tokens, true))
    }

    /// Tokens a second after the first; `None` until it can be told.
    #[must_use]
    pub fn tokens_per_s(&self) -> Option<f64> {
        let seconds = (self.last_ms - self.first_ms?) / 1e3;
        let after_first = self.tokens().0.checked_sub(1).filter(|tokens| *tokens > 0)?;
        (seconds > 0.0).then(|| after_first as f64 / seconds)
    }
}

/// What the model is sent: the conversation so far and a new question. An exchange without an answer is left out, since
/// chat templates want question and answer in turn.
#[must_use]
pub fn turns(system: &str, before: &[Exchange], question: &str) -> Vec<Turn> {
    let turn = |role: &str, content: &str| Turn { role: role.to_owned(), content: content.to_owned() };
    let system = Some(system.trim()).filter(|s| !s.is_empty()).map(|s| turn("system", s));
    let answered = before.iter().filter(|exchange| !exchange.text.is_empty());
    let pairs = answered
        .flat_map(|e| [turn("user", &e.question), turn("assistant", e.text.trim_end_matches('\u{fffd}'))]);
    system.into_iter().chain(pairs).chain([turn("user", question)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_bindgen_test::wasm_bindgen_test;

    fn text(words: &str) -> Piece {
        Piece::Text(words.to_owned())
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn times_and_rates_are_those_of_the_pieces() {
        let mut answer = Exchange::new("q".to_owned());
        assert_eq!((answer.ttft_ms(), answer.tokens_per_s()), (None, None));
        answer.hear(text("a"), 100.0);
        assert_eq!((answer.ttft_ms(), answer.tokens_per_s()), (Some(100.0), None));
        answer.hear(text("b"), 200.0);
        answer.hear(text("c"), 300.0);
        assert_eq!(answer.tokens_per_s(), Some(10.0));
        // The server counts tokens that show no text too.
        answer.hear(Piece::Ended("length".to_owned()), 300.0);
        answer.hear(Piece::Usage(Usage { prompt_tokens: 4, completion_tokens: 5 }), 301.0);
        assert_eq!((answer.tokens(), answer.tokens_per_s()), ((5, true), Some(20.0)));
        answer.close(End::Broken);
        assert_eq!((answer.end, answer.text.as_str()), (Some(End::Length), "abc"));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn the_model_is_sent_question_and_answer_in_turn() {
        let mut good = Exchange::new("one".to_owned());
        good.hear(text("1"), 1.0);
        let failed = Exchange::new("two".to_owned());
        let sent = turns("  ", &[good.clone(), failed], "three");
        let said: Vec<_> = sent.iter().map(|t| (t.role.as_str(), t.content.as_str())).collect();
        assert_eq!(said, [("user", "one"), ("assistant", "1"), ("user", "three")]);
        assert_eq!(turns("be brief", &[good], "x")[0].role, "system");
    }
}
