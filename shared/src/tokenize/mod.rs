//! Text to ids and back: `tokenizer.json`, streaming decode, the chat template, the stop set.
//!
//! Everything is taken from the model's own files; no model's name decides anything. Files arrive as bytes.

mod error;
mod growth;
mod jinja;
mod special;
mod stream;
mod template;
mod time;

pub use error::TokenizerError;
pub use stream::TextStream;
pub use template::{ChatMessage, ChatTemplate, Rendering};

use std::rc::Rc;

use error::short_line;
use special::SpecialTokens;

use crate::config::{GenerationConfig, ModelConfig};
use crate::weights::no_json;

/// The files of a tokenizer, as far as they are there.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokenizerFiles<'a> {
    /// `tokenizer.json`; required.
    pub tokenizer: &'a [u8],
    /// `tokenizer_config.json`: special tokens, chat template.
    pub tokenizer_config: Option<&'a [u8]>,
    /// `special_tokens_map.json`; what `tokenizer_config.json` says wins.
    pub special_tokens_map: Option<&'a [u8]>,
    /// `chat_template.jinja`; wins over the template in `tokenizer_config.json`, as in Hugging Face.
    pub chat_template: Option<&'a [u8]>,
}

/// A model's tokenizer and chat template.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    special: SpecialTokens,
    template: Option<ChatTemplate>,
    /// The bos id where [`Tokenizer::set_add_bos`] overrides the post-processor.
    bos_override: Option<Option<u32>>,
    /// Longest text that is split.
    max_text_bytes: u64,
}

impl Tokenizer {
    /// Reads the files.
    ///
    /// # Errors
    /// A file that is empty, no JSON or no tokenizer, or that would make gigabytes of a text; each error names the
    /// file.
    pub fn load(files: &TokenizerFiles<'_>) -> Result<Self, TokenizerError> {
        let file = "tokenizer.json";
        if files.tokenizer.trim_ascii().is_empty() {
            return Err(TokenizerError::Invalid { file, message: "it is empty".to_owned() });
        }
        if let Some(message) = no_json(files.tokenizer) {
            return Err(TokenizerError::Invalid { file, message });
        }
        let max_text_bytes = growth::longest_text(file, files.tokenizer)?;
        let mut inner = guarded(|| tokenizers::Tokenizer::from_bytes(files.tokenizer))
            .map_err(|message| TokenizerError::Invalid { file, message })?;
        // What a file was saved with for training is not meant for prompts: batches of one length, merges left to chance.
        if let tokenizers::ModelWrapper::BPE(bpe) = inner.get_model()
            && bpe.dropout.is_some()
        {
            let mut bpe = bpe.clone();
            bpe.dropout = None;
            inner.with_model(bpe);
        }
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|error| TokenizerError::Invalid { file, message: short_line(&error.to_string()) })?;
        let special = SpecialTokens::read(files)?;
        let template = special.chat_template(files)?.map(ChatTemplate::new);
        Ok(Self { inner, special, template, bos_override: None, max_text_bytes })
    }

    /// Refuses texts that no model of so many positions can take, before they are split: a token of more than
    /// 64 bytes is rare.
    pub fn limit_to(&mut self, positions: usize) {
        self.max_text_bytes = self.max_text_bytes.min((64 * positions as u64).max(4096));
    }

    /// Overrides whether a text starts with the bos id (`add_bos_token`); the rest of the post-processor is then
    /// not applied.
    ///
    /// # Errors
    /// The files name no bos token, or one that the vocabulary has not.
    pub fn set_add_bos(&mut self, add: bool) -> Result<(), TokenizerError> {
        let bos = match (add, self.special.bos()) {
            (false, _) => None,
            (true, Some(token)) => {
                let id = self.inner.token_to_id(token);
                Some(id.ok_or_else(|| {
                    TokenizerError::NoBosToken(format!("`{token}` is not in the vocabulary"))
                })?)
            }
            (true, None) => return Err(TokenizerError::NoBosToken("no file names one".to_owned())),
        };
        self.bos_override = Some(bos);
        Ok(())
    }

    /// Replaces the chat template.
    pub fn set_chat_template(&mut self, source: impl Into<String>) {
        self.template = Some(ChatTemplate::new(source.into()));
    }

    /// Ids of a text as it stands; the post-processor applies. Special tokens written out in it are recognised.
    ///
    /// # Errors
    /// What the tokenizer itself reports.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        match self.bos_override {
            None => self.encode_with(text, true),
            Some(bos) => {
                let mut ids: Vec<u32> = bos.into_iter().collect();
                ids.extend(self.encode_with(text, false)?);
                Ok(ids)
            }
        }
    }

    /// Ids of a conversation: the chat template's text, to which nothing is added.
    ///
    /// # Errors
    /// No template, one that fails, or what the tokenizer itself reports.
    pub fn encode_chat(
        &self,
        messages: &[ChatMessage],
        add_generation_prompt: bool,
    ) -> Result<Vec<u32>, TokenizerError> {
        self.encode_rendered(&self.chat_text(messages, add_generation_prompt)?)
    }

    /// Ids of what a [`Rendering`] gave.
    ///
    /// # Errors
    /// What the tokenizer itself reports.
    pub fn encode_rendered(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        self.encode_with(text, false)
    }

    /// The chat template's text for a conversation, rendered here.
    ///
    /// # Errors
    /// No template, or one that fails or exceeds its limits.
    pub fn chat_text(
        &self,
        messages: &[ChatMessage],
        add_generation_prompt: bool,
    ) -> Result<String, TokenizerError> {
        self.rendering(messages, add_generation_prompt)?.run()
    }

    /// A conversation and the chat template, not rendered yet.
    ///
    /// # Errors
    /// No template.
    pub fn rendering(
        &self,
        messages: &[ChatMessage],
        add_generation_prompt: bool,
    ) -> Result<Rendering, TokenizerError> {
        let template = self.template.as_ref().ok_or(TokenizerError::NoChatTemplate)?;
        Ok(Rendering {
            template: template.source().to_owned(),
            messages: messages.to_vec(),
            add_generation_prompt,
            special: self.special.all().clone(),
            unix_seconds: crate::platform::unix_seconds(),
        })
    }

    /// The text of ids; special tokens are left out or written out.
    ///
    /// # Errors
    /// What the tokenizer itself reports. Ids without a token are passed over.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, TokenizerError> {
        guarded(|| self.inner.decode(ids, skip_special_tokens)).map_err(TokenizerError::Decode)
    }

    /// A decoder for ids that arrive one at a time.
    #[must_use]
    pub fn stream(&self, skip_special_tokens: bool) -> TextStream<&Self> {
        TextStream::new(self, skip_special_tokens)
    }

    /// The same for one that outlives this borrow.
    #[must_use]
    pub fn shared_stream(self: &Rc<Self>, skip_special_tokens: bool) -> TextStream<Rc<Self>> {
        TextStream::new(Rc::clone(self), skip_special_tokens)
    }

    /// One past the highest id.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab(true).values().max().map_or(0, |id| *id as usize + 1)
    }

    /// Checks that every id has a row in the model's embedding. A smaller vocabulary is usual: rows are padded.
    ///
    /// # Errors
    /// The highest id that has none, with its token.
    pub fn check_vocab(&self, config: &ModelConfig) -> Result<(), TokenizerError> {
        match self.inner.get_vocab(true).into_iter().max_by_key(|(_, id)| *id) {
            Some((token, id)) if id as usize >= config.vocab_size => {
                Err(TokenizerError::VocabTooLarge { token, id, vocab_size: config.vocab_size })
            }
            _ => Ok(()),
        }
    }

    fn encode_with(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, TokenizerError> {
        let (bytes, limit) = (text.len() as u64, self.max_text_bytes);
        if bytes > limit {
            return Err(TokenizerError::TextTooLong { bytes, limit });
        }
        let encoding = guarded(|| self.inner.encode_fast(text, add_special_tokens));
        let encoding = encoding.map_err(TokenizerError::Encode)?;
        Ok(encoding.get_ids().to_vec())
    }
}

/// What the library says, on one line; its panics too, where panics unwind: some files make it index past an end.
fn guarded<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    // It is asked through shared references and keeps nothing of a call that failed.
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| in_words(&error.to_string())),
        Err(_panic) => Err("the tokenizer's own steps do not work on this text".to_owned()),
    }
}

/// What the library says, in a line. Of a part of a kind that it has not it names its own types.
fn in_words(error: &str) -> String {
    match error.split_once("untagged enum ") {
        Some((_, rest)) => {
            let part = rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
            let part = part.trim_end_matches("Untagged").trim_end_matches("Wrapper");
            format!("its {part} is of a kind that is not known here, or a value of it is not")
        }
        None => short_line(error),
    }
}

/// Ids that end a generation: those of `generation_config.json` where it names any, else those of `config.json`,
/// as in Hugging Face.
#[must_use]
pub fn stop_ids(config: &ModelConfig, generation: Option<&GenerationConfig>) -> Vec<u32> {
    let named = generation.map(|generation| &generation.eos_token_ids).filter(|ids| !ids.is_empty());
    named.unwrap_or(&config.eos_token_ids).clone()
}

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod pre_tokenizer_tests;
#[cfg(test)]
mod tests;
