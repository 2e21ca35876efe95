//! Headers of weights, as they are kept for the tab and handed from one program to the other.

use phi3::dtype::DType;
use phi3::estimate::StoredTensors;
use phi3::inspect::Finding;
use phi3::weights::{OtherParts, StoredTensor};
use serde::{Deserialize, Serialize};

/// What the headers of a model's weights say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Weights {
    /// Files that hold them.
    pub files: usize,
    /// Tensors of the language model.
    pub tensors: usize,
    /// Bytes of those files' tensors.
    pub bytes: u64,
    /// What is odd about them, and what differs from the config.
    pub findings: Vec<Finding>,
    /// What they say against the config, if anything.
    #[serde(default)]
    pub contradiction: Option<String>,
    /// What is loaded beside the language model.
    #[serde(default)]
    pub other_parts: Option<OtherParts>,
    /// A line for each tensor: name, format, shape, bytes.
    lines: String,
}

impl Weights {
    /// Of the tensors of a language model.
    #[must_use]
    pub fn new(stored: &StoredTensors, files: usize, bytes: u64) -> Self {
        let line = |(name, tensor): (&String, &StoredTensor)| {
            let shape = tensor.shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x");
            format!("{name} {} {shape} {}\n", tensor.dtype.name(), tensor.len)
        };
        let lines = stored.iter().map(line).collect();
        let (findings, contradiction, other_parts) = (Vec::new(), None, None);
        Self { files, tensors: stored.len(), bytes, findings, contradiction, other_parts, lines }
    }

    /// The tensors; where they lie in their files is not kept.
    #[must_use]
    pub fn stored(&self) -> StoredTensors {
        self.lines.lines().filter_map(read).collect()
    }
}

fn read(line: &str) -> Option<(String, StoredTensor)> {
    // A name may hold spaces, what follows it may not.
    let mut parts = line.rsplitn(4, ' ');
    let (len, shape, dtype, name) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let dtype: DType = dtype.parse().ok()?;
    let shape = shape
        .split('x')
        .filter(|part| !part.is_empty())
        .map(|part| part.parse().ok())
        .collect::<Option<_>>()?;
    Some((name.to_owned(), StoredTensor { dtype, shape, file: 0, offset: 0, len: len.parse().ok()? }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_bindgen_test::wasm_bindgen_test;

    #[wasm_bindgen_test(unsupported = test)]
    fn tensors_come_back_in_every_format() {
        let formats = [DType::F32, DType::Bf16, DType::F16, DType::Q8_0, DType::Q4_0, DType::Q4K];
        let tensor = |dtype: DType| StoredTensor {
            dtype,
            shape: vec![2, 256],
            file: 0,
            offset: 0,
            len: dtype.tensor_bytes(&[2, 256]),
        };
        let mut stored: StoredTensors =
            formats.into_iter().map(|d| (format!("a b.{d}"), tensor(d))).collect();
        stored.insert("scalar".to_owned(), StoredTensor { shape: Vec::new(), ..tensor(DType::F32) });
        let weights = Weights::new(&stored, 1, 9);
        assert_eq!(weights.stored(), stored);
    }
}
