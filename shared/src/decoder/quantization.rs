//! How a checkpoint's weights were quantised by those who published it: `quantization_config`.

use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, Fields};

/// Numbers that share one scale in an 8-bit float weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scales {
    /// The whole matrix.
    Tensor,
    /// A row.
    Channel,
    /// A square of 128 by 128.
    Block,
}

/// Rows and columns of a block under [`Scales::Block`]; what DeepSeek-V3 publishes.
pub const SCALE_BLOCK: usize = 128;

/// A published quantisation whose layout is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Quantization {
    /// 8-bit floats in the layers' projections, the rest in 16 bit.
    Fp8(Scales),
    /// 4-bit whole numbers in the layers' projections, packed along outputs, with zeros and scales for each `group`
    /// of inputs.
    Awq {
        /// Inputs that share a scale.
        group: usize,
    },
    /// The same packed along inputs, with the group of each input beside.
    Gptq {
        /// Inputs that share a scale.
        group: usize,
    },
    /// 4-bit floats of the experts alone, a shared exponent for 32 of them.
    MxFp4,
}

impl Quantization {
    /// Reads `quantization_config`; `None` where there is none, or one whose layout is not known here.
    ///
    /// # Errors
    /// A value of the wrong type.
    pub fn read(fields: &Fields) -> Result<Option<Self>, ConfigError> {
        let Some(config) = fields.object("quantization_config")? else { return Ok(None) };
        let group = || config.count("group_size", 1, 1 << 20).map(|group| group.unwrap_or(128));
        let four_bits = config.count("bits", 1, 64)?.is_none_or(|bits| bits == 4);
        Ok(match config.text("quant_method")? {
            Some("fp8" | "fbgemm_fp8") => {
                let key = "weight_block_size";
                let sides = config.positive_numbers(key)?;
                if sides.as_ref().is_some_and(|sides| sides.len() != 2) {
                    return Err(config.invalid(key, "two numbers above 0: rows and columns"));
                }
                let scales = match sides {
                    Some(sides) if sides.iter().all(|side| *side == SCALE_BLOCK as f64) => Scales::Block,
                    Some(_) => return Ok(None),
                    None if config.text("quant_method")? == Some("fbgemm_fp8") => Scales::Channel,
                    None => Scales::Tensor,
                };
                Some(Self::Fp8(scales))
            }
            Some("awq") if four_bits => Some(Self::Awq { group: group()? }),
            Some("gptq") if four_bits => Some(Self::Gptq { group: group()? }),
            Some("mxfp4") => Some(Self::MxFp4),
            _ => None,
        })
    }
}
