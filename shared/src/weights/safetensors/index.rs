//! `model.safetensors.index.json`: which shard holds which tensor.

use super::json::Json;
use crate::weights::text::{check_name, one_line};
use crate::weights::{WeightsError, WeightsProblem};

/// Largest index that is read; Phi-3-mini's has 16 kB, the largest mixtures of experts 10 MB.
pub const MAX_INDEX_BYTES: u64 = 64 << 20;

/// More than any mixture of experts has: Kimi-K2 in fp8 with its scales has 140,000. A description takes more than
/// its text, and of an index of empty names only their number is a limit.
const MAX_TENSORS: usize = 1 << 18;

/// More than any checkpoint has; its files are opened at once.
const MAX_SHARDS: usize = 1 << 12;

/// A checked index.
#[derive(Debug, Clone)]
pub struct ShardIndex {
    /// Name of the index file, for messages.
    pub file: String,
    /// Sum of the tensors' bytes as the index claims it; never trusted.
    pub total_size: Option<u64>,
    /// Every tensor, by name, with its shard's place in `shards`.
    tensors: Vec<(Box<str>, u32)>,
    /// Plain file names, by name.
    shards: Vec<String>,
}

impl ShardIndex {
    /// Parses an index and checks every file name in it.
    ///
    /// # Errors
    /// Not an index, an empty one, a tensor that stands twice, a shard that is no plain `*.safetensors` name.
    pub fn parse(file: &str, json: &[u8]) -> Result<Self, WeightsError> {
        let refuse = |problem| WeightsError::new(file, problem);
        if json.len() as u64 > MAX_INDEX_BYTES {
            let what = format!("{} bytes, an index has at most {MAX_INDEX_BYTES}", json.len());
            return Err(refuse(WeightsProblem::NotWeights(what)));
        }
        let read = Read::parse(json).map_err(refuse)?;
        let Some(mut tensors) = read.tensors else {
            let what = "it is no index of shards: missing field `weight_map`".to_owned();
            return Err(refuse(WeightsProblem::Corrupt(what)));
        };
        if tensors.is_empty() {
            return Err(refuse(WeightsProblem::Corrupt("its weight_map is empty".to_owned())));
        }
        tensors.sort_unstable();
        if let Some([(twice, _), ..]) = tensors.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let what = format!("it is no index of shards: tensor `{twice}` stands twice");
            return Err(refuse(WeightsProblem::Corrupt(what)));
        }
        Ok(Self { file: file.to_owned(), total_size: read.total_size, tensors, shards: read.shards })
    }

    /// The shards, each once, in the order of their names.
    #[must_use]
    pub fn shards(&self) -> Vec<String> {
        let mut names = self.shards.clone();
        names.sort_unstable();
        names
    }

    /// Every tensor with its shard, by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &str)> {
        self.tensors.iter().map(|(tensor, shard)| (&**tensor, self.shards[*shard as usize].as_str()))
    }

    /// Whether it lists a tensor.
    #[must_use]
    pub fn lists(&self, tensor: &str) -> bool {
        self.tensors.binary_search_by(|(known, _)| (**known).cmp(tensor)).is_ok()
    }
}

/// What stands in an index.
#[derive(Default)]
struct Read {
    total_size: Option<u64>,
    tensors: Option<Vec<(Box<str>, u32)>>,
    shards: Vec<String>,
}

impl Read {
    fn parse(text: &[u8]) -> Result<Self, WeightsProblem> {
        let mut read = Self::default();
        let mut metadata = false;
        let mut json = Json::new(text, "it is no index of shards");
        // Each tensor has four quotes: as many are made room for, and no more.
        let most = (text.iter().filter(|byte| **byte == b'"').count() / 4).min(MAX_TENSORS);
        json.object("an object", |json, key| match &*key {
            "metadata" if std::mem::replace(&mut metadata, true) => {
                Err(json.error("`metadata` stands twice"))
            }
            "metadata" => json.object("an object", |json, key| {
                match &*key {
                    "total_size" => read.total_size = json.claim()?,
                    _ => json.skip(0)?,
                }
                Ok(())
            }),
            "weight_map" if read.tensors.is_some() => Err(json.error("`weight_map` stands twice")),
            "weight_map" => {
                let mut tensors = Vec::with_capacity(most);
                json.object("an object of tensor names and file names", |json, tensor| {
                    if tensors.len() == MAX_TENSORS {
                        return Err(json.error(&format!("more than {MAX_TENSORS} tensors")));
                    }
                    check_name(&tensor)?;
                    let shard = json.string("a file name")?;
                    tensors.push((tensor.into(), read.shard(&shard)?));
                    Ok(())
                })?;
                read.tensors = Some(tensors);
                Ok(())
            }
            _ => json.skip(0),
        })?;
        json.end()?;
        Ok(read)
    }

    /// The place of a shard, which is new or known. Tensors of one shard mostly follow one another.
    fn shard(&mut self, name: &str) -> Result<u32, WeightsProblem> {
        if let Some(place) = self.shards.iter().rposition(|known| known == name) {
            return Ok(place as u32);
        }
        if !is_plain_file_name(name) {
            return Err(WeightsProblem::UnsafePath(one_line(name.escape_debug())));
        }
        if self.shards.len() == MAX_SHARDS {
            return Err(WeightsProblem::Corrupt(format!("it names more than {MAX_SHARDS} shards")));
        }
        self.shards.push(name.to_owned());
        Ok(self.shards.len() as u32 - 1)
    }
}

/// Names of the shards that an index lists: plain file names, safe to look up beside it.
///
/// # Errors
/// As [`ShardIndex::parse`].
pub fn shard_names(index_json: &[u8]) -> Result<Vec<String>, WeightsError> {
    Ok(ShardIndex::parse("model.safetensors.index.json", index_json)?.shards())
}

/// A name in the same folder on every system: no separator, drive or control character, not hidden.
fn is_plain_file_name(name: &str) -> bool {
    name.len() <= 255
        && !name.starts_with('.')
        && name.ends_with(".safetensors")
        && !name.contains(|c: char| matches!(c, '/' | '\\' | ':') || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(json: &str) -> &'static str {
        shard_names(json.as_bytes()).map(|_| "ok").unwrap_or_else(|error| error.code())
    }

    #[test]
    fn an_index_is_read_and_its_shards_named_once() {
        let json = r#"{"metadata":{"total_size":12},"weight_map":{"b":"m-2.safetensors","a":"m-1.safetensors","c":"m-2.safetensors"}}"#;
        let index = ShardIndex::parse("i.json", json.as_bytes()).expect("good");
        assert_eq!(index.shards(), ["m-1.safetensors", "m-2.safetensors"]);
        assert_eq!(index.total_size, Some(12));
    }

    #[test]
    fn a_total_that_is_no_whole_number_is_no_total() {
        for total in ["1.5", "-1", "\"12\"", "null", "true", "[1,[2]]", "{\"a\":[]}", "1e30"] {
            let json = format!(
                r#"{{"metadata":{{"x":[{{}}],"total_size":{total}}},"weight_map":{{"a":"1.safetensors"}}}}"#
            );
            let index = ShardIndex::parse("i.json", json.as_bytes()).expect(total);
            assert_eq!(index.total_size, None, "{total}");
        }
    }

    #[test]
    fn paths_out_of_the_folder_are_refused() {
        let long = format!("{}.safetensors", "x".repeat(244));
        let names = [
            "../x.safetensors",
            "/etc/x.safetensors",
            "a/b.safetensors",
            "a\\\\b.safetensors",
            "C:x.safetensors",
            "x\\u0000.safetensors",
            "../../etc/passwd",
            "",
            ".",
            "..",
            ".safetensors",
            "model.bin",
            &long,
        ];
        for name in names {
            assert_eq!(code(&format!(r#"{{"weight_map":{{"a":"{name}"}}}}"#)), "unsafe_path", "{name}");
        }
        assert_eq!(code(&format!(r#"{{"weight_map":{{"a":"{}"}}}}"#, &long[1..])), "ok");
    }

    #[test]
    fn what_is_no_index_is_refused() {
        for json in [
            "",
            "[]",
            "{}",
            r#"{"weight_map":{}}"#,
            r#"{"weight_map":{"a":1}}"#,
            r#"{"weight_map":[]}"#,
            r#"{"weight_map":{"a":"x.safetensors","a":"y.safetensors"}}"#,
        ] {
            assert_eq!(code(json), "weights_corrupt", "{json}");
        }
    }
}
