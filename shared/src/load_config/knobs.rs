//! The knobs of a load as data.

use serde::Serialize;

/// What a knob's value looks like: what a form shows for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One of the allowed names.
    Choice,
    /// True or false.
    Flag,
    /// A text.
    Text,
    /// A whole number above 0, or null.
    Count,
    /// A strategy, a device, or a map of modules to devices.
    DeviceMap,
    /// A map of devices to sizes.
    Budgets,
    /// An object of parameters, or null.
    Parameters,
}

/// What becomes of a knob in this build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "effect", content = "reason", rename_all = "snake_case")]
pub enum Effect {
    /// Changes the load, in these words.
    Honoured(&'static str),
    /// Accepted, changes nothing, for this reason.
    Nothing(&'static str),
    /// Sized by the estimate; a load is refused for this reason, unless the value is the default.
    EstimateOnly(&'static str),
    /// A load is refused for this reason, unless the value is the default.
    Refused(&'static str),
}

impl Effect {
    /// In a word or two.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Honoured(_) => "honoured",
            Self::Nothing(_) => "no effect",
            Self::EstimateOnly(_) => "estimate only",
            Self::Refused(_) => "refused",
        }
    }

    /// What it does, or why it does nothing.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Honoured(words)
            | Self::Nothing(words)
            | Self::EstimateOnly(words)
            | Self::Refused(words) => words,
        }
    }
}

/// One key of a load config.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Knob {
    /// Hugging Face's name, in its present spelling; ours where Hugging Face has none.
    pub key: &'static str,
    /// Other spellings of the key.
    pub spellings: &'static [&'static str],
    /// The knob whose value this key states: itself, but for the shorthands of `quantization`.
    pub states: &'static str,
    /// What a value looks like.
    pub kind: Kind,
    /// Values that are allowed, in words.
    pub allowed: &'static str,
    /// Values worth trying, as JSON.
    pub candidates: &'static [&'static str],
    /// The value where nothing is said, as JSON; `None` leaves it to the model's files.
    pub default: Option<&'static str>,
    /// Whether null is a value of its own (takes it away) and not a return to the default.
    pub null_is_a_value: bool,
    /// What it means.
    pub meaning: &'static str,
    /// What it does to memory.
    pub memory: &'static str,
    /// What it does to what the model computes, or to speed.
    pub quality: &'static str,
    /// What becomes of it in this build.
    pub effect: Effect,
}

impl Knob {
    /// The knob of a key in any spelling.
    #[must_use]
    pub fn find(key: &str) -> Option<&'static Self> {
        KNOBS.iter().find(|knob| knob.names().any(|name| name == key))
    }

    /// Every spelling of its key.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.key).chain(self.spellings.iter().copied())
    }
}

/// A knob with nothing special; the table below says what differs.
const PLAIN: Knob = Knob {
    key: "",
    spellings: &[],
    states: "",
    kind: Kind::Flag,
    allowed: "true or false",
    candidates: &[],
    default: None,
    null_is_a_value: false,
    meaning: "",
    memory: "none",
    quality: "none",
    effect: Effect::Nothing(""),
};

const QUANTIZED: &str = "matrices are quantized while they are loaded and multiplied as blocks; rows that are no whole blocks of 32 stay in 16 bit";

/// Every knob that is known, in the order in which a form shows them.
pub const KNOBS: [Knob; 20] = {
    use Effect::{Honoured, Nothing, Refused};
    [
        Knob {
            key: "dtype",
            spellings: &["torch_dtype"],
            states: "dtype",
            kind: Kind::Choice,
            allowed: "float32, bfloat16, float16 or auto (as stored); also f32, bf16, fp16, torch.float16 and the like",
            candidates: &[r#""float32""#, r#""bfloat16""#, r#""float16""#],
            default: Some(r#""auto""#),
            meaning: "Number format that weights are held and multiplied in",
            memory: "weights and KV cache scale with its width: float32 takes twice what 16 bit takes",
            quality: "bfloat16 keeps the range and loses digits; float16 keeps digits and can overflow; float32 is the reference",
            effect: Honoured("weights are held in it; sums are taken in f32"),
            ..PLAIN
        },
        Knob {
            key: "quantization",
            states: "quantization",
            kind: Kind::Choice,
            allowed: "q8_0 (8 bit), q4_0 (4 bit) or none",
            candidates: &[r#""q8_0""#, r#""q4_0""#],
            default: Some(r#""none""#),
            meaning: "Quantizes matrices while they are loaded; ours, not Hugging Face's",
            memory: "weights take 8.5 bits (q8_0) or 4.5 bits (q4_0) a parameter, scales included",
            quality: "q8_0 is close to 16 bit; q4_0 changes answers",
            effect: Honoured(QUANTIZED),
            ..PLAIN
        },
        Knob {
            key: "load_in_8bit",
            states: "quantization",
            default: Some("false"),
            meaning: "Hugging Face's shorthand for 8 bit (bitsandbytes); here quantization q8_0",
            memory: "as quantization q8_0",
            quality: "close to 16 bit",
            effect: Honoured(QUANTIZED),
            ..PLAIN
        },
        Knob {
            key: "load_in_4bit",
            states: "quantization",
            default: Some("false"),
            meaning: "Hugging Face's shorthand for 4 bit (bitsandbytes); here quantization q4_0",
            memory: "as quantization q4_0",
            quality: "changes answers",
            effect: Honoured(QUANTIZED),
            ..PLAIN
        },
        Knob {
            key: "quantization_config",
            states: "quantization_config",
            kind: Kind::Parameters,
            allowed: "an object with load_in_8bit or load_in_4bit and bitsandbytes' other settings",
            meaning: "Hugging Face's long form of the two above, with bitsandbytes' settings",
            memory: "as quantization",
            quality: "as quantization",
            effect: Refused(
                "bitsandbytes' settings beside the number of bits have no meaning here; keep load_in_8bit or load_in_4bit alone",
            ),
            ..PLAIN
        },
        Knob {
            key: "device_map",
            states: "device_map",
            kind: Kind::DeviceMap,
            allowed: "one device: cpu, cuda:0, wgpu:0 or an index; a strategy over the devices of max_memory, or without it over all CUDA devices and the CPU: auto (the first GPU that holds everything, else balanced), balanced (the GPUs share alike), balanced_low_0 (the first GPU as free as can be), sequential (one after the other); or a map of module names (model.layers.3, model.layers, the empty name for all) to devices",
            candidates: &[r#""auto""#, r#""sequential""#, r#""balanced""#, r#""cpu""#, r#""cuda:0""#],
            default: Some(r#""auto""#),
            meaning: "Where the layers go",
            memory: "says on which device weights, KV cache and activations of a layer lie; estimate places them within max_memory and says why",
            quality: "none; layers on the CPU are slow",
            effect: Honoured(
                "where each layer is held and computed: on CUDA devices and the CPU beside them, else on devices of one engine",
            ),
            ..PLAIN
        },
        Knob {
            key: "max_memory",
            states: "max_memory",
            kind: Kind::Budgets,
            allowed: "a map of cpu and of GPUs by index to sizes in bytes, GB or GiB",
            meaning: "Budget of each device",
            memory: "a true limit: a load that needs more is refused before it starts",
            quality: "none; what does not fit a GPU's budget goes to the CPU, which is slow",
            effect: Honoured(
                "layers are placed within the budgets, and every allocation is counted against them",
            ),
            ..PLAIN
        },
        Knob {
            key: "low_cpu_mem_usage",
            states: "low_cpu_mem_usage",
            candidates: &["true", "false"],
            default: Some("true"),
            meaning: "Whether tensors stream to their device one at a time",
            memory: "false holds the whole checkpoint on the host while loading; true holds one tensor",
            effect: Honoured("true: one tensor at a time; false: the whole checkpoint first"),
            ..PLAIN
        },
        Knob {
            key: "offload_folder",
            states: "offload_folder",
            kind: Kind::Text,
            allowed: "a folder's path",
            meaning: "Where layers are kept that fit no device",
            memory: "moves weights from memory to disk",
            quality: "none; very slow",
            effect: Refused("layers are not offloaded to disk in this build"),
            ..PLAIN
        },
        Knob {
            key: "attn_implementation",
            states: "attn_implementation",
            kind: Kind::Choice,
            allowed: "eager, or fused (also sdpa, flash_attention_2)",
            candidates: &[r#""eager""#, r#""fused""#],
            default: Some(r#""eager""#),
            meaning: "How attention is computed: eager writes the scores out and needs no special kernel",
            memory: "eager holds rows of scores as long as the context; fused holds none",
            quality: "the same up to rounding; fused is faster where a device has it",
            effect: Honoured("eager; fused where the device has it, which the CPU does"),
            ..PLAIN
        },
        Knob {
            key: "rope_scaling",
            spellings: &["rope_parameters"],
            states: "rope_scaling",
            kind: Kind::Parameters,
            allowed: "null for none; {\"rope_type\": \"linear\", \"factor\": 2.0}; {\"rope_type\": \"longrope\" (also su), \"short_factor\": [...], \"long_factor\": [...]} with a number for each rotated pair of a head; type is the old spelling of rope_type",
            candidates: &[r#"{"rope_type":"linear","factor":2.0}"#],
            null_is_a_value: true,
            meaning: "Scaling of rotary positions, for contexts beyond the trained length",
            memory: "none by itself; the longer context it is set for takes KV cache",
            quality: "linear was not trained for: expect worse answers at every length; longrope needs the factors that the model was trained with",
            effect: Honoured(
                "linear, and longrope, which yarn means in phi3 files too; dynamic and llama3 are sized, and refused by a load: no phi3 model was trained with them",
            ),
            ..PLAIN
        },
        Knob {
            key: "sliding_window",
            states: "sliding_window",
            kind: Kind::Count,
            allowed: "a whole number above 0, or null for all",
            candidates: &["null", "2047"],
            null_is_a_value: true,
            meaning: "Keys that a query sees",
            memory: "caps the KV cache only under the window policy; our engine keeps all keys",
            quality: "null where the model was trained with a window is untested territory",
            effect: Honoured("keys that a query sees, or null for all"),
            ..PLAIN
        },
        Knob {
            key: "use_cache",
            states: "use_cache",
            default: Some("true"),
            meaning: "Whether keys and values of past tokens are kept",
            memory: "none: what a step computes with is held while it runs",
            quality: "none; false recomputes every token",
            effect: Honoured("false computes the whole sequence for every token: a check on the cache"),
            ..PLAIN
        },
        Knob {
            key: "trust_remote_code",
            states: "trust_remote_code",
            default: Some("false"),
            meaning: "Whether Python from the model's repository may run",
            effect: Nothing("phi3 is native; repository code is never run"),
            ..PLAIN
        },
        Knob {
            key: "revision",
            states: "revision",
            kind: Kind::Text,
            allowed: "a branch, tag or commit",
            meaning: "Revision of the repository on the Hub",
            effect: Honoured("of a repository on the Hub; a local path has none"),
            ..PLAIN
        },
        Knob {
            key: "cache_dir",
            states: "cache_dir",
            kind: Kind::Text,
            allowed: "a folder's path",
            meaning: "Folder of downloaded files, in Hugging Face's layout",
            effect: Honoured("where a repository of the Hub is looked for; a local path needs no cache"),
            ..PLAIN
        },
        Knob {
            key: "use_fast",
            states: "use_fast",
            default: Some("true"),
            meaning: "Whether the tokenizer is the fast one, read from tokenizer.json",
            quality: "false can split text differently",
            effect: Refused("only tokenizer.json (the fast tokenizer) is read; remove use_fast: false"),
            ..PLAIN
        },
        Knob {
            key: "add_bos_token",
            states: "add_bos_token",
            candidates: &["true", "false"],
            meaning: "Whether the tokenizer puts the bos id before a prompt",
            quality: "a wrong first token can spoil every answer",
            effect: Honoured("whether the bos id goes before a prompt"),
            ..PLAIN
        },
        Knob {
            key: "legacy",
            states: "legacy",
            meaning: "Llama tokenizers: whether spaces after special tokens are split the old way",
            quality: "splits text differently after special tokens",
            effect: Refused("tokenizer.json says how it splits; remove this key"),
            ..PLAIN
        },
        Knob {
            key: "chat_template",
            states: "chat_template",
            kind: Kind::Text,
            allowed: "a Jinja template",
            meaning: "Template that takes the place of the tokenizer's",
            quality: "a model answers badly outside the template it was trained with",
            effect: Honoured("the template of --chat and of chat requests"),
            ..PLAIN
        },
    ]
};

/// Keys that have no meaning as a whole, each with what to write instead.
pub(super) const REFUSED_KEYS: [(&str, &str); 1] = [(
    "tokenizer",
    "name the tokenizer's knobs at the top level: use_fast, add_bos_token, legacy, chat_template",
)];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load_config::LoadConfig;

    #[test]
    fn every_knob_is_complete_and_its_own_examples_are_valid() {
        for knob in KNOBS {
            assert!(!knob.meaning.is_empty() && !knob.effect.words().is_empty(), "{knob:?}");
            assert!(Knob::find(knob.states).is_some_and(|stated| stated.states == stated.key), "{knob:?}");
            assert_eq!(KNOBS.iter().filter(|other| other.names().any(|name| name == knob.key)).count(), 1);
            for value in knob.candidates.iter().copied().chain(knob.default) {
                for name in knob.names() {
                    let json = format!(r#"{{"{name}": {value}}}"#);
                    assert!(LoadConfig::parse(json.as_bytes()).is_ok(), "{json}");
                }
            }
            let null = LoadConfig::parse(format!(r#"{{"{}": null}}"#, knob.key).as_bytes());
            let says_something = null.expect("null is always allowed") != LoadConfig::default();
            assert_eq!(says_something, knob.null_is_a_value, "{}", knob.key);
        }
    }
}
