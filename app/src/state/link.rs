//! What of the page stands in its address, so that reload and Back return to it.
//!
//! `key=value` pairs after `#`, the keys being the CLI's flags in snake_case; an absent key means the default.
//! The one home of this format.

use form_urlencoded;
use phi3::dtype::DType;
use phi3::engine::Attention;
use phi3::estimate::{Format, KvPolicy, Options};

/// The part of the page that an address holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct View {
    /// Name of a preset, or [`OWN`] for a config that only this tab has.
    pub model: String,
    /// The choices; `device_memory` stands in `memory`, as typed.
    pub options: Options,
    /// Device memory as typed; empty for none.
    pub memory: String,
}

/// Stands for a pasted or dropped config, which is too long for an address.
pub const OWN: &str = "own";

impl View {
    /// The address of this view.
    #[must_use]
    pub fn to_hash(&self) -> String {
        let Options { dtype, kv_dtype, context, batch, attn, kv_policy, device_memory: _, .. } =
            &self.options;
        let pairs = [
            ("model", Some(self.model.clone())),
            ("context", context.map(|n| n.to_string())),
            ("dtype", dtype.map(|d| d.name().to_owned())),
            ("kv_dtype", kv_dtype.map(|d| d.name().to_owned())),
            ("kv_policy", kv_policy.map(|p| p.name().to_owned())),
            ("batch", batch.map(|n| n.to_string())),
            ("attn", attn.map(|a| attn_name(a).to_owned())),
            ("memory", Some(self.memory.clone()).filter(|m| !m.is_empty())),
        ];
        let mut out = form_urlencoded::Serializer::new(String::new());
        for (key, value) in pairs {
            if let Some(value) = value {
                out.append_pair(key, &value);
            }
        }
        out.finish()
    }

    /// The view of an address. What is unknown or unreadable in it counts as absent.
    #[must_use]
    pub fn from_hash(hash: &str) -> Self {
        let mut view = Self::default();
        for (key, value) in form_urlencoded::parse(hash.as_bytes()) {
            view.set_pair(&key, &value);
        }
        view
    }

    /// Sets one option from the `key=value` of a suggestion; false where it is not understood.
    pub fn set(&mut self, change: &str) -> bool {
        let Some((key, value)) = change.split_once('=') else { return false };
        let before = self.options.clone();
        self.set_pair(key, value);
        self.options != before
    }

    fn set_pair(&mut self, key: &str, value: &str) {
        let options = &mut self.options;
        match key {
            "model" => value.clone_into(&mut self.model),
            "memory" => value.clone_into(&mut self.memory),
            "context" => options.context = value.parse().ok().filter(|n| (1..=1 << 30).contains(n)),
            "batch" => options.batch = value.parse().ok().filter(|n| (1..=1 << 16).contains(n)),
            "dtype" => options.dtype = value.parse().ok().filter(|f| Format::ALL.contains(f)),
            "kv_dtype" => options.kv_dtype = value.parse().ok().filter(|d| DType::KV_CACHE.contains(d)),
            "kv_policy" => options.kv_policy = policy(value),
            "attn" => options.attn = attention(value),
            _ => {}
        }
    }

    /// Whether going from `before` to here is a step that Back should undo. Dragging the context is not.
    #[must_use]
    pub fn is_step_from(&self, before: &Self) -> bool {
        let still = |view: &Self| {
            let options = Options { context: None, ..view.options.clone() };
            Self { options, ..view.clone() }
        };
        still(self) != still(before)
    }
}

/// The CLI's name.
#[must_use]
pub fn attn_name(attn: Attention) -> &'static str {
    match attn {
        Attention::Eager => "eager",
        Attention::Fused => "fused",
    }
}

/// The attention of a CLI name.
#[must_use]
pub fn attention(name: &str) -> Option<Attention> {
    [Attention::Eager, Attention::Fused].into_iter().find(|a| attn_name(*a) == name)
}

/// The KV policy of a CLI name.
#[must_use]
pub fn policy(name: &str) -> Option<KvPolicy> {
    [KvPolicy::Full, KvPolicy::Window, KvPolicy::Paged].into_iter().find(|p| p.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_bindgen_test::wasm_bindgen_test;

    fn full() -> View {
        View {
            model: "phi-4-mini-instruct".to_owned(),
            options: Options {
                dtype: Some(DType::Q4K.into()),
                kv_dtype: Some(DType::Q8_0),
                context: Some(6144),
                batch: Some(4),
                attn: Some(Attention::Fused),
                kv_policy: Some(KvPolicy::Paged),
                device: None,
                backend: None,
                calibration: None,
                device_memory: None,
            },
            memory: "15.6 GiB & more=#".to_owned(),
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn round_trip() {
        for view in [View::default(), full()] {
            assert_eq!(View::from_hash(&view.to_hash()), view, "{}", view.to_hash());
        }
        assert!(!full().to_hash().contains(['#', ' ']));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn nonsense_is_absence() {
        for hash in [
            "",
            "&&==&",
            "context=0&batch=-1&dtype=i64&kv_dtype=q4_k&kv_policy=all&attn=flash&x=1",
            "%ff%00=%zz",
        ] {
            assert_eq!(View::from_hash(hash), View::default(), "{hash}");
        }
        assert_eq!(View::from_hash("context=99999999999999999999").options.context, None);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn suggestions_are_understood() {
        let mut view = View::default();
        for change in
            ["context=2048", "batch=2", "kv_policy=window", "kv_dtype=q8_0", "dtype=q4_k", "attn=fused"]
        {
            assert!(view.set(change), "{change}");
        }
        assert!(!view.set("max_memory=1") && !view.set("context"));
        assert_eq!(view.options.kv_dtype, Some(DType::Q8_0));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn only_the_context_slides_without_a_step() {
        let slid = View { options: Options { context: Some(1024), ..full().options }, ..full() };
        assert!(!slid.is_step_from(&full()));
        let changed = View { options: Options { batch: None, ..full().options }, ..full() };
        assert!(changed.is_step_from(&full()));
    }
}
