//! How rotary positions are scaled: `rope_scaling`, or `rope_parameters` since transformers 5.

use super::{ConfigError, Fields};

/// Scaling of rotary frequencies.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Frequencies as trained.
    None,
    /// Every frequency divided by `factor`; not a phi3 kind in Hugging Face, offered as an override.
    Linear {
        /// Divisor, at least 1.
        factor: f64,
    },
    /// One divisor a frequency, short or long by the length of the whole sequence.
    LongRope {
        /// `rotary_dim / 2` divisors up to `original_max_position_embeddings` tokens.
        short_factor: Vec<f64>,
        /// `rotary_dim / 2` divisors beyond.
        long_factor: Vec<f64>,
        /// Explicit multiplier of cos and sin; else it follows from the lengths.
        attention_factor: Option<f64>,
        /// Explicit length ratio for the attention factor; else max / original.
        factor: Option<f64>,
    },
}

impl RopeScaling {
    /// Reads a `rope_scaling` or `rope_parameters` object; `rotary_dim` is [`super::ModelConfig::rotary_exponent_dim`].
    ///
    /// `su` and `yarn` in phi3 files mean longrope: transformers rewrites both (since 4.43).
    ///
    /// # Errors
    /// An unknown kind, a missing list, a list of the wrong length, a linear factor below 1.
    pub fn parse(fields: &Fields, rotary_dim: usize) -> Result<Self, ConfigError> {
        let key = if fields.get("rope_type").is_some() { "rope_type" } else { "type" };
        let kind = fields.text(key)?.unwrap_or("default");
        match kind {
            "default" => Ok(Self::None),
            "linear" => {
                let factor = fields.number("factor", 1.0, 1e6)?;
                let missing = || ConfigError::Missing { field: fields.path("factor") };
                Ok(Self::Linear { factor: factor.ok_or_else(missing)? })
            }
            "longrope" | "su" | "yarn" => {
                let list = |key: &str| -> Result<Vec<f64>, ConfigError> {
                    let missing = || match kind {
                        "yarn" => ConfigError::Contradiction {
                            field: fields.path(key),
                            rule: "is missing: in phi3, yarn means longrope, which takes one factor a \
                                   frequency; linear takes a single `factor`"
                                .to_owned(),
                        },
                        _ => ConfigError::Missing { field: fields.path(key) },
                    };
                    let found = fields.positive_numbers(key)?.ok_or_else(missing)?;
                    if found.len() == rotary_dim / 2 {
                        return Ok(found);
                    }
                    let rule = format!(
                        "has {} factors, but {rotary_dim} rotated dimensions need {}",
                        found.len(),
                        rotary_dim / 2
                    );
                    Err(ConfigError::Contradiction { field: fields.path(key), rule })
                };
                Ok(Self::LongRope {
                    short_factor: list("short_factor")?,
                    long_factor: list("long_factor")?,
                    attention_factor: fields.number("attention_factor", 1e-6, 1e6)?,
                    factor: fields.number("factor", 1e-6, 1e6)?,
                })
            }
            other => Err(ConfigError::Unsupported {
                field: fields.path(key),
                found: other.to_owned(),
                reason: "phi3 knows default, longrope (also spelt su) and, as an override, linear".to_owned(),
            }),
        }
    }

    /// Frequencies that both lists have a factor for; `None` where they are of two lengths, or not both there.
    pub(super) fn listed_frequencies(fields: &Fields) -> Option<usize> {
        let length = |key: &str| Some(fields.positive_numbers(key).ok()??.len());
        length("short_factor").filter(|short| length("long_factor") == Some(*short))
    }
}
