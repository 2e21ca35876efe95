//! A load config in one spelling: keys as Hugging Face writes them today, sizes in bytes, one name a value.

use serde_json::{Map, Value};

use super::budget::budget_key;
use super::{LoadConfig, torch_name};
use crate::estimate::activations::Attention;
use crate::placement::DeviceId;

impl LoadConfig {
    /// The overrides in one spelling; what is left to the defaults is not in it. Parsing gives the same config.
    #[must_use]
    pub fn to_map(&self) -> Map<String, Value> {
        let mut map = Map::new();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                map.insert(key.to_owned(), value);
            }
        };
        put("dtype", self.dtype.and_then(torch_name).map(Value::from));
        put("quantization", self.quantization.map(|format| format.name().into()));
        let details = &self.quantization_config;
        put("quantization_config", (!details.is_empty()).then(|| details.clone().into()));
        put("device_map", self.device_map.as_ref().map(super::device_map::to_json));
        put(
            "max_memory",
            (!self.max_memory.is_empty()).then(|| {
                let entry = |(device, bytes): (&DeviceId, &u64)| (budget_key(device), Value::from(*bytes));
                Value::Object(self.max_memory.iter().map(entry).collect())
            }),
        );
        put("low_cpu_mem_usage", self.low_cpu_mem_usage.map(Value::from));
        put("offload_folder", self.offload_folder.clone().map(Value::from));
        put(
            "attn_implementation",
            self.attention.map(|attention| {
                Value::from(match attention {
                    Attention::Eager => "eager",
                    Attention::Fused if self.is_flash => "flash_attention_2",
                    Attention::Fused => "fused",
                })
            }),
        );
        put(
            "rope_scaling",
            self.rope_scaling.as_ref().map(|scaling| scaling.clone().map_or(Value::Null, Value::Object)),
        );
        put("sliding_window", self.sliding_window.map(Value::from));
        put("use_cache", self.use_cache.map(Value::from));
        put("trust_remote_code", self.trust_remote_code.map(Value::from));
        put("revision", self.revision.clone().map(Value::from));
        put("cache_dir", self.cache_dir.clone().map(Value::from));
        put("use_fast", self.use_fast.map(Value::from));
        put("add_bos_token", self.add_bos_token.map(Value::from));
        put("legacy", self.legacy.map(Value::from));
        put("chat_template", self.chat_template.clone().map(Value::from));
        map
    }
}
