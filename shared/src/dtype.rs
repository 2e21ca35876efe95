//! Number formats of weights and caches, and how many bytes they take.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How numbers are stored.
///
/// Block formats follow GGML's layouts (`ggml-common.h`): a block of `block_len` elements of one
/// row takes `block_bytes`, scales included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[expect(missing_docs, reason = "the names are the field's own")]
pub enum DType {
    F64,
    F32,
    Bf16,
    F16,
    /// 8-bit float, one scale for a tensor (not counted: four bytes a tensor).
    Fp8,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
    Q8_0,
    Q8_1,
    Q8K,
    Q6K,
    Q5K,
    Q5_0,
    Q5_1,
    Q4K,
    Q4_0,
    Q4_1,
    Q3K,
    Q2K,
    Q1_0,
    Iq4Xs,
    Iq4Nl,
    Iq3S,
    Iq3Xxs,
    Iq2S,
    Iq2Xs,
    Iq2Xxs,
    Iq1M,
    Iq1S,
    Tq2_0,
    Tq1_0,
    MxFp4,
    NvFp4,
    /// A scale: a power of two.
    F8E8M0,
    /// Floats of 6 and of 4 bits without scales, as safetensors stores them: packed over rows.
    F6,
    F4,
    /// A complex number in two f32.
    C64,
}

/// A name that is no number format.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown dtype `{0}`: use one of {known}", known = DType::WEIGHTS.map(DType::name).join(", "))]
pub struct UnknownDType(pub String);

/// Each format with its name, elements a block and bytes a block.
const TABLE: [(DType, &str, u64, u64); 44] = [
    (DType::F64, "f64", 1, 8),
    (DType::F32, "f32", 1, 4),
    (DType::Bf16, "bf16", 1, 2),
    (DType::F16, "f16", 1, 2),
    (DType::Fp8, "fp8", 1, 1),
    (DType::I64, "i64", 1, 8),
    (DType::I32, "i32", 1, 4),
    (DType::I16, "i16", 1, 2),
    (DType::I8, "int8", 1, 1),
    (DType::U64, "u64", 1, 8),
    (DType::U32, "u32", 1, 4),
    (DType::U16, "u16", 1, 2),
    (DType::U8, "u8", 1, 1),
    (DType::Bool, "bool", 1, 1),
    (DType::Q8_0, "q8_0", 32, 34),
    (DType::Q8_1, "q8_1", 32, 36),
    (DType::Q8K, "q8_k", 256, 292),
    (DType::Q6K, "q6_k", 256, 210),
    (DType::Q5K, "q5_k", 256, 176),
    (DType::Q5_0, "q5_0", 32, 22),
    (DType::Q5_1, "q5_1", 32, 24),
    (DType::Q4K, "q4_k", 256, 144),
    (DType::Q4_0, "q4_0", 32, 18),
    (DType::Q4_1, "q4_1", 32, 20),
    (DType::Q3K, "q3_k", 256, 110),
    (DType::Q2K, "q2_k", 256, 84),
    (DType::Q1_0, "q1_0", 128, 18),
    (DType::Iq4Xs, "iq4_xs", 256, 136),
    (DType::Iq4Nl, "iq4_nl", 32, 18),
    (DType::Iq3S, "iq3_s", 256, 110),
    (DType::Iq3Xxs, "iq3_xxs", 256, 98),
    (DType::Iq2S, "iq2_s", 256, 82),
    (DType::Iq2Xs, "iq2_xs", 256, 74),
    (DType::Iq2Xxs, "iq2_xxs", 256, 66),
    (DType::Iq1M, "iq1_m", 256, 56),
    (DType::Iq1S, "iq1_s", 256, 50),
    (DType::Tq2_0, "tq2_0", 256, 66),
    (DType::Tq1_0, "tq1_0", 256, 54),
    (DType::MxFp4, "mxfp4", 32, 17),
    (DType::NvFp4, "nvfp4", 64, 36),
    (DType::F8E8M0, "f8_e8m0", 1, 1),
    (DType::F6, "f6", 4, 3),
    (DType::F4, "f4", 2, 1),
    (DType::C64, "c64", 1, 8),
];

impl DType {
    /// Every format that weights can be planned in, widest first.
    pub const WEIGHTS: [Self; 7] =
        [Self::F32, Self::Bf16, Self::F16, Self::Fp8, Self::Q8_0, Self::Q4K, Self::Q4_0];
    /// Every format that a KV cache can be planned in, widest first.
    pub const KV_CACHE: [Self; 6] = [Self::F32, Self::Bf16, Self::F16, Self::Q8_0, Self::Fp8, Self::Q4_0];

    fn row(self) -> &'static (Self, &'static str, u64, u64) {
        TABLE.iter().find(|row| row.0 == self).unwrap_or(&TABLE[0])
    }

    /// The name used in the CLI, in JSON and on the page: `bf16`, `q4_0`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Elements in a block; 1 for plain formats.
    #[must_use]
    pub fn block_len(self) -> u64 {
        self.row().2
    }

    /// Bytes of a block, scales included.
    #[must_use]
    pub fn block_bytes(self) -> u64 {
        self.row().3
    }

    /// Whether blocks of elements share scales.
    #[must_use]
    pub fn is_quantized(self) -> bool {
        self.block_len() > 1
    }

    /// Whether this is a format that arithmetic runs in.
    #[must_use]
    pub fn is_float(self) -> bool {
        matches!(self, Self::F64 | Self::F32 | Self::Bf16 | Self::F16)
    }

    /// Bytes of one row of `columns` elements; a last partial block counts whole.
    #[must_use]
    pub fn row_bytes(self, columns: u64) -> u64 {
        columns.div_ceil(self.block_len()).saturating_mul(self.block_bytes())
    }

    /// Bytes of a tensor of this shape (row-major, the last dimension is a row).
    #[must_use]
    pub fn tensor_bytes(self, shape: &[usize]) -> u64 {
        let (columns, rows) = match shape.split_last() {
            Some((columns, rows)) => (*columns as u64, rows),
            None => (1, shape),
        };
        let rows = rows.iter().fold(1u64, |product, d| product.saturating_mul(*d as u64));
        rows.saturating_mul(self.row_bytes(columns))
    }
}

impl std::str::FromStr for DType {
    type Err = UnknownDType;

    /// Accepts our names, PyTorch's (`bfloat16`, `torch.float16`) and safetensors' (`BF16`).
    fn from_str(text: &str) -> Result<Self, UnknownDType> {
        let lower = text.to_ascii_lowercase();
        let name = match lower.strip_prefix("torch.").unwrap_or(&lower) {
            "float64" | "double" => "f64",
            "float32" | "float" | "fp32" => "f32",
            "bfloat16" => "bf16",
            "float16" | "half" | "fp16" => "f16",
            "f8_e4m3" | "f8_e5m2" | "float8_e4m3fn" | "float8_e5m2" => "fp8",
            "i8" => "int8",
            other => other,
        };
        TABLE.iter().find(|row| row.1 == name).map(|row| row.0).ok_or_else(|| UnknownDType(text.to_owned()))
    }
}

impl From<DType> for String {
    fn from(dtype: DType) -> Self {
        dtype.name().to_owned()
    }
}

impl TryFrom<String> for DType {
    type Error = UnknownDType;

    fn try_from(text: String) -> Result<Self, UnknownDType> {
        text.parse()
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_spellings_are_known() {
        for row in TABLE {
            assert_eq!(row.1.parse(), Ok(row.0));
            let json = serde_json::to_value(row.0).expect("a name is a string");
            assert_eq!(json, row.1);
            assert_eq!(serde_json::from_value::<DType>(json).expect("round trip"), row.0);
        }
        assert_eq!("torch.bfloat16".parse(), Ok(DType::Bf16));
        assert_eq!("BF16".parse(), Ok(DType::Bf16));
        assert!("bf17".parse::<DType>().is_err());
    }

    #[test]
    fn blocks_count_their_scales() {
        // exllamav2 and llama.cpp agree on 34 and 18 bytes for 32 values.
        assert_eq!(DType::Q8_0.tensor_bytes(&[2, 64]), 2 * 2 * 34);
        assert_eq!(DType::Q4_0.tensor_bytes(&[2, 33]), 2 * 2 * 18);
        assert_eq!(DType::Bf16.tensor_bytes(&[3, 5]), 30);
        assert_eq!(DType::F32.tensor_bytes(&[]), 4);
    }
}
