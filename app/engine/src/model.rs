//! A model that is ready to be loaded: config, tokenizer, prompt, headers of the weights.

use phi3::api::{BrowserRun, BrowserSource, ErrorObject};
use phi3::config::{ConfigError, Fields, GenerationConfig, ModelConfig};
use phi3::dtype::DType;
use phi3::tokenize::{TextStream, Tokenizer, TokenizerError, TokenizerFiles, stop_ids};
use phi3::validate;
use phi3::weights::Checkpoint;
use phi3::weights::synthetic::synthetic_files;
use web_sys::File;

use crate::files::{Files, Weights, refused};
use crate::kept;

/// Seed of made-up weights.
const SEED: u64 = 1;
const TOKENIZER: &str = "tokenizer.json";

pub(super) struct Model {
    pub(super) config: ModelConfig,
    pub(super) checkpoint: Checkpoint<Weights>,
    pub(super) prompt: Vec<u32>,
    pub(super) stop_ids: Vec<u32>,
    /// Whether weights mean nothing: only speed and size are the model's.
    pub(super) is_made_up: bool,
    tokenizer: Option<Tokenizer>,
}

impl Model {
    /// Opens what a run names.
    pub(super) async fn open(run: &BrowserRun, chosen: Vec<File>) -> Result<Self, ErrorObject> {
        let files = match &run.source {
            BrowserSource::MadeUp { config, prompt_tokens } => {
                return Self::made_up(config, *prompt_tokens).await;
            }
            BrowserSource::Fetched { base } => Files::Below(base.clone()),
            BrowserSource::Chosen => Files::Chosen(chosen),
            BrowserSource::Kept { id } => Files::Chosen(kept::open(id).await?),
        };
        let mut model = Self::of_files(&files).await?;
        model.continue_from(run.prompt.as_deref())?;
        Ok(model)
    }

    /// Takes another prompt; `None`: the default one.
    pub(super) fn continue_from(&mut self, prompt: Option<&str>) -> Result<(), ErrorObject> {
        let Some(tokenizer) = &self.tokenizer else { return Ok(()) };
        let ids = tokenizer.encode(prompt.unwrap_or(validate::DEFAULT_PROMPT));
        let mut ids = ids.map_err(|error| of_tokenizer(&error))?;
        if prompt.is_none() {
            ids.truncate(validate::DEFAULT_TOKENS);
        }
        if ids.is_empty() {
            return Err(
                ErrorObject::new("empty_prompt", "the prompt has no tokens: write something").at("prompt")
            );
        }
        self.prompt = ids;
        Ok(())
    }

    async fn made_up(config: &str, prompt_tokens: Option<usize>) -> Result<Self, ErrorObject> {
        let config = ModelConfig::parse(config.as_bytes()).map_err(|error| invalid("config.json", &error))?;
        let files = synthetic_files(&config, SEED, DType::Bf16).map_err(|error| refused(&error))?;
        let files = files.into_iter().map(|(name, file)| (name, Weights::MadeUp(file))).collect();
        let checkpoint = Checkpoint::from_safetensors(files).await.map_err(|error| refused(&error))?;
        let count = prompt_tokens.unwrap_or(validate::DEFAULT_TOKENS);
        let ids = (1..=count).map(|i| (i * 37 % config.vocab_size) as u32);
        let prompt = ids.collect();
        Ok(Self { config, checkpoint, prompt, stop_ids: Vec::new(), is_made_up: true, tokenizer: None })
    }

    /// Without a prompt.
    async fn of_files(files: &Files) -> Result<Self, ErrorObject> {
        const CONFIG: &str = "config.json";
        const GENERATION: &str = "generation_config.json";
        let json = files.needed(CONFIG).await?;
        let fields = Fields::parse(&json).map_err(|error| invalid(CONFIG, &error))?;
        let config = ModelConfig::from_fields(&fields).map_err(|error| invalid(CONFIG, &error))?;
        let generation = match files.companion(GENERATION).await? {
            Some(json) => Some(GenerationConfig::parse(&json).map_err(|error| invalid(GENERATION, &error))?),
            None => None,
        };
        // The headers before the tokenizer: files that are cut are told at once.
        let checkpoint = files.checkpoint().await?;
        let tokenizer_json = files.needed(TOKENIZER).await?;
        let tokenizer_config = files.companion("tokenizer_config.json").await?;
        let special = match files {
            Files::Chosen(_) => files.companion("special_tokens_map.json").await?,
            // What most models lack, most hosts note on the console.
            Files::Below(_) => None,
        };
        let parts = TokenizerFiles {
            tokenizer: &tokenizer_json,
            tokenizer_config: tokenizer_config.as_deref(),
            special_tokens_map: special.as_deref(),
            ..TokenizerFiles::default()
        };
        let mut tokenizer = Tokenizer::load(&parts).map_err(|error| of_tokenizer(&error))?;
        tokenizer.limit_to(config.max_position_embeddings);
        tokenizer.check_vocab(&config).map_err(|error| of_tokenizer(&error))?;
        let stop_ids = stop_ids(&config, generation.as_ref());
        let (prompt, tokenizer) = (Vec::new(), Some(tokenizer));
        Ok(Self { config, checkpoint, prompt, stop_ids, is_made_up: false, tokenizer })
    }

    /// A decoder for ids that arrive one at a time.
    pub(super) fn text(&self) -> Text<'_> {
        let stream = self.tokenizer.as_ref().map(|tokenizer| tokenizer.stream(true));
        Text { stream, failed: None, stop_ids: &self.stop_ids, whole: String::new() }
    }

    /// A token's text by itself; empty where it has none.
    pub(super) fn of_token(&self, id: u32) -> String {
        let text = self.tokenizer.as_ref().and_then(|tokenizer| tokenizer.decode(&[id], false).ok());
        text.unwrap_or_default()
    }
}

/// The text of a run as it grows.
pub(super) struct Text<'a> {
    stream: Option<TextStream<&'a Tokenizer>>,
    failed: Option<TokenizerError>,
    stop_ids: &'a [u32],
    whole: String,
}

impl Text<'_> {
    /// What becomes readable with an id.
    pub(super) fn push(&mut self, id: u32) -> String {
        let stream = self.stream.as_mut().filter(|_| !self.stop_ids.contains(&id));
        let text = stream.map(|stream| stream.push(id)).transpose().unwrap_or_else(|error| {
            self.failed.get_or_insert(error);
            None
        });
        let text = text.unwrap_or_default();
        self.whole.push_str(&text);
        text
    }

    /// The whole of it.
    pub(super) fn finish(mut self) -> Result<String, ErrorObject> {
        let rest = match self.failed {
            Some(error) => Err(error),
            None => self.stream.map(TextStream::finish).transpose(),
        };
        let rest = rest.map_err(|error| ErrorObject::new(error.code(), error.to_string()))?;
        self.whole.push_str(&rest.unwrap_or_default());
        Ok(self.whole)
    }
}

fn of_tokenizer(error: &TokenizerError) -> ErrorObject {
    ErrorObject::new(error.code(), error.to_string()).at(TOKENIZER)
}

fn invalid(file: &str, error: &ConfigError) -> ErrorObject {
    ErrorObject::new(error.code(), format!("{file}: {error}")).at(file)
}
