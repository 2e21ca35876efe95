//! How an attempt ended, in classes that ask for different next steps.

use serde::{Deserialize, Serialize};

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeClass {
    /// It loaded and computed.
    Passed,
    /// Somebody ended it.
    Cancelled,
    /// The load config, the model's config or an option is refused.
    ConfigInvalid,
    /// No engine here knows the architecture.
    UnknownArchitecture,
    /// Files are incomplete or damaged.
    DownloadCorrupt,
    /// The checkpoint lacks a tensor or has another shape than the config says.
    MissingTensor,
    /// The device asked for is not there.
    DeviceAbsent,
    /// The device does not compute in the number format.
    DtypeUnsupported,
    /// Layers could not be placed.
    PlacementFailed,
    /// The host ran out of memory while loading.
    OomLoadHost,
    /// The device ran out of memory for weights.
    OomDeviceWeights,
    /// The device ran out of memory for the KV cache.
    OomDeviceKv,
    /// The device ran out of memory for activations.
    OomDeviceActivation,
    /// A sequence is longer than the model or its cache takes.
    ContextTooLong,
    /// A sequence longer than the sliding window failed or went wrong.
    WindowError,
    /// A kernel is missing or failed.
    KernelError,
    /// Logits hold NaN or infinity.
    NanInf,
    /// It computes, but not what it should.
    WrongTokens,
    /// It took longer than it may.
    Timeout,
    /// It gave no sign of life.
    Stall,
    /// The worker's process ended without a word.
    WorkerLost,
    /// The machine failed, not the load: a disk that is full or cannot be read, a worker that cannot be started.
    SystemError,
}

impl OutcomeClass {
    /// Every class.
    pub const ALL: [Self; 22] = [
        Self::Passed,
        Self::Cancelled,
        Self::ConfigInvalid,
        Self::UnknownArchitecture,
        Self::DownloadCorrupt,
        Self::MissingTensor,
        Self::DeviceAbsent,
        Self::DtypeUnsupported,
        Self::PlacementFailed,
        Self::OomLoadHost,
        Self::OomDeviceWeights,
        Self::OomDeviceKv,
        Self::OomDeviceActivation,
        Self::ContextTooLong,
        Self::WindowError,
        Self::KernelError,
        Self::NanInf,
        Self::WrongTokens,
        Self::Timeout,
        Self::Stall,
        Self::WorkerLost,
        Self::SystemError,
    ];

    /// The name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Cancelled => "cancelled",
            Self::ConfigInvalid => "config_invalid",
            Self::UnknownArchitecture => "unknown_architecture",
            Self::DownloadCorrupt => "download_corrupt",
            Self::MissingTensor => "missing_tensor",
            Self::DeviceAbsent => "device_absent",
            Self::DtypeUnsupported => "dtype_unsupported",
            Self::PlacementFailed => "placement_failed",
            Self::OomLoadHost => "oom_load_host",
            Self::OomDeviceWeights => "oom_device_weights",
            Self::OomDeviceKv => "oom_device_kv",
            Self::OomDeviceActivation => "oom_device_activation",
            Self::ContextTooLong => "context_too_long",
            Self::WindowError => "window_error",
            Self::KernelError => "kernel_error",
            Self::NanInf => "nan_inf",
            Self::WrongTokens => "wrong_tokens",
            Self::Timeout => "timeout",
            Self::Stall => "stall",
            Self::WorkerLost => "worker_lost",
            Self::SystemError => "system_error",
        }
    }

    /// Whether the same attempt would end the same way, so that an identical retry is refused.
    #[must_use]
    pub fn is_deterministic(self) -> bool {
        !matches!(
            self,
            Self::Passed
                | Self::Cancelled
                | Self::DeviceAbsent
                | Self::Timeout
                | Self::Stall
                | Self::WorkerLost
                | Self::SystemError
        )
    }

    /// The class of an error by its code, where the code alone tells it.
    fn of_code(code: &str) -> Option<Self> {
        Some(match code {
            "cancelled" => Self::Cancelled,
            "load_config_invalid"
            | "unsupported_load_config"
            | "config_invalid"
            | "unsupported_config"
            | "invalid_option"
            | "device_map_invalid"
            | "max_memory_invalid"
            | "disk_offload"
            | "duplicate_device"
            | "missing_modules"
            | "unknown_device"
            | "unknown_module"
            | "empty_prompt"
            | "no_chat_template"
            | "no_tokenizer"
            | "token_out_of_range" => Self::ConfigInvalid,
            "unknown_architecture" => Self::UnknownArchitecture,
            "weights_corrupt" | "missing_shards" | "not_a_weight_file" | "incomplete_model"
            | "tokenizer_invalid" | "not_a_file" | "unsafe_path" | "broken_link" | "too_large"
            | "gguf_parts_missing" | "not_downloaded" | "not_found" | "hub_bad_answer" | "hub_truncated"
            | "hub_wrong_bytes" => Self::DownloadCorrupt,
            "weights_mismatch" => Self::MissingTensor,
            "device_absent" | "device_unhealthy" => Self::DeviceAbsent,
            "weights_unsupported" => Self::DtypeUnsupported,
            "context_too_long" | "sequence_full" => Self::ContextTooLong,
            "no_device" | "splits_module" | "splits_tied" => Self::PlacementFailed,
            "backend" | "unavailable" => Self::KernelError,
            "nan_logits" => Self::NanInf,
            "tokenizer_failed" | "template_error" => Self::WrongTokens,
            "worker_stalled" => Self::Stall,
            "worker_killed" | "protocol_error" => Self::WorkerLost,
            "io_error" | "storage_full" | "database" | "data_dir" | "worker_not_started"
            | "cache_not_writable" => Self::SystemError,
            // The Hub, or the way to it: no fault of the model's.
            code if code.starts_with("hub_") => Self::SystemError,
            _ => return None,
        })
    }

    /// The class of an error by its code and what it is about (`path`: `kv_cache`); `on_host` says whether the CPU
    /// computed. What was predicted not to fit is of the class that it would have ended in.
    #[must_use]
    pub fn of_error(code: &str, path: Option<&str>, on_host: bool) -> Option<Self> {
        match code {
            "oom" | "does_not_fit" | "over_budget" => {
                let path = path.unwrap_or_default();
                let term = ["kv_cache", "activation"].into_iter().find(|term| path.contains(term));
                Some(Self::of_oom(on_host, term.unwrap_or("weights")))
            }
            code => Self::of_code(code),
        }
    }

    /// The class of an out-of-memory by where it happened and which term of the estimate was being allocated.
    #[must_use]
    pub fn of_oom(on_host: bool, term: &str) -> Self {
        match (on_host, term) {
            (true, _) => Self::OomLoadHost,
            (_, "kv_cache") => Self::OomDeviceKv,
            (_, "activation") => Self::OomDeviceActivation,
            _ => Self::OomDeviceWeights,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_json() {
        for class in OutcomeClass::ALL {
            assert_eq!(serde_json::to_value(class).expect("a name"), class.name());
            assert_eq!(OutcomeClass::ALL.iter().filter(|other| other.name() == class.name()).count(), 1);
        }
    }

    #[test]
    fn files_that_cannot_be_taken_and_workers_that_lie_have_their_class() {
        let class = |code| OutcomeClass::of_error(code, None, true);
        for code in ["unsafe_path", "incomplete_model", "not_a_file"] {
            assert_eq!(class(code), Some(OutcomeClass::DownloadCorrupt), "{code}");
        }
        assert_eq!(class("protocol_error"), Some(OutcomeClass::WorkerLost));
        for code in ["io_error", "storage_full", "worker_not_started", "hub_timeout", "hub_offline"] {
            assert_eq!(class(code), Some(OutcomeClass::SystemError), "{code}");
        }
        for code in ["tokenizer_invalid", "broken_link", "too_large", "hub_wrong_bytes"] {
            assert_eq!(class(code), Some(OutcomeClass::DownloadCorrupt), "{code}");
        }
        for code in ["missing_modules", "unknown_module", "max_memory_invalid"] {
            assert_eq!(class(code), Some(OutcomeClass::ConfigInvalid), "{code}");
        }
        assert_eq!(class("splits_tied"), Some(OutcomeClass::PlacementFailed));
        assert_eq!(class("internal"), None);
    }
}
