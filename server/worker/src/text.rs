//! Prompts to ids and ids to text; of a model without a tokenizer, ids alone.

use std::rc::Rc;

use phi3::api::worker::PromptSource;
use phi3::api::{ErrorObject, PromptInput, Turn};
use phi3::config::{GenerationConfig, ModelConfig};
use phi3::engine::check_tokens;
use phi3::load_config::LoadConfig;
use phi3::tokenize::{self, ChatMessage, TextStream, Tokenizer, TokenizerError, TokenizerFiles};
use preflight_files::{FilesError, Model};

use crate::template;

/// The default prompt is the beginning of this.
const DEFAULT_PROMPT: &str =
    "The days of the week are Monday, Tuesday, Wednesday, Thursday, Friday, Saturday and Sunday.";

/// Ids of the default prompt.
const DEFAULT_TOKENS: usize = 10;

/// What probes repeat.
const FILLER: &str = "Rain fell on the harbour all night. In the morning the boats went out, one after \
    another, and the old men on the pier counted them: nineteen, twenty, twenty-one. ";

/// The text side of a model.
pub(crate) struct Text {
    tokenizer: Option<Rc<Tokenizer>>,
    bos: Option<u32>,
    vocab_size: usize,
    stop_ids: Vec<u32>,
}

impl Text {
    /// Reads the tokenizer and the stop set from the model's files.
    pub(crate) fn open(
        model: &Model,
        config: &ModelConfig,
        overrides: &LoadConfig,
    ) -> Result<Self, ErrorObject> {
        let generation = match model.companion("generation_config.json")? {
            Some(json) => {
                let file = "generation_config.json".to_owned();
                Some(GenerationConfig::parse(&json).map_err(|error| FilesError::Config { file, error })?)
            }
            None => None,
        };
        let tokenizer = match model.companion("tokenizer.json")? {
            Some(json) => Some(Rc::new(load(model, config, overrides, &json)?)),
            None => None,
        };
        let stop_ids = tokenize::stop_ids(config, generation.as_ref());
        Ok(Self { tokenizer, bos: config.bos_token_id, vocab_size: config.vocab_size, stop_ids })
    }

    /// Of a model without a tokenizer and without ids that end a generation.
    #[cfg(test)]
    pub(crate) fn none(vocab_size: usize) -> Self {
        Self { tokenizer: None, bos: None, vocab_size, stop_ids: Vec::new() }
    }

    /// Ids that end a generation.
    pub(crate) fn stop_ids(&self) -> &[u32] {
        &self.stop_ids
    }

    /// Ids of a prompt; at least one.
    pub(crate) fn prompt(&self, source: &PromptSource) -> Result<Vec<u32>, ErrorObject> {
        let ids = match (&self.tokenizer, source) {
            (Some(tokenizer), PromptSource::Default) => {
                let mut ids = tokenizer.encode(DEFAULT_PROMPT).map_err(|error| refused(&error))?;
                ids.truncate(DEFAULT_TOKENS);
                ids
            }
            (Some(tokenizer), PromptSource::Text(text)) => {
                tokenizer.encode(text).map_err(|error| refused(&error))?
            }
            (Some(tokenizer), PromptSource::Chat(text)) => {
                self.rendered(tokenizer, &[ChatMessage::user(text)])?
            }
            (None, PromptSource::Default) => self.made_up(DEFAULT_TOKENS),
            (None, _) => return Err(no_tokenizer("leave the prompt out to run it on made-up ids")),
        };
        match ids.is_empty() {
            true => Err(empty_prompt()),
            false => Ok(ids),
        }
    }

    /// Ids of a text that probes repeat.
    pub(crate) fn filler(&self) -> Result<Vec<u32>, ErrorObject> {
        let Some(tokenizer) = &self.tokenizer else { return Ok(self.made_up(64)) };
        let mut ids = tokenizer.encode(FILLER).map_err(|error| refused(&error))?;
        // In the middle of a text it would begin a new one.
        ids.retain(|id| Some(*id) != self.bos);
        Ok(if ids.is_empty() { self.made_up(64) } else { ids })
    }

    /// A decoder for ids that arrive one at a time.
    pub(crate) fn stream(&self) -> Stream {
        let inner = self.tokenizer.as_ref().map(|tokenizer| tokenizer.shared_stream(true));
        Stream { inner, failed: None }
    }

    /// A token's text by itself; empty where it has none.
    pub(crate) fn of_token(&self, id: u32) -> String {
        let text = self.tokenizer.as_ref().and_then(|tokenizer| tokenizer.decode(&[id], false).ok());
        text.unwrap_or_default()
    }

    /// Ids of a stream's prompt; at least one.
    pub(crate) fn prompt_of(&self, input: &PromptInput) -> Result<Vec<u32>, ErrorObject> {
        let ids = match (input, &self.tokenizer) {
            (PromptInput::Ids(ids), _) => ids.clone(),
            (PromptInput::Text(text), Some(tokenizer)) => {
                tokenizer.encode(text).map_err(|error| refused(&error))?
            }
            (PromptInput::Chat(turns), Some(tokenizer)) => {
                let turn =
                    |turn: &Turn| ChatMessage { role: turn.role.clone(), content: turn.content.clone() };
                self.rendered(tokenizer, &turns.iter().map(turn).collect::<Vec<_>>())?
            }
            (_, None) => {
                return Err(no_tokenizer(
                    "give /v1/completions token ids as the prompt, or put tokenizer.json beside the weights and load it anew",
                ));
            }
        };
        if ids.is_empty() {
            return Err(empty_prompt());
        }
        check_tokens(&ids, self.vocab_size).map_err(|error| ErrorObject::from(&error))?;
        Ok(ids)
    }

    fn rendered(&self, tokenizer: &Tokenizer, messages: &[ChatMessage]) -> Result<Vec<u32>, ErrorObject> {
        let rendering = tokenizer.rendering(messages, true).map_err(|error| refused(&error))?;
        tokenizer.encode_rendered(&template::render(&rendering)?).map_err(|error| refused(&error))
    }

    /// What a report must say of its text, if anything.
    pub(crate) fn note(&self) -> Option<&'static str> {
        self.tokenizer
            .is_none()
            .then_some("no tokenizer: made-up ids stand in for the prompt, and there is no text")
    }

    /// The same ids each time, spread over the vocabulary.
    fn made_up(&self, count: usize) -> Vec<u32> {
        // Steps of the golden ratio never come back to the same place soon.
        (1..=count)
            .map(|i| (i as f64 * 0.618_033_988_75).fract())
            .map(|x| (x * self.vocab_size as f64) as u32)
            .collect()
    }
}

fn no_tokenizer(instead: &str) -> ErrorObject {
    let message = format!("the model has no tokenizer.json, so a text cannot be encoded: {instead}");
    ErrorObject::new("no_tokenizer", message)
}

fn empty_prompt() -> ErrorObject {
    ErrorObject::new("empty_prompt", "the prompt is empty: at least one token is needed")
}

/// Text as it becomes certain; empty without a tokenizer.
pub(crate) struct Stream {
    inner: Option<TextStream<Rc<Tokenizer>>>,
    failed: Option<TokenizerError>,
}

impl Stream {
    /// Takes an id and gives the text that has become certain.
    pub(crate) fn push(&mut self, id: u32) -> String {
        let pushed = self.inner.as_mut().map(|inner| inner.push(id));
        self.keep(pushed)
    }

    /// Gives what was held back.
    pub(crate) fn finish(&mut self) -> String {
        let finished = self.inner.take().map(TextStream::finish);
        self.keep(finished)
    }

    /// The first failure, if there was one; told once.
    pub(crate) fn failed(&mut self) -> Result<(), ErrorObject> {
        self.failed.take().map_or(Ok(()), |error| Err(refused(&error)))
    }

    fn keep(&mut self, result: Option<Result<String, TokenizerError>>) -> String {
        result
            .transpose()
            .unwrap_or_else(|error| {
                self.failed.get_or_insert(error);
                None
            })
            .unwrap_or_default()
    }
}

fn load(
    model: &Model,
    config: &ModelConfig,
    overrides: &LoadConfig,
    json: &[u8],
) -> Result<Tokenizer, ErrorObject> {
    let tokenizer_config = model.companion("tokenizer_config.json")?;
    let special_tokens_map = model.companion("special_tokens_map.json")?;
    let chat_template = model.companion("chat_template.jinja")?;
    let files = TokenizerFiles {
        tokenizer: json,
        tokenizer_config: tokenizer_config.as_deref(),
        special_tokens_map: special_tokens_map.as_deref(),
        chat_template: chat_template.as_deref(),
    };
    let mut tokenizer = Tokenizer::load(&files).map_err(|error| refused(&error))?;
    tokenizer.limit_to(config.max_position_embeddings);
    tokenizer.check_vocab(config).map_err(|error| refused(&error))?;
    if let Some(add) = overrides.add_bos_token {
        tokenizer.set_add_bos(add).map_err(|error| refused(&error))?;
    }
    if let Some(template) = &overrides.chat_template {
        tokenizer.set_chat_template(template);
    }
    Ok(tokenizer)
}

fn refused(error: &TokenizerError) -> ErrorObject {
    let object = ErrorObject::new(error.code(), error.to_string());
    match error {
        TokenizerError::Invalid { file, .. } => object.at(*file),
        TokenizerError::VocabTooLarge { .. } => object.at("tokenizer.json"),
        TokenizerError::NoBosToken(_) => object.at("add_bos_token"),
        _ => object,
    }
}
