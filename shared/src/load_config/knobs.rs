//! The knobs of a load as data.

/// What becomes of a knob in this build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Changes the load, in these words.
    Honoured(&'static str),
    /// Accepted, changes nothing, for this reason.
    Nothing(&'static str),
    /// Refused unless null or false, for this reason.
    Refused(&'static str),
}

/// One key of a load config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Knob {
    /// Hugging Face's name.
    pub key: &'static str,
    /// What becomes of it.
    pub effect: Effect,
}

const fn knob(key: &'static str, effect: Effect) -> Knob {
    Knob { key, effect }
}

/// Every knob that is known.
pub const KNOBS: [Knob; 22] = {
    use Effect::{Honoured, Nothing, Refused};
    const QUANTIZED: &str = "weights are not quantized on load in this build; use dtype float16 or bfloat16";
    [
        knob("torch_dtype", Honoured("format that weights are held and multiplied in")),
        knob("dtype", Honoured("the newer spelling of torch_dtype")),
        knob("device_map", Honoured("device that all layers go to")),
        knob("max_memory", Honoured("budget in bytes: a load that needs more is refused")),
        knob("low_cpu_mem_usage", Honoured("true: one tensor at a time; false: the whole checkpoint first")),
        knob("rope_scaling", Honoured("scaling of rotary positions; the model was not trained for it")),
        knob("sliding_window", Honoured("keys that a query sees, or null for all")),
        knob("attn_implementation", Honoured("eager; fused where the device has it")),
        knob("add_bos_token", Honoured("whether the bos id goes before a prompt")),
        knob("chat_template", Honoured("template that takes the place of the tokenizer's")),
        knob("use_cache", Nothing("keys and values are always kept")),
        knob("use_fast", Nothing("tokenizer.json is always what is read")),
        knob("trust_remote_code", Nothing("phi3 is native; repository code is never run")),
        knob("revision", Nothing("a local path has no revision")),
        knob("cache_dir", Nothing("a local path needs no cache")),
        knob("quantization", Refused(QUANTIZED)),
        knob("quantization_config", Refused(QUANTIZED)),
        knob("load_in_8bit", Refused(QUANTIZED)),
        knob("load_in_4bit", Refused(QUANTIZED)),
        knob("offload_folder", Refused("layers are not offloaded to disk in this build")),
        knob("legacy", Refused("tokenizer.json says how it splits; remove this key")),
        knob(
            "tokenizer",
            Refused("name the tokenizer's knobs at the top level: use_fast, add_bos_token, chat_template"),
        ),
    ]
};
