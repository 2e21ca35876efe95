//! The validated model: every number that the rest of the crate computes from.

use super::{ConfigError, Fields, OtherLayers, RopeScaling, limits, refuse_other_heads, refuse_other_layers};
use crate::dtype::DType;

/// A key that the file left out and the value that stands in for it: the default of Hugging Face's `Phi3Config`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defaulted(pub &'static str);

/// A `phi3` model as its config describes it. Public fields are validated by [`ModelConfig::parse`].
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the MLP; `gate_up_proj` has twice as many rows.
    pub intermediate_size: usize,
    /// Decoder layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads; divides `num_attention_heads`.
    pub num_key_value_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Share of `head_dim` that is rotated, in (0, 1].
    pub partial_rotary_factor: f64,
    /// Rows of the embedding, padding included.
    pub vocab_size: usize,
    /// Longest sequence the model is meant for.
    pub max_position_embeddings: usize,
    /// Longest sequence of the short rope factors.
    pub original_max_position_embeddings: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Scaling of the rotary frequencies.
    pub rope_scaling: RopeScaling,
    /// Visible keys of a query, itself included; `None` sees all.
    pub sliding_window: Option<usize>,
    /// Added to the mean square in RMSNorm.
    pub rms_norm_eps: f64,
    /// Whether the head reuses the embedding.
    pub tie_word_embeddings: bool,
    /// Format the authors stored the weights in.
    pub dtype: Option<DType>,
    /// Id put before a prompt.
    pub bos_token_id: Option<u32>,
    /// Ids that end a generation, as `config.json` names them.
    pub eos_token_ids: Vec<u32>,
    /// Id of padding.
    pub pad_token_id: Option<u32>,
    /// Keys that the file left out.
    pub defaulted: Vec<Defaulted>,
}

/// `model_type` of a config without judging the rest; `None` where it is absent.
fn model_type(fields: &Fields) -> Result<Option<&str>, ConfigError> {
    fields.text("model_type")
}

impl ModelConfig {
    /// Parses and validates `config.json`.
    ///
    /// # Errors
    /// [`ConfigError`], with the JSON path and the value found.
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        Self::from_fields(&Fields::parse(json)?)
    }

    /// Validates a parsed config.
    ///
    /// Absent keys take the defaults of transformers 5.23.0's `Phi3Config` and are listed in `defaulted`.
    ///
    /// # Errors
    /// [`ConfigError`], with the JSON path and the value found.
    pub fn from_fields(fields: &Fields) -> Result<Self, ConfigError> {
        match model_type(fields)? {
            Some("phi3") => {}
            Some(other) => return Err(ConfigError::UnknownArchitecture { model_type: other.to_owned() }),
            None => return Err(ConfigError::Missing { field: "model_type".to_owned() }),
        }
        refuse_other_heads(fields)?;
        refuse_other_layers(fields, OtherLayers::default())?;
        let key = "per_layer_config";
        if let Some(layers) = fields.object(key)?.filter(|layers| !layers.map().is_empty()) {
            return Err(ConfigError::UnknownLayers {
                field: key.to_owned(),
                found: format!("{} layers", layers.map().len()),
                reason: "all layers of phi3 are alike, so that what this one needs is unknown".to_owned(),
            });
        }
        let mut defaulted = Vec::new();
        let mut count = |key: &'static str, max: usize, default: usize| -> Result<usize, ConfigError> {
            Ok(fields.count(key, 1, max)?.unwrap_or_else(|| {
                defaulted.push(Defaulted(key));
                default
            }))
        };
        let hidden_size = count("hidden_size", limits::WIDTH, 3072)?;
        let intermediate_size = count("intermediate_size", limits::WIDTH, 8192)?;
        let num_hidden_layers = count("num_hidden_layers", limits::LAYERS, 32)?;
        let num_attention_heads = count("num_attention_heads", limits::HEADS, 32)?;
        let num_key_value_heads = count("num_key_value_heads", limits::HEADS, num_attention_heads)?;
        let vocab_size = count("vocab_size", limits::VOCAB, 32064)?;
        let max_position_embeddings = count("max_position_embeddings", limits::POSITIONS, 4096)?;

        if !num_attention_heads.is_multiple_of(num_key_value_heads) {
            let rule = format!(
                "{num_key_value_heads} key/value heads do not divide num_attention_heads {num_attention_heads}"
            );
            return Err(contradiction("num_key_value_heads", rule));
        }
        let head_dim = match fields.count("head_dim", 1, limits::HEAD_DIM)? {
            Some(head_dim) => head_dim,
            None if hidden_size.is_multiple_of(num_attention_heads) => hidden_size / num_attention_heads,
            None => {
                let rule = format!(
                    "{num_attention_heads} attention heads do not divide hidden_size {hidden_size}, and there is no head_dim"
                );
                return Err(contradiction("num_attention_heads", rule));
            }
        };
        if let Some(act) = fields.text("hidden_act")?.filter(|act| !["silu", "swish"].contains(act)) {
            return Err(ConfigError::Unsupported {
                field: "hidden_act".to_owned(),
                found: act.to_owned(),
                reason: "phi3 checkpoints use silu".to_owned(),
            });
        }

        // As transformers reads them: the old `rope_scaling` goes before `rope_parameters`; theta and the rotated
        // share are taken from inside first; the original length only from outside.
        let rope = match fields.object("rope_scaling")? {
            Some(old) if !old.map().is_empty() => Some(old),
            _ => fields.object("rope_parameters")?,
        };
        let number = |key: &'static str, min: f64, max: f64| match &rope {
            Some(rope) if rope.get(key).is_some() => rope.number(key, min, max),
            _ => fields.number(key, min, max),
        };
        let partial_rotary_factor = number("partial_rotary_factor", 1e-3, 1.0)?.unwrap_or(1.0);
        let rope_theta = number("rope_theta", 1.0, 1e12)?.unwrap_or(10_000.0);

        let rotary_dim = rotated(exponent_dim(head_dim, partial_rotary_factor));
        if rotary_dim == 0 || rotary_dim > head_dim {
            let rule = format!("{rotary_dim} rotated dimensions do not fit a head of {head_dim}");
            return Err(contradiction("partial_rotary_factor", rule));
        }
        let rope_scaling = match &rope {
            Some(rope) => {
                RopeScaling::parse(rope, exponent_dim(head_dim, partial_rotary_factor)).map_err(|error| {
                    // Lists that agree on another head than the width gives: then it is the width that does not go with the heads.
                    let told = RopeScaling::listed_frequencies(rope)
                        .map(|factors| (factors, (2.0 * factors as f64 / partial_rotary_factor).round() as usize))
                        .filter(|(_, head)| head % 8 == 0 && head * num_attention_heads != hidden_size)
                        .filter(|_| fields.get("head_dim").is_none());
                    let Some((factors, head)) = told else { return error };
                    let rule = format!("{hidden_size} is not {num_attention_heads} attention heads × {head}, as {factors} factors say; {error}");
                    contradiction("hidden_size", rule)
                })?
            }
            None => RopeScaling::None,
        };
        let original = "original_max_position_embeddings";
        let is_longrope = matches!(rope_scaling, RopeScaling::LongRope { .. });
        let original_max_position_embeddings = match fields.count(original, 1, limits::POSITIONS)? {
            Some(length) if is_longrope && length > max_position_embeddings => {
                let rule = format!("{length} is above max_position_embeddings {max_position_embeddings}");
                return Err(contradiction(original, rule));
            }
            Some(length) => length,
            None => {
                if is_longrope {
                    defaulted.push(Defaulted(original));
                }
                4096
            }
        };

        // Absent is not null: an absent id takes the class's default, null is no id.
        let special = |key: &str, default: u32| match fields.map().get(key) {
            None => Ok(vec![default]),
            Some(_) => fields.token_ids(key),
        };
        Ok(Self {
            hidden_size,
            intermediate_size,
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads,
            head_dim,
            partial_rotary_factor,
            vocab_size,
            max_position_embeddings,
            original_max_position_embeddings,
            rope_theta,
            rope_scaling,
            sliding_window: fields.count("sliding_window", 1, limits::POSITIONS)?,
            rms_norm_eps: fields.number("rms_norm_eps", 0.0, 1.0)?.unwrap_or(1e-5),
            tie_word_embeddings: fields.flag("tie_word_embeddings")?.unwrap_or(false),
            dtype: fields.dtype()?,
            bos_token_id: special("bos_token_id", 1)?.first().copied(),
            eos_token_ids: special("eos_token_id", 32000)?,
            pad_token_id: special("pad_token_id", 32000)?.first().copied(),
            defaulted,
        })
    }

    /// Rows of all query heads: heads × head_dim; need not equal `hidden_size`.
    #[must_use]
    pub fn query_width(&self) -> usize {
        self.num_attention_heads * self.head_dim
    }

    /// Rows of all key heads (and of all value heads): kv heads × head_dim.
    #[must_use]
    pub fn key_value_width(&self) -> usize {
        self.num_key_value_heads * self.head_dim
    }

    /// Query heads that share one key/value head.
    #[must_use]
    pub fn heads_per_key(&self) -> usize {
        self.num_attention_heads / self.num_key_value_heads
    }

    /// Leading dimensions of a head that are rotated; the rest pass through. Even.
    #[must_use]
    pub fn rotary_dim(&self) -> usize {
        rotated(self.rotary_exponent_dim())
    }

    /// Denominator of the frequencies' exponents, `int(head_dim × partial_rotary_factor)`: one less than
    /// [`Self::rotary_dim`] where it is odd.
    #[must_use]
    pub fn rotary_exponent_dim(&self) -> usize {
        exponent_dim(self.head_dim, self.partial_rotary_factor)
    }

    /// The sliding window where it can hide a key from a sequence of `tokens`, else `None`.
    #[must_use]
    pub fn effective_window(&self, tokens: usize) -> Option<usize> {
        self.sliding_window.filter(|window| *window < tokens)
    }
}

/// `int(head_dim × partial_rotary_factor)`, as transformers computes it.
fn exponent_dim(head_dim: usize, partial_rotary_factor: f64) -> usize {
    (head_dim as f64 * partial_rotary_factor) as usize
}

/// Dimensions that are rotated: two for each of the exponents `0, 2, …` below `exponent_dim`.
fn rotated(exponent_dim: usize) -> usize {
    exponent_dim.next_multiple_of(2)
}

fn contradiction(field: &str, rule: String) -> ConfigError {
    ConfigError::Contradiction { field: field.to_owned(), rule }
}
