//! What is stated and not yet written: what is left at the end is reported, so that nothing is forgotten.

use serde_json::{Map, Value};

use super::{Loss, Subject, Unexpressed};
use crate::dtype::DType;
use crate::load_config::leaves;

/// The values of a subject, taken out one by one as they are written.
pub(super) struct Stated {
    overrides: Map<String, Value>,
    context: Option<u64>,
    kv_dtype: Option<DType>,
    unexpressed: Vec<Unexpressed>,
}

impl Stated {
    pub(super) fn new(subject: &Subject<'_>) -> Self {
        Self {
            overrides: subject.load_config.to_map(),
            context: subject.context,
            kv_dtype: subject.kv_dtype,
            unexpressed: Vec::new(),
        }
    }

    /// A value that is still to be written or reported.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.overrides.get(key)
    }

    /// Takes a value that will be written or reported.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.overrides.shift_remove(key)
    }

    /// Takes a flag.
    pub(super) fn take_flag(&mut self, key: &str) -> Option<bool> {
        self.take(key).and_then(|value| value.as_bool())
    }

    /// Takes a text.
    pub(super) fn take_text(&mut self, key: &str) -> Option<String> {
        self.take(key).and_then(|value| value.as_str().map(str::to_owned))
    }

    /// Takes every override.
    pub(super) fn take_all(&mut self) -> Map<String, Value> {
        std::mem::take(&mut self.overrides)
    }

    /// Takes the context.
    pub(super) fn take_context(&mut self) -> Option<u64> {
        self.context.take()
    }

    /// Takes the format of the KV cache.
    pub(super) fn take_kv_dtype(&mut self) -> Option<DType> {
        self.kv_dtype.take()
    }

    /// Takes what every server does by itself: it keeps a cache, runs no repository code, maps files, places layers
    /// where there is room, and quantizes nothing.
    pub(super) fn grant_what_servers_do(&mut self) {
        for (key, value) in [
            ("use_cache", true.into()),
            ("use_fast", true.into()),
            ("trust_remote_code", false.into()),
            ("low_cpu_mem_usage", true.into()),
            ("quantization", "none".into()),
            ("device_map", "auto".into()),
        ] {
            self.grant(key, &value);
        }
    }

    /// Takes a value that the target has by itself.
    pub(super) fn grant(&mut self, key: &str, value: &Value) {
        if self.overrides.get(key) == Some(value) {
            self.overrides.shift_remove(key);
        }
    }

    /// Reports that the text does not hold a value.
    pub(super) fn dropped(&mut self, path: impl Into<String>, value: Value, reason: impl Into<String>) {
        self.report(path.into(), value, Loss::Dropped, reason.into());
    }

    /// Reports that the text comes close to a value.
    pub(super) fn approximated(&mut self, path: impl Into<String>, value: Value, reason: impl Into<String>) {
        self.report(path.into(), value, Loss::Approximated, reason.into());
    }

    /// Takes a value and reports that the text does not hold it.
    pub(super) fn drop_key(&mut self, key: &str, reason: &str) {
        if let Some(value) = self.take(key) {
            self.dropped(key, value, reason);
        }
    }

    fn report(&mut self, path: String, value: Value, loss: Loss, reason: String) {
        self.unexpressed.push(Unexpressed { path, value, loss, reason });
    }

    /// Everything that was reported, and what nobody has taken.
    pub(super) fn finish(mut self) -> Vec<Unexpressed> {
        const NO_EQUIVALENT: &str = "has no equivalent there";
        for (key, value) in self.take_all() {
            for (path, value) in leaves(&key, &value) {
                self.dropped(path, value, NO_EQUIVALENT);
            }
        }
        if let Some(context) = self.take_context() {
            self.dropped("context", context.into(), NO_EQUIVALENT);
        }
        if let Some(dtype) = self.take_kv_dtype() {
            self.dropped("kv_dtype", dtype.name().into(), NO_EQUIVALENT);
        }
        self.unexpressed
    }
}
