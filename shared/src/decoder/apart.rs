//! Parts beside the language model: an encoder of pictures, of sound, adapters. Named, never counted from a config.

use crate::config::Fields;

/// A part that is no part of the language model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Apart {
    /// What it is.
    pub name: &'static str,
    /// The key of the config that tells of it.
    pub key: &'static str,
    /// What stands in the names of its tensors.
    pub in_names: &'static [&'static str],
}

const KNOWN: [Apart; 7] = [
    Apart {
        name: "picture encoder",
        key: "vision_config",
        in_names: &["vision_tower.", "vision_model.", "multi_modal_projector.", "image_embed."],
    },
    Apart { name: "sound encoder", key: "audio_config", in_names: &["audio_tower.", "audio_embed."] },
    Apart {
        name: "picture encoder",
        key: "img_processor",
        in_names: &["vision_embed_tokens.", "image_embed."],
    },
    Apart { name: "sound encoder", key: "audio_processor", in_names: &["audio_embed."] },
    Apart { name: "encoders of pictures and sound", key: "embd_layer", in_names: &["embed_tokens_extend."] },
    Apart {
        name: "adapter for pictures",
        key: "vision_lora",
        in_names: &[".lora_A.vision.", ".lora_B.vision."],
    },
    Apart {
        name: "adapter for sound",
        key: "speech_lora",
        in_names: &[".lora_A.speech.", ".lora_B.speech."],
    },
];

/// The parts that a config tells of.
pub(super) fn apart(fields: &Fields) -> Vec<Apart> {
    KNOWN.into_iter().filter(|part| fields.get(part.key).is_some_and(|value| value.is_object())).collect()
}
