//! Formats that weights can be planned in: one number format for all, or one of the mixtures that people publish.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::decoder::{Quantization, Scales};
use crate::dtype::{DType, UnknownDType};

/// Inputs that share a scale in the 4-bit formats, unless the config says otherwise.
const GROUP: usize = 128;

/// How a model's weights are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Format {
    /// Everything in one format, as far as shapes allow.
    Plain(DType),
    /// llama.cpp's `Q4_K_M`: q4_k, with more bits where they matter most.
    Q4KM,
    /// As a `quantization_config` describes it.
    Quantized(Quantization),
}

/// A name that is no format of weights.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown dtype `{0}`: use one of {known}", known = Format::ALL.map(Format::name).join(", "))]
pub struct UnknownFormat(pub String);

impl Format {
    /// Every format that an estimate can be asked for, the widest first.
    pub const ALL: [Self; 15] = [
        Self::Plain(DType::F32),
        Self::Plain(DType::Bf16),
        Self::Plain(DType::F16),
        Self::Quantized(Quantization::Fp8(Scales::Block)),
        Self::Quantized(Quantization::Fp8(Scales::Channel)),
        Self::Quantized(Quantization::Fp8(Scales::Tensor)),
        Self::Plain(DType::Q8_0),
        Self::Plain(DType::Fp8),
        Self::Plain(DType::I8),
        Self::Plain(DType::Q6K),
        Self::Q4KM,
        Self::Quantized(Quantization::Gptq { bits: 4, group: GROUP }),
        Self::Quantized(Quantization::Awq { group: GROUP }),
        Self::Plain(DType::Q4K),
        Self::Plain(DType::Q4_0),
    ];

    /// The formats that are tried as changes and drawn side by side, those that change a model least first.
    pub const LEVERS: [Self; 10] = [
        Self::Plain(DType::F32),
        Self::Plain(DType::Bf16),
        Self::Plain(DType::F16),
        Self::Plain(DType::Q8_0),
        Self::Plain(DType::Fp8),
        Self::Plain(DType::Q6K),
        Self::Q4KM,
        Self::Quantized(Quantization::Awq { group: GROUP }),
        Self::Plain(DType::Q4K),
        Self::Plain(DType::Q4_0),
    ];

    /// The name in the CLI and in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain(dtype) => dtype.name(),
            Self::Q4KM => "q4_k_m",
            Self::Quantized(Quantization::Fp8(Scales::Tensor)) => "fp8_tensor",
            Self::Quantized(Quantization::Fp8(Scales::Channel)) => "fp8_channel",
            Self::Quantized(Quantization::Fp8(Scales::Block | Scales::Group(_))) => "fp8_block",
            Self::Quantized(Quantization::Awq { .. }) => "awq",
            Self::Quantized(Quantization::Gptq { .. }) => "gptq",
            Self::Quantized(Quantization::MxFp4) => "mxfp4",
            Self::Quantized(Quantization::Compressed { .. }) => "compressed-tensors",
        }
    }

    /// The one number format of a plain plan; `None` for mixtures.
    #[must_use]
    pub fn plain(self) -> Option<DType> {
        match self {
            Self::Plain(dtype) => Some(dtype),
            Self::Q4KM | Self::Quantized(_) => None,
        }
    }

    /// The float format that is computed in, as far as the weights decide it.
    #[must_use]
    pub fn compute_dtype(self) -> DType {
        self.plain().filter(|dtype| dtype.is_float()).unwrap_or(DType::Bf16)
    }

    /// The format that an engine is asked to hold weights in: mixtures are widened to what is computed in.
    #[must_use]
    pub fn held_dtype(self) -> DType {
        self.plain().unwrap_or_else(|| self.compute_dtype())
    }

    /// The format that an engine holds weights in which are stored so, where nobody names one: what no engine multiplies
    /// is widened to what is computed in.
    #[must_use]
    pub fn widened(self) -> DType {
        let is_held = |dtype: &DType| dtype.is_float() || *dtype == DType::Fp8 || self.runs();
        self.plain().filter(is_held).unwrap_or_else(|| self.compute_dtype())
    }

    /// Whether numbers share scales.
    #[must_use]
    pub fn is_quantized(self) -> bool {
        self.plain().is_none_or(|dtype| !dtype.is_float())
    }

    /// Whether the engines of this build compute with weights held so.
    #[must_use]
    pub fn runs(self) -> bool {
        matches!(self, Self::Plain(DType::F32 | DType::Bf16 | DType::F16 | DType::Q8_0 | DType::Q4_0))
    }
}

impl From<DType> for Format {
    fn from(dtype: DType) -> Self {
        Self::Plain(dtype)
    }
}

impl From<Format> for String {
    fn from(format: Format) -> Self {
        format.name().to_owned()
    }
}

impl TryFrom<String> for Format {
    type Error = UnknownFormat;

    fn try_from(text: String) -> Result<Self, UnknownFormat> {
        text.parse()
    }
}

impl std::str::FromStr for Format {
    type Err = UnknownFormat;

    /// Accepts the names of [`Format::ALL`] and every spelling of a number format.
    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        let lower = text.to_ascii_lowercase();
        let mixtures = [Self::Quantized(Quantization::MxFp4)].into_iter().chain(Self::ALL);
        match mixtures.into_iter().find(|format| format.plain().is_none() && format.name() == lower) {
            Some(format) => Ok(format),
            None => text.parse().map(Self::Plain).map_err(|UnknownDType(name)| UnknownFormat(name)),
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for format in Format::ALL.into_iter().chain(Format::LEVERS) {
            assert_eq!(format.name().parse(), Ok(format));
        }
        assert_eq!("BFLOAT16".parse(), Ok(Format::Plain(DType::Bf16)));
        assert!("q4_k_x".parse::<Format>().is_err());
    }
}
