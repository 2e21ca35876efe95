//! Parts beside the language model: an encoder of pictures, of sound, adapters. Named, never counted from a config.

use crate::config::Fields;

/// A part that is no part of the language model; [`crate::tensors`] knows the names of its tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Apart {
    /// What it is.
    pub name: &'static str,
    /// The key of the config that tells of it.
    pub key: &'static str,
}

const KNOWN: [Apart; 7] = [
    Apart { name: "picture encoder", key: "vision_config" },
    Apart { name: "sound encoder", key: "audio_config" },
    Apart { name: "picture encoder", key: "img_processor" },
    Apart { name: "sound encoder", key: "audio_processor" },
    Apart { name: "encoders of pictures and sound", key: "embd_layer" },
    Apart { name: "adapter for pictures", key: "vision_lora" },
    Apart { name: "adapter for sound", key: "speech_lora" },
];

/// The parts that a config tells of.
pub(super) fn apart(fields: &Fields) -> Vec<Apart> {
    KNOWN.into_iter().filter(|part| fields.get(part.key).is_some_and(|value| value.is_object())).collect()
}
