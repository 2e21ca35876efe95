use std::collections::BTreeMap;

use pollster::block_on;

use super::*;
use crate::weights::{BytesSource, ShardIndex};

const CONFIG: &str = r#"{"model_type":"phi3","hidden_size":16,"intermediate_size":24,"num_hidden_layers":2,
    "num_attention_heads":4,"num_key_value_heads":2,"vocab_size":300,"pad_token_id":0,"eos_token_id":[1,2],
    "max_position_embeddings":64,"torch_dtype":"bfloat16","made_up_key":[1.5]}"#;

fn config() -> ModelConfig {
    ModelConfig::parse(CONFIG.as_bytes()).expect("valid")
}

fn written(dtype: DType) -> (Written, BTreeMap<String, Vec<u8>>) {
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut order = Vec::new();
    let create = in_memory(&mut order);
    let done = block_on(synth(CONFIG.as_bytes(), 7, dtype, create)).expect("writes");
    for (name, bytes) in order {
        files.insert(name, bytes.lock().expect("one thread").clone());
    }
    (done, files)
}

type Shared = std::sync::Arc<std::sync::Mutex<Vec<u8>>>;

/// Files in memory, in the order of creation.
fn in_memory(order: &mut Vec<(String, Shared)>) -> impl FnMut(&str) -> io::Result<MemoryFile> {
    |name: &str| {
        let shared = Shared::default();
        order.push((name.to_owned(), shared.clone()));
        Ok(MemoryFile(shared))
    }
}

struct MemoryFile(Shared);

impl io::Write for MemoryFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("one thread").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_written_checkpoint_is_the_one_in_memory_and_matches_the_config() {
    for dtype in [DType::F32, DType::Bf16, DType::F16] {
        let (done, files) = written(dtype);
        let source = BytesSource(files["model.safetensors"].clone());
        let checkpoint =
            block_on(Checkpoint::from_safetensors(vec![("m".to_owned(), source)])).expect("good");
        checkpoint.check(&config().decoder()).expect("the tensors of the config");
        assert_eq!(
            (checkpoint.stored_dtype(), checkpoint.parameter_count()),
            (Some(dtype), done.params_total)
        );
        let memory = block_on(synthetic_checkpoint(&config(), 7, dtype)).expect("good");
        for name in checkpoint.tensors().keys() {
            let both = [block_on(checkpoint.read_as_f32(name)), block_on(memory.read_as_f32(name))];
            let [left, right] = both.map(|values| values.expect("there"));
            assert_eq!(left, right, "{name}");
        }
        for file in &done.files {
            assert_eq!(file.bytes, files[&file.name].len() as u64, "{}", file.name);
        }
    }
}

#[test]
fn the_users_config_is_kept_but_for_the_dtype() {
    let (_, files) = written(DType::F16);
    let mut expected: Value = serde_json::from_str(CONFIG).expect("JSON");
    expected["torch_dtype"] = json!("float16");
    assert_eq!(serde_json::from_slice::<Value>(&files["config.json"]).expect("JSON"), expected);
    let generation: Value = serde_json::from_slice(&files["generation_config.json"]).expect("JSON");
    assert_eq!(generation["eos_token_id"], json!([1, 2]));
}

#[test]
fn values_are_like_those_of_a_fresh_model() {
    let checkpoint = block_on(synthetic_checkpoint(&config(), 1, DType::F32)).expect("good");
    let statistics = |name: &str| {
        let values = block_on(checkpoint.read_as_f32(name)).expect("there");
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / values.len() as f32;
        let most = values.iter().map(|v| (v - mean).abs()).fold(0.0, f32::max);
        (mean, variance.sqrt(), most)
    };
    // 4,800 values: the mean is within 5 deviations of 0.02 / sqrt(4800), the deviation within 5 of 1 / sqrt(2 × 4800).
    let (mean, deviation, most) = statistics("model.embed_tokens.weight");
    assert!(
        mean.abs() < 0.0015 && (deviation / DEVIATION - 1.0).abs() < 0.05 && most < 0.0702,
        "{mean} {deviation} {most}"
    );
    let (mean, deviation, _) = statistics("model.norm.weight");
    assert!((mean - 1.0).abs() < 0.025 && deviation > 0.005, "{mean} {deviation}");
}

#[test]
fn a_tensor_depends_on_seed_and_name_alone() {
    let read = |config: &ModelConfig, seed: u64, name: &str| {
        let checkpoint = block_on(synthetic_checkpoint(config, seed, DType::Bf16)).expect("good");
        block_on(checkpoint.read_as_f32(name)).expect("there")
    };
    let (short, mut deep) = (config(), config());
    deep.num_hidden_layers = 5;
    let (first, second) = ("model.layers.0.mlp.down_proj.weight", "model.layers.1.mlp.down_proj.weight");
    assert_eq!(read(&short, 7, second), read(&deep, 7, second));
    assert_ne!(read(&short, 7, first), read(&short, 7, second));
    assert_ne!(read(&short, 7, first), read(&short, 8, first));
    // Pinned: another value here means that every recorded result on synthetic weights is void.
    assert_eq!(&read(&short, 7, first)[..3], PINNED);
}

/// Computed apart, in Python from the description of [`Values`].
const PINNED: &[f32] = &[0.014343262, 0.017089844, -0.013244629];

#[test]
fn any_range_reads_as_it_stands_in_the_whole() {
    for dtype in [DType::F32, DType::Bf16] {
        let (_, file) = synthetic_files(&config(), 3, dtype).expect("good").remove(0);
        let mut whole = vec![0; file.len() as usize];
        block_on(file.read_into(0, &mut whole)).expect("inside");
        let starts = (0..40).chain(file.layout.header.len() - 5..file.layout.header.len() + 5);
        for start in starts.chain(whole.len() - 9..whole.len()) {
            for len in [0, 1, 2, 3, 5, 8, 13, 4099] {
                let end = start + len;
                let mut part = vec![0; len];
                let read = block_on(file.read_into(start as u64, &mut part));
                assert_eq!(read.is_ok(), end <= whole.len(), "{start} {len}");
                if read.is_ok() {
                    assert_eq!(part, whole[start..end], "{start} {len}");
                }
            }
        }
    }
}

#[test]
fn shards_hold_the_same_tensors_as_one_file() {
    let layouts = layouts(&config(), DType::F32, 8_000).expect("good");
    assert!(layouts.len() > 2);
    let index = ShardIndex::parse(INDEX_FILE, &index_json(&layouts).expect("several")).expect("good");
    let files =
        layouts.into_iter().map(|layout| (layout.file.clone(), SyntheticFile::new(layout, 7))).collect();
    let sharded = block_on(Checkpoint::from_shards(&index, files)).expect("good");
    let single = block_on(synthetic_checkpoint(&config(), 7, DType::F32)).expect("good");
    sharded.check(&config().decoder()).expect("the tensors of the config");
    for name in single.tensors().keys() {
        let both = [block_on(sharded.read_as_f32(name)), block_on(single.read_as_f32(name))];
        let [left, right] = both.map(|values| values.expect("there"));
        assert_eq!(left, right, "{name}");
    }
}

#[test]
fn what_cannot_be_made_is_refused() {
    let create = |_: &str| -> io::Result<Vec<u8>> { panic!("a file was created") };
    let code = |json: &str, dtype| block_on(synth(json.as_bytes(), 0, dtype, create)).expect_err(json).code();
    assert_eq!(code(CONFIG, DType::Q4_0), "weights_unsupported");
    assert_eq!(code("", DType::F32), "config_invalid");
    assert_eq!(code(r#"{"model_type":"llama"}"#, DType::F32), "unknown_architecture");
}
