//! `model.safetensors.index.json`: which shard holds which tensor.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::weights::text::{check_name, one_line};
use crate::weights::{WeightsError, WeightsProblem};

/// Largest index that is read; Phi-3-mini's has 16 kB, the largest mixtures of experts 10 MB.
pub const MAX_INDEX_BYTES: u64 = 64 << 20;

/// More than any mixture of experts has: Kimi-K2 in fp8 with its scales has 140,000. A description takes more than
/// its text, and of an index of empty names only their number is a limit.
const MAX_TENSORS: usize = 1 << 18;

/// A checked index.
#[derive(Debug, Clone)]
pub struct ShardIndex {
    /// Name of the index file, for messages.
    pub file: String,
    /// Tensor → shard; every shard a plain file name.
    pub weight_map: BTreeMap<String, String>,
    /// Sum of the tensors' bytes as the index claims it; never trusted.
    pub total_size: Option<u64>,
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
        let raw: RawIndex = serde_json::from_slice(json).map_err(|error| {
            refuse(WeightsProblem::Corrupt(one_line(format_args!("it is no index of shards: {error}"))))
        })?;
        let WeightMap(weight_map) = raw.weight_map;
        weight_map.keys().try_for_each(|tensor| check_name(tensor)).map_err(refuse)?;
        if weight_map.is_empty() {
            return Err(refuse(WeightsProblem::Corrupt("its weight_map is empty".to_owned())));
        }
        if let Some(unsafe_name) = weight_map.values().find(|name| !is_plain_file_name(name)) {
            return Err(refuse(WeightsProblem::UnsafePath(one_line(unsafe_name.escape_debug()))));
        }
        Ok(Self { file: file.to_owned(), weight_map, total_size: raw.metadata.0 })
    }

    /// The shards, each once, in the order of their names.
    #[must_use]
    pub fn shards(&self) -> Vec<String> {
        let mut names: Vec<String> = self.weight_map.values().cloned().collect();
        names.sort_unstable();
        names.dedup();
        names
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

#[derive(Deserialize)]
struct RawIndex {
    #[serde(default)]
    metadata: TotalSize,
    weight_map: WeightMap,
}

/// `metadata`: an object of which one number is kept.
#[derive(Default)]
struct TotalSize(Option<u64>);

impl<'de> Deserialize<'de> for TotalSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MetadataVisitor;
        impl<'de> Visitor<'de> for MetadataVisitor {
            type Value = TotalSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TotalSize, A::Error> {
                let mut total = TotalSize(None);
                while let Some(key) = map.next_key::<String>()? {
                    if key == "total_size" {
                        total.0 = map.next_value::<Claim>()?.0;
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(total)
            }
        }
        deserializer.deserialize_map(MetadataVisitor)
    }
}

/// A whole number, or anything else: some writers put a float or a text there, and it is not trusted anyway.
struct Claim(Option<u64>);

impl<'de> Deserialize<'de> for Claim {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ClaimVisitor;
        impl<'de> Visitor<'de> for ClaimVisitor {
            type Value = Claim;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }

            fn visit_u64<E>(self, number: u64) -> Result<Claim, E> {
                Ok(Claim(Some(number)))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Claim, E> {
                Ok(Claim(None))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Claim, E> {
                Ok(Claim(None))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Claim, E> {
                Ok(Claim(None))
            }

            fn visit_str<E>(self, _: &str) -> Result<Claim, E> {
                Ok(Claim(None))
            }

            fn visit_unit<E>(self) -> Result<Claim, E> {
                Ok(Claim(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Claim, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Claim(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Claim, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Claim(None))
            }
        }
        deserializer.deserialize_any(ClaimVisitor)
    }
}

struct WeightMap(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for WeightMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WeightMapVisitor;
        impl<'de> Visitor<'de> for WeightMapVisitor {
            type Value = WeightMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensor names and file names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WeightMap, A::Error> {
                let mut names = BTreeMap::new();
                while let Some((tensor, file)) = map.next_entry::<String, String>()? {
                    if names.len() == MAX_TENSORS {
                        return Err(A::Error::custom(format_args!("more than {MAX_TENSORS} tensors")));
                    }
                    if names.contains_key(&tensor) {
                        return Err(A::Error::custom(format_args!("tensor `{tensor}` stands twice")));
                    }
                    names.insert(tensor, file);
                }
                Ok(WeightMap(names))
            }
        }
        deserializer.deserialize_map(WeightMapVisitor)
    }
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
