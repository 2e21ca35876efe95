//! One function for each thing that is read from strangers: it must not panic, nor hold more than its input explains.

use phi3::config::{Fields, GenerationConfig, ModelConfig, PRESETS, tokenizer_vocab_size};
use phi3::decoder::Decoder;
use phi3::dtype::DType;
use phi3::estimate::{self, KvPolicy, Options, Size};
use phi3::inspect::{self, Subject};
use phi3::link::{self, LinkError, MAX_STATE_BYTES};
use phi3::load_config::LoadConfig;
use phi3::placement;
use phi3::weights::gguf::{Gguf, can_dequantize, dequantize as dequantize_blocks};
use phi3::weights::safetensors::ShardIndex;
use phi3::weights::{BytesSource, Checkpoint, StoredTensor, WeightSource, convert};
use pollster::block_on;

use super::allocations::{SOME_VALUES, twice, within};

/// Reads what it is given, or panics.
pub type Target = fn(&[u8]);

/// Every target by name.
pub const TARGETS: [(&str, Target); 7] = [
    ("config", config),
    ("load_config", load_config),
    ("safetensors", safetensors),
    ("shards", shards),
    ("gguf", gguf),
    ("dequantize", dequantize),
    ("link", link),
];

/// Folders with good inputs of a target, from the root of the repository.
#[must_use]
pub fn seeds(target: &str) -> &'static [&'static str] {
    match target {
        "config" => &["tests/data/configs", "public/presets"],
        "safetensors" => &["tests/goldens/checkpoints/mha", "tests/goldens/checkpoints/head_dim"],
        _ => &[],
    }
}

/// A message is one line, and short.
fn is_message(error: &impl ToString) {
    let text = error.to_string();
    assert!(!text.contains('\n'), "{text:?}");
}

/// `config.json` and the small files beside it.
pub fn config(data: &[u8]) {
    within(2 * data.len() + SOME_VALUES, || {
        let _ = (GenerationConfig::parse(data), tokenizer_vocab_size(data));
        let fields = match Fields::parse(data) {
            Ok(fields) => fields,
            Err(error) => return is_message(&error),
        };
        let inspected = inspect::inspect(Subject::config_only(&fields));
        let decoder = match Decoder::from_fields(&fields) {
            Ok(decoder) => decoder,
            Err(error) => return is_message(&error),
        };
        let report = inspected.expect("a config that is valid can be explained");
        assert!(
            report.findings.iter().all(|finding| !finding.message.contains('\n')),
            "{:?}",
            report.findings
        );
        for kv_policy in KvPolicy::KINDS {
            let options = Options {
                kv_policy: Some(kv_policy),
                device_memory: Some(Size(8 << 30)),
                ..Options::default()
            };
            let report = estimate::estimate(&decoder, None, &options).expect("defaults are in range");
            let sum = report.terms.iter().fold(0u64, |sum, term| sum.saturating_add(term.bytes));
            assert_eq!(report.total_bytes, sum, "the total is the sum of its terms");
        }
    });
}

/// Overrides of a load, and a model with them.
pub fn load_config(data: &[u8]) {
    within(2 * data.len() + SOME_VALUES, || match LoadConfig::parse(data) {
        Err(first) => {
            is_message(&first);
            let all = Fields::parse(data).map(|fields| LoadConfig::from_map_all(fields.map()));
            if let Ok(Err(errors)) = all {
                errors.iter().for_each(is_message);
            }
        }
        Ok(overrides) => {
            for preset in PRESETS {
                let fields = Fields::parse(preset.config.as_bytes()).expect("a preset");
                if let Err(error) = overrides.apply(&fields) {
                    is_message(&error);
                }
            }
        }
    });
}

/// One file of safetensors.
pub fn safetensors(data: &[u8]) {
    let source = BytesSource(data);
    let opened = within(twice(data.len()), || {
        block_on(Checkpoint::from_safetensors(vec![("m.safetensors".to_owned(), source)]))
    });
    match opened {
        Ok(checkpoint) => exercise(&checkpoint, &[data.len()]),
        Err(error) => is_message(&error),
    }
}

/// An index and two shards: two lengths of 16 bits, the index, the first shard, the second.
pub fn shards(data: &[u8]) {
    let Some((lengths, rest)) = data.split_first_chunk::<4>() else { return };
    let length = |at: usize| usize::from(u16::from_le_bytes([lengths[at], lengths[at + 1]]));
    let (index, rest) = rest.split_at(length(0).min(rest.len()));
    let (first, second) = rest.split_at(length(2).min(rest.len()));
    let opened = within(twice(data.len()), || {
        let index = ShardIndex::parse("model.safetensors.index.json", index)?;
        let shards = index.shards();
        assert!(
            shards.iter().all(|shard| shard.ends_with(".safetensors") && !shard.contains(['/', '\\', '\0']))
        );
        let files = shards.into_iter().zip([first, second].map(BytesSource)).collect();
        block_on(Checkpoint::from_shards(&index, files))
    });
    match opened {
        Ok(checkpoint) => exercise(&checkpoint, &[first.len(), second.len()]),
        Err(error) => is_message(&error),
    }
}

/// A GGUF file: its header, its tensors, its conversion.
pub fn gguf(data: &[u8]) {
    let source = BytesSource(data);
    if let Err(error) = within(twice(data.len()), || block_on(Gguf::read("m.gguf", &source))) {
        return is_message(&error);
    }
    let opened = within(twice(data.len()), || block_on(Checkpoint::from_gguf("m.gguf", BytesSource(data))));
    match opened {
        Ok((config, checkpoint)) => {
            exercise(&checkpoint, &[data.len()]);
            let fields = Fields::from_map(config);
            drop(ModelConfig::from_fields(&fields));
            if let Ok(decoder) = Decoder::from_fields(&fields) {
                hold(&checkpoint, &decoder);
            }
        }
        Err(error) => is_message(&error),
    }
    if let Err(error) = block_on(convert::convert("m.gguf", &source, |_| Ok(std::io::sink()))) {
        is_message(&error);
    }
}

/// Blocks of the format that the first byte picks.
pub fn dequantize(data: &[u8]) {
    let Some((pick, blocks)) = data.split_first() else { return };
    const FORMATS: [DType; 10] = [
        DType::Q4_0,
        DType::Q4_1,
        DType::Q5_0,
        DType::Q5_1,
        DType::Q8_0,
        DType::Q2K,
        DType::Q3K,
        DType::Q4K,
        DType::Q5K,
        DType::Q6K,
    ];
    let dtype = FORMATS[usize::from(*pick) % FORMATS.len()];
    assert!(can_dequantize(dtype));
    let count = blocks.len() / dtype.block_bytes() as usize;
    let mut values = vec![f32::NAN; count * dtype.block_len() as usize];
    dequantize_blocks(dtype, &blocks[..count * dtype.block_bytes() as usize], &mut values);
}

/// A share link; what is not UTF-8 cannot come to it.
pub fn link(data: &[u8]) {
    // The JSON of a link is limited, whatever it was packed from.
    let most = MAX_STATE_BYTES + SOME_VALUES;
    within(most, || {
        let text = String::from_utf8_lossy(data);
        let decoded = match link::decode(&text, PRESETS) {
            Ok(decoded) => decoded,
            Err(error) => return is_message(&error),
        };
        // Another packer may make a link shorter than ours can.
        let again = match link::encode(&decoded.state, PRESETS) {
            Err(LinkError::StateTooLarge { .. }) => return,
            encoded => encoded.expect("what was read may be written"),
        };
        let second = link::decode(&again, PRESETS).expect("ours");
        assert_eq!((&second.state, second.unknown.len()), (&decoded.state, 0));
        assert_eq!(link::encode(&second.state, PRESETS).as_deref(), Ok(again.as_str()));
    });
}

/// A checkpoint held against a config of any family and sized: whatever lies in it, no byte is lost between modules.
fn hold<S: WeightSource>(checkpoint: &Checkpoint<S>, decoder: &Decoder) {
    let words = checkpoint.contradiction(decoder);
    assert!(words.is_none_or(|words| !words.contains('\n')), "several lines");
    let stored = checkpoint.language_model(decoder);
    let options = Options::default();
    let report = estimate::estimate(decoder, Some(&stored), &options).expect("defaults are in range");
    let resolved = estimate::Resolved::new(decoder, Some(&stored), &options).expect("the same");
    let modules = placement::workload(decoder, Some(&stored), &resolved).modules;
    let placed = modules.iter().fold(0u64, |sum, module| sum.saturating_add(module.weight_bytes));
    assert_eq!(placed, report.weights_bytes, "modules hold what the checkpoint does");
}

/// Every tensor lies in its file, and reading it neither panics nor fails for another reason than its format.
pub(crate) fn exercise<S: WeightSource>(checkpoint: &Checkpoint<S>, file_bytes: &[usize]) {
    for (name, StoredTensor { file, offset, len, .. }) in checkpoint.tensors() {
        assert!(offset + len <= file_bytes[*file] as u64, "{name}");
        if let Err(error) = block_on(checkpoint.read_as_f32(name)) {
            assert_eq!(error.code(), "weights_unsupported", "{error}");
        }
    }
    let config = ModelConfig::parse(br#"{"model_type":"phi3","num_hidden_layers":2}"#).expect("valid");
    if let Err(error) = checkpoint.check(&config.decoder()) {
        is_message(&error);
    }
    for family in [
        r#"{"model_type":"qwen3_moe","num_hidden_layers":2,"num_experts":4,"num_experts_per_tok":2}"#,
        r#"{"model_type":"llama","num_hidden_layers":2,"quantization_config":{"quant_method":"awq"}}"#,
    ] {
        hold(checkpoint, &Decoder::parse(family.as_bytes()).expect("valid"));
    }
    let _ = (checkpoint.parameter_count(), checkpoint.stored_dtype());
}
