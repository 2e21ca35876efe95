//! `generation_config.json`: how the authors meant the model to be run.

use super::{ConfigError, Fields};

/// The fields of `generation_config.json` that are used; all may be absent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GenerationConfig {
    /// Ids that end a generation. For Phi-3 the only complete list: `config.json` names one of three.
    pub eos_token_ids: Vec<u32>,
    /// Id put before a prompt, where the tokenizer does so.
    pub bos_token_id: Option<u32>,
    /// Id of padding.
    pub pad_token_id: Option<u32>,
    /// Recommended sampling, if any.
    pub do_sample: Option<bool>,
    /// Recommended temperature, above 0.
    pub temperature: Option<f64>,
    /// Recommended nucleus mass, in (0, 1].
    pub top_p: Option<f64>,
}

impl GenerationConfig {
    /// Parses `generation_config.json`.
    ///
    /// # Errors
    /// As [`Fields::parse`], or a field of the wrong type.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        let fields = Fields::parse(bytes)?;
        Ok(Self {
            eos_token_ids: fields.token_ids("eos_token_id")?,
            bos_token_id: fields.token_ids("bos_token_id")?.first().copied(),
            pad_token_id: fields.token_ids("pad_token_id")?.first().copied(),
            do_sample: fields.flag("do_sample")?,
            temperature: fields.number("temperature", 0.0, 1e3)?,
            top_p: fields.number("top_p", 0.0, 1.0)?,
        })
    }
}
