//! How a checkpoint's weights were quantised by those who published it: `quantization_config`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::pattern::Pattern;
use crate::config::{ConfigError, Fields};

/// Numbers that share one scale in a quantised weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scales {
    /// The whole matrix.
    Tensor,
    /// A row.
    Channel,
    /// A square of 128 by 128.
    Block,
    /// So many inputs of a row.
    Group(usize),
}

/// Rows and columns of a block under [`Scales::Block`]; what DeepSeek-V3 publishes.
pub const SCALE_BLOCK: usize = 128;

/// The group of a quantisation whose rows have one scale each; `group_size: -1` in configs.
pub const WHOLE_ROW: usize = usize::MAX;

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
    /// Whole numbers of a few bits packed along inputs, with zeros and scales alike and the group of each input beside.
    Gptq {
        /// Bits of a number: 2, 3, 4 or 8.
        bits: usize,
        /// Inputs that share a scale.
        group: usize,
    },
    /// 4-bit floats of the experts alone, a shared exponent for 32 of them.
    MxFp4,
    /// What compressed-tensors stores of every linear module: 8-bit numbers, or whole numbers packed along inputs with
    /// the matrix's shape beside; scales in 16 bit, no zeros.
    Compressed {
        /// Bits of a number: 4 or 8.
        bits: usize,
        /// Whether numbers are packed.
        packed: bool,
        /// What shares a scale.
        scales: Scales,
    },
}

impl Quantization {
    /// Reads `quantization_config`; `None` where there is none, or one whose layout is not known here.
    ///
    /// # Errors
    /// A value of the wrong type.
    pub fn read(fields: &Fields) -> Result<Option<Self>, ConfigError> {
        let Some(config) = fields.object("quantization_config")? else { return Ok(None) };
        let group = || -> Result<usize, ConfigError> {
            let key = "group_size";
            match config.get(key).and_then(Value::as_i64) {
                Some(-1) => Ok(WHOLE_ROW),
                _ => Ok(config.count(key, 1, 1 << 20)?.unwrap_or(128)),
            }
        };
        let bits = config.count("bits", 1, 64)?.unwrap_or(4);
        // The others pack and pad in ways of their own.
        let is_gemm = config.text("version")?.is_none_or(|version| version.eq_ignore_ascii_case("gemm"));
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
            Some("awq") if bits == 4 && is_gemm => Some(Self::Awq { group: group()? }),
            Some("gptq") if matches!(bits, 2 | 3 | 4 | 8) => Some(Self::Gptq { bits, group: group()? }),
            Some("mxfp4") => Some(Self::MxFp4),
            Some("compressed-tensors") => Self::compressed(&config),
            _ => None,
        })
    }

    /// Of compressed-tensors: one group of all linear modules, of 8-bit numbers or of packed ones.
    fn compressed(config: &Fields) -> Option<Self> {
        let [group] = groups(config)[..] else { return None };
        let weights = &group["weights"];
        let is_sparse = config.get("sparsity_config").is_some_and(|sparsity| {
            sparsity.get("format").is_some_and(|format| !format.is_null() && format != "dense")
        });
        let is_other = is_sparse
            || group["targets"] != Value::from(vec!["Linear"])
            || !group["output_activations"].is_null()
            || weights["symmetric"] == false
            || weights["actorder"] == "group";
        let format = config.get("format")?.as_str()?;
        let number = |key: &str| usize::try_from(weights[key].as_u64()?).ok();
        let (bits, packed) = match (format, weights["type"].as_str()?, number("num_bits")?) {
            ("float-quantized" | "naive-quantized", "float", 8)
            | ("int-quantized" | "naive-quantized", "int", 8) => (8, false),
            ("pack-quantized", "int", bits @ (4 | 8)) => (bits, true),
            _ => return None,
        };
        let scales = match weights["strategy"].as_str()? {
            "tensor" => Scales::Tensor,
            "channel" => Scales::Channel,
            "group" => Scales::Group(number("group_size").filter(|inputs| *inputs > 0)?),
            "block" if weights["block_structure"] == Value::from(vec![SCALE_BLOCK; 2]) => Scales::Block,
            _ => return None,
        };
        (!is_other).then_some(Self::Compressed { bits, packed, scales })
    }
}

/// The groups of modules that compressed-tensors quantises alike.
fn groups(config: &Fields) -> Vec<&Value> {
    let groups = config.get("config_groups").and_then(Value::as_object);
    groups.into_iter().flat_map(serde_json::Map::values).collect()
}

/// What a published quantisation leaves in 16 bit, and what it stores beside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exempt {
    /// Modules by their names, or by the start or the end of these, as the config lists them.
    pub modules: Vec<String>,
    /// The same by patterns.
    pub patterns: Vec<Pattern>,
    /// Ends of the names of the only modules that are quantised, where the config lists those.
    pub only: Vec<String>,
    /// Whether the head is quantised too.
    pub head: bool,
    /// A key that changes what is quantised in a way that is not known here.
    pub unknown: Option<&'static str>,
    /// Whether each quantised matrix has a scale for what it is multiplied with.
    pub static_activations: bool,
}

/// Patterns that are followed; more are as good as not understood.
const MOST_PATTERNS: usize = 64;

/// Whether an entry is a pattern that is not followed here.
fn is_pattern(entry: &str) -> bool {
    entry.contains(['*', '+', '?', '[', '(', '|', '^', '$', ':', '\\'])
}

impl Exempt {
    /// Reads it from `quantization_config`.
    ///
    /// # Errors
    /// A value of the wrong type.
    pub fn read(fields: &Fields) -> Result<Self, ConfigError> {
        let Some(config) = fields.object("quantization_config")? else { return Ok(Self::default()) };
        let mut modules: Vec<String> = Vec::new();
        for key in ["modules_to_not_convert", "ignored_layers", "ignore"] {
            match config.get(key) {
                None => {}
                Some(Value::Array(list)) => {
                    let names: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
                    let names = names.ok_or_else(|| config.invalid(key, "a list of module names"))?;
                    modules.extend(names.into_iter().filter(|name| !name.is_empty()).map(str::to_owned));
                }
                Some(_) => return Err(config.invalid(key, "a list of module names")),
            }
        }
        let mut patterns = Vec::new();
        modules.retain(|entry| {
            let pattern = Some(entry).filter(|_| patterns.len() < MOST_PATTERNS);
            let pattern = pattern.and_then(|entry| match entry.strip_prefix("re:") {
                Some(expression) => Pattern::of_expression(expression),
                None if entry.contains(".*") => Pattern::of_name(entry),
                None => None,
            });
            let is_plain = pattern.is_none();
            patterns.extend(pattern);
            is_plain
        });
        let dynamic = left_out(&config);
        let only = only(&config);
        let unread = |key: &str| match config.get(key) {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(Value::Object(map)) => !map.is_empty(),
            Some(Value::Array(list)) => !list.is_empty(),
            Some(_) => true,
        };
        let unknown = match () {
            () if dynamic.is_none() && unread("dynamic") => Some("dynamic"),
            () if only.is_none() && unread("modules_in_block_to_quantize") => {
                Some("modules_in_block_to_quantize")
            }
            () if config.get("lm_head").is_some_and(|value| !value.is_boolean() && !value.is_null()) => {
                Some("lm_head")
            }
            () if unread("kv_cache_scheme") => Some("kv_cache_scheme"),
            () => None,
        };
        patterns.extend(dynamic.unwrap_or_default());
        Ok(Self {
            modules,
            patterns,
            only: only.unwrap_or_default(),
            // Of compressed-tensors every linear module is quantised that is not left out.
            head: config.get("lm_head").is_some_and(|value| *value == true)
                || config.get("quant_method").is_some_and(|method| method == "compressed-tensors"),
            unknown,
            static_activations: config.get("activation_scheme").is_some_and(|scheme| scheme == "static")
                || groups(&config).iter().any(|group| {
                    group["input_activations"].is_object() && group["input_activations"]["dynamic"] != true
                }),
        })
    }

    /// Whether nothing is said of any module.
    #[must_use]
    pub fn lists_none(&self) -> bool {
        self.modules.is_empty() && self.patterns.is_empty() && self.only.is_empty()
    }

    /// Whether a module is one of them, as transformers 5.23.0 decides it: listed by its name, by that of a module that
    /// it lies in, or by the end of its name; or not among the only ones.
    #[must_use]
    pub fn leaves(&self, module: &str) -> bool {
        // Ends in the middle of a word are told by `is_unsure`.
        let dots = || module.match_indices('.').map(|(at, _)| at);
        let is_listed = |list: &[String]| {
            let has = |name: &str| list.iter().any(|listed| listed == name);
            has(module) || dots().any(|at| has(&module[..at]) || has(&module[at + 1..]))
        };
        self.patterns.iter().any(|pattern| pattern.matches(module))
            || is_listed(&self.modules)
            || (!self.only.is_empty() && !is_listed(&self.only))
    }

    /// Whether tools differ on what the list says of these modules, or it says what is not understood here: a pattern, a
    /// part of a name, single experts.
    #[must_use]
    pub fn is_unsure(&self, modules: &[String]) -> bool {
        let is_one_expert = |entry: &str| {
            let after = entry.rsplit_once("experts.").map(|(_, after)| after);
            after.is_some_and(|after| after.starts_with(|c: char| c.is_ascii_digit()))
        };
        let is_part = |entry: &str| {
            let alone = Self { modules: vec![entry.to_owned()], ..Self::default() };
            modules.iter().any(|module| module.contains(entry) && !alone.leaves(module))
        };
        self.unknown.is_some()
            || self.modules.iter().any(|entry| is_pattern(entry) || is_one_expert(entry) || is_part(entry))
    }
}

/// What GPTQ's tools leave out by `dynamic`; `None` where it says more than that.
fn left_out(config: &Fields) -> Option<Vec<Pattern>> {
    let rules = config.get("dynamic")?.as_object()?;
    // The first that matches counts: of those that leave out alone the order is none.
    let few = Some(rules.keys()).filter(|rules| rules.len() <= MOST_PATTERNS)?;
    few.map(|rule| Pattern::of_expression(rule.strip_prefix("-:")?)).collect()
}

/// The only modules of a layer that GPTQ's tools quantise: a list, or lists of those that are done together.
fn only(config: &Fields) -> Option<Vec<String>> {
    let lists = config.get("modules_in_block_to_quantize")?.as_array()?;
    let names = lists.iter().flat_map(|list| match list {
        Value::Array(names) => names.iter().collect::<Vec<_>>(),
        name => vec![name],
    });
    names.map(|name| Some(name.as_str()?.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<(Option<Quantization>, Exempt), ConfigError> {
        let fields = Fields::parse(format!(r#"{{"quantization_config":{json}}}"#).as_bytes())?;
        Ok((Quantization::read(&fields)?, Exempt::read(&fields)?))
    }

    #[test]
    fn groups_of_a_row_and_all_widths_of_gptq_are_known() {
        for (json, expected) in [
            (r#"{"quant_method":"awq","bits":4,"group_size":-1}"#, Quantization::Awq { group: WHOLE_ROW }),
            (r#"{"quant_method":"awq","version":"GEMM"}"#, Quantization::Awq { group: 128 }),
            (
                r#"{"quant_method":"gptq","bits":8,"group_size":32}"#,
                Quantization::Gptq { bits: 8, group: 32 },
            ),
            (r#"{"quant_method":"gptq","bits":3}"#, Quantization::Gptq { bits: 3, group: 128 }),
        ] {
            assert_eq!(read(json).expect("good").0, Some(expected), "{json}");
        }
        for unknown in [
            r#"{"quant_method":"awq","version":"gemv"}"#,
            r#"{"quant_method":"awq","bits":8}"#,
            r#"{"quant_method":"gptq","bits":5}"#,
        ] {
            assert_eq!(read(unknown).expect("good").0, None, "{unknown}");
        }
        assert!(read(r#"{"quant_method":"awq","group_size":-2}"#).is_err());
        assert!(read(r#"{"quant_method":"awq","modules_to_not_convert":[1]}"#).is_err());
    }

    #[test]
    fn modules_are_left_out_as_transformers_does_it() {
        let q = "model.layers.0.self_attn.q_proj".to_owned();
        for (entry, leaves, unsure) in [
            ("q_proj", true, false),
            ("self_attn.q_proj", true, false),
            ("model.layers.0", true, false),
            ("model.layers.0.self_attn.q_proj", true, false),
            ("lm_head", false, false),
            ("model.layers.1", false, false),
            // AutoAWQ looks for a part of the name, transformers does not.
            ("self_attn", false, true),
            ("_proj", false, true),
            ("re:.*q_proj", true, false),
            ("re:.*self_attn", true, false),
            ("re:.*mlp.*", false, false),
            (r"re:^model\.layers\.\d+\.self_attn\.q_proj$", true, false),
            (r"re:.*layers\.[0-9]+\.self_attn$", false, false),
            ("re:self_attn.*", false, false),
            ("re:.*(q|k)_proj", false, true),
            ("model.layers.*.self_attn", true, false),
            ("model.layers.*.mlp", false, false),
            ("model.layers.[0-9].self_attn", false, true),
            ("mlp.experts.3", false, true),
        ] {
            let json = serde_json::json!({ "quant_method": "awq", "modules_to_not_convert": [entry] });
            let (_, exempt) = read(&json.to_string()).expect("good");
            assert_eq!(
                (exempt.leaves(&q), exempt.is_unsure(std::slice::from_ref(&q))),
                (leaves, unsure),
                "{entry}"
            );
        }
        let gptq = |more: &str| read(&format!(r#"{{"quant_method":"gptq",{more}}}"#)).expect("good").1;
        for unknown in [r#""dynamic":{"+:.*q_proj":{"bits":8}}"#, r#""dynamic":{"-:(q|k)":{}}"#] {
            let exempt = gptq(unknown);
            assert_eq!((exempt.unknown, exempt.is_unsure(&[])), (Some("dynamic"), true), "{unknown}");
        }
        let exempt = gptq(r#""modules_in_block_to_quantize":[[3]]"#);
        assert_eq!(exempt.unknown, Some("modules_in_block_to_quantize"));
        let none = gptq(r#""dynamic":{},"lm_head":false"#);
        assert!(!none.is_unsure(&[]) && !none.head && none.lists_none());
        let some = gptq(
            r#""dynamic":{"-:.*q_proj.*":{}},"lm_head":true,"modules_in_block_to_quantize":[["self_attn.q_proj"],["mlp.up_proj"]]"#,
        );
        assert!(some.head && !some.is_unsure(std::slice::from_ref(&q)));
        let left = |module: &str| some.leaves(&format!("model.layers.0.{module}"));
        assert_eq!(["self_attn.q_proj", "mlp.up_proj", "mlp.down_proj"].map(left), [true, false, true]);
    }
}
