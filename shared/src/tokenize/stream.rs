//! Text from ids that arrive one at a time.

use std::ops::Deref;

use super::{Tokenizer, TokenizerError};

/// What a decoder writes for bytes that are no (or not yet a) character.
const REPLACEMENT: char = '\u{fffd}';
/// Bytes that can still become one character, each perhaps a replacement character by itself.
const MOST_HELD: usize = 3;
/// Tokens looked back for one that decodes to whole characters by itself.
const MOST_CONTEXT: usize = 8;

/// Turns ids into text as they come, holding back characters whose bytes are not complete.
///
/// Only a few ids are decoded at each step, and no text is ever tokenized again. The pieces, joined and finished,
/// are what [`Tokenizer::decode`] makes of all ids at once; only where a model breaks a character off in the middle
/// may the number of replacement characters differ. It borrows its tokenizer, or shares in it.
#[derive(Debug, Clone)]
pub struct TextStream<T> {
    tokenizer: T,
    skip_special_tokens: bool,
    /// The ids that the next piece depends on.
    window: Vec<u32>,
    /// Ids at the front of `window` whose text is sent in full.
    done: usize,
    /// The text of `window` that is sent.
    sent: String,
}

impl<T: Deref<Target = Tokenizer>> TextStream<T> {
    pub(super) fn new(tokenizer: T, skip_special_tokens: bool) -> Self {
        Self { tokenizer, skip_special_tokens, window: Vec::new(), done: 0, sent: String::new() }
    }

    /// Takes an id and gives the text that has become certain; often one word, sometimes nothing.
    ///
    /// # Errors
    /// What the tokenizer itself reports.
    pub fn push(&mut self, id: u32) -> Result<String, TokenizerError> {
        self.window.push(id);
        let mut text = self.decode(&self.window)?;
        if !text.starts_with(&self.sent) {
            // Bytes that were a character stand in a run that is none any more: what is sent stays sent.
            self.window.drain(..self.done);
            self.done = 0;
            self.sent.clear();
            text = self.decode(&self.window)?;
        }
        let fresh = &text[self.sent.len()..];
        let held = fresh.chars().rev().take(MOST_HELD).take_while(|c| *c == REPLACEMENT).count();
        let piece = fresh[..fresh.len() - held * REPLACEMENT.len_utf8()].to_owned();
        self.sent.push_str(&piece);
        if held == 0 {
            self.done = self.window.len();
            self.forget()?;
        }
        Ok(piece)
    }

    /// The text still held back; nothing, unless the ids end within a character.
    ///
    /// # Errors
    /// What the tokenizer itself reports.
    pub fn finish(self) -> Result<String, TokenizerError> {
        let text = self.decode(&self.window)?;
        Ok(text.strip_prefix(self.sent.as_str()).unwrap_or_default().to_owned())
    }

    /// Shrinks the window to the last ids that decode to whole characters: what follows needs no more, and without
    /// any a decoder would take the next word for the first one and strip its space.
    fn forget(&mut self) -> Result<(), TokenizerError> {
        for count in 1..=MOST_CONTEXT.min(self.window.len()) {
            let context = &self.window[self.window.len() - count..];
            let text = self.decode(context)?;
            if !text.is_empty() && !text.contains(REPLACEMENT) {
                self.window.drain(..self.window.len() - count);
                self.done = count;
                self.sent = text;
                break;
            }
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn window_len(&self) -> usize {
        self.window.len()
    }

    fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        self.tokenizer.decode(ids, self.skip_special_tokens)
    }
}
