//! What an estimate is asked for: the CLI's flags, the HTTP options and the page's controls.

use serde::{Deserialize, Serialize};

use super::{Backend, Calibration, Format, KvPolicy};
use crate::dtype::DType;
use crate::estimate::activations::Attention;
use crate::units::{SizeError, parse_size};
use crate::weights::OtherParts;

/// Options of an estimate; `None` takes the default, which is then listed as an assumption.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Format of the weights; default: as stored, else the config's, else bf16.
    pub dtype: Option<Format>,
    /// Format of the KV cache; default: `dtype` if it is a float, else bf16.
    pub kv_dtype: Option<DType>,
    /// Tokens of each sequence; default: 4096 or the model's positions, whichever is less.
    pub context: Option<u64>,
    /// Sequences at once; default 1.
    pub batch: Option<u64>,
    /// How attention is computed; default eager.
    pub attn: Option<Attention>,
    /// How the cache is sized; default full.
    pub kv_policy: Option<KvPolicy>,
    /// A GPU by its name in [`crate::devices`]: its usable memory and its runtime, unless those are given too.
    pub device: Option<String>,
    /// What computes; default: the device's, else our engine on the CPU.
    pub backend: Option<Backend>,
    /// Free memory of the device.
    pub device_memory: Option<Size>,
    /// Corrections of the runtime's overhead from measured loads, one for each backend that has any; without, it is
    /// assumed.
    pub calibration: Vec<Calibration>,
    /// What a checkpoint holds beside the language model, which is loaded with it; not for who asks to say.
    #[serde(skip)]
    pub other_parts: Option<OtherParts>,
}

/// Bytes, in JSON either a number or a text such as `16GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "SizeText", into = "u64")]
pub struct Size(pub u64);

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a number of bytes, or a text such as `16GiB`")]
enum SizeText {
    Bytes(u64),
    Text(String),
}

impl TryFrom<SizeText> for Size {
    type Error = SizeError;

    fn try_from(size: SizeText) -> Result<Self, SizeError> {
        match size {
            SizeText::Bytes(bytes) => Ok(Self(bytes)),
            SizeText::Text(text) => parse_size(&text).map(Self),
        }
    }
}

impl From<Size> for u64 {
    fn from(size: Size) -> Self {
        size.0
    }
}

impl std::str::FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        parse_size(text).map(Self)
    }
}
