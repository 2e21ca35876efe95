//! How a checkpoint is laid out in files that are about to be written.

use std::fmt::Write as _;

use serde_json::json;

use super::dtype_name;
use crate::dtype::DType;

/// Name of a checkpoint's only file.
pub const SINGLE_FILE: &str = "model.safetensors";
/// Name of the index of several.
pub const INDEX_FILE: &str = "model.safetensors.index.json";
/// Largest file that Hugging Face wrote by default for years: 5 GB, powers of ten.
pub const MAX_SHARD_BYTES: u64 = 5_000_000_000;

/// A tensor to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTensor {
    /// Name.
    pub name: String,
    /// Format; one with a name in safetensors.
    pub dtype: DType,
    /// Dimensions, row-major.
    pub shape: Vec<usize>,
}

impl NewTensor {
    /// Number of bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.dtype.tensor_bytes(&self.shape)
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A file to be written: `header`, then the tensors one after the other.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Name of the file.
    pub file: String,
    /// Length field and header.
    pub header: Vec<u8>,
    /// Tensors in the order of their data.
    pub tensors: Vec<NewTensor>,
}

impl Layout {
    /// Lays out one file.
    #[must_use]
    pub fn new(file: String, tensors: Vec<NewTensor>) -> Self {
        // Hugging Face refuses files that do not name the framework they are meant for.
        let mut json = r#"{"__metadata__":{"format":"pt"}"#.to_owned();
        let mut begin = 0;
        for tensor in &tensors {
            let end = begin + tensor.len();
            let entry = json!({
                "dtype": dtype_name(tensor.dtype), "shape": tensor.shape, "data_offsets": [begin, end],
            });
            let name = json!(tensor.name);
            write!(json, ",{name}:{entry}").expect("a string takes everything");
            begin = end;
        }
        json.push('}');
        // Data starts at a multiple of 8 bytes, as the reference writer has it.
        json.extend(std::iter::repeat_n(' ', json.len().next_multiple_of(8) - json.len()));
        let mut header = (json.len() as u64).to_le_bytes().to_vec();
        header.extend_from_slice(json.as_bytes());
        Self { file, header, tensors }
    }

    /// Length of the file.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.header.len() as u64 + self.data_bytes()
    }

    /// Bytes of the tensors.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        self.tensors.iter().map(NewTensor::len).sum()
    }
}

/// Lays tensors out in files of at most `max_bytes` of data, a tensor never split.
#[must_use]
pub fn lay_out(tensors: Vec<NewTensor>, max_bytes: u64) -> Vec<Layout> {
    let mut shards: Vec<Vec<NewTensor>> = vec![Vec::new()];
    let mut bytes = 0u64;
    for tensor in tensors {
        let last = shards.last_mut().expect("never empty");
        if !last.is_empty() && bytes + tensor.len() > max_bytes {
            bytes = tensor.len();
            shards.push(vec![tensor]);
        } else {
            bytes += tensor.len();
            last.push(tensor);
        }
    }
    let count = shards.len();
    let name = |i: usize| match count {
        1 => SINGLE_FILE.to_owned(),
        _ => format!("model-{:05}-of-{count:05}.safetensors", i + 1),
    };
    shards.into_iter().enumerate().map(|(i, tensors)| Layout::new(name(i), tensors)).collect()
}

/// The index of several files; `None` for a single one.
#[must_use]
pub fn index_json(layouts: &[Layout]) -> Option<Vec<u8>> {
    if layouts.len() < 2 {
        return None;
    }
    let mut map: Vec<(&str, &str)> = layouts
        .iter()
        .flat_map(|layout| layout.tensors.iter().map(|tensor| (tensor.name.as_str(), layout.file.as_str())))
        .collect();
    map.sort_unstable();
    let weight_map: serde_json::Map<_, _> =
        map.into_iter().map(|(tensor, file)| (tensor.to_owned(), json!(file))).collect();
    let total_size: u64 = layouts.iter().map(Layout::data_bytes).sum();
    Some(super::pretty(&json!({ "metadata": { "total_size": total_size }, "weight_map": weight_map })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::{BytesSource, Checkpoint, ShardIndex};

    fn tensors() -> Vec<NewTensor> {
        [("b", DType::F32, vec![3]), ("a", DType::Bf16, vec![2, 5]), ("c", DType::F16, vec![4])]
            .map(|(name, dtype, shape)| NewTensor { name: name.to_owned(), dtype, shape })
            .to_vec()
    }

    fn written(layout: &Layout) -> (String, BytesSource<Vec<u8>>) {
        let mut bytes = layout.header.clone();
        bytes.resize(layout.file_bytes() as usize, 0);
        (layout.file.clone(), BytesSource(bytes))
    }

    #[test]
    fn one_file_is_read_by_the_reference_crate_and_by_us() {
        let layouts = lay_out(tensors(), MAX_SHARD_BYTES);
        assert_eq!((layouts.len(), layouts[0].file.as_str()), (1, SINGLE_FILE));
        assert!(index_json(&layouts).is_none());
        assert!(layouts[0].header.len().is_multiple_of(8));
        let (name, source) = written(&layouts[0]);
        let theirs = safetensors::SafeTensors::deserialize(&source.0).expect("reads");
        assert_eq!(theirs.tensor("a").expect("there").shape(), [2, 5]);
        assert!(pollster::block_on(Checkpoint::from_safetensors(vec![(name, source)])).is_ok());
    }

    #[test]
    fn several_files_agree_with_their_index() {
        // 12, 20 and 8 bytes: the first two do not fit together, the last two do.
        let layouts = lay_out(tensors(), 28);
        let names: Vec<_> = layouts.iter().map(|l| l.file.as_str()).collect();
        assert_eq!(names, ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]);
        let index = ShardIndex::parse(INDEX_FILE, &index_json(&layouts).expect("two files")).expect("good");
        let files = layouts.iter().map(written).collect();
        let checkpoint = pollster::block_on(Checkpoint::from_shards(&index, files)).expect("good");
        assert_eq!((checkpoint.stored_bytes(), checkpoint.findings()), (40, &[][..]));
    }
}
