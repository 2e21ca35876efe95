use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use pollster::block_on;

use super::*;
use crate::config::{GenerationConfig, ModelConfig};
use crate::weights::gguf::test_file::File;
use crate::weights::{BytesSource, Checkpoint};

/// Two query heads of four, one key head, one layer; every row of a tensor holds its own number.
fn llama() -> File {
    let tokens = ["<s>", "</s>", "a", "b", "ab"];
    File::default()
        .text("general.architecture", "llama")
        .number("llama.embedding_length", 8)
        .number("llama.feed_forward_length", 6)
        .number("llama.block_count", 1)
        .number("llama.attention.head_count", 2)
        .number("llama.attention.head_count_kv", 1)
        .number("llama.context_length", 32)
        .number("llama.rope.dimension_count", 4)
        .key("llama.rope.freq_base", |writer, key| writer.float(key, 1e5))
        .key("llama.attention.layer_norm_rms_epsilon", |writer, key| writer.float(key, 1e-5))
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", "smollm")
        .key("tokenizer.ggml.tokens", |writer, key| writer.texts(key, &tokens))
        .key("tokenizer.ggml.token_type", |writer, key| writer.numbers(key, &[3, 3, 1, 1, 1]))
        .key("tokenizer.ggml.merges", |writer, key| writer.texts(key, &["a b"]))
        .number("tokenizer.ggml.bos_token_id", 0)
        .number("tokenizer.ggml.eos_token_id", 1)
        .text("tokenizer.chat_template", "{{ messages }}")
        .tensor("token_embd.weight", &[5, 8], 1000.0)
        .tensor("output_norm.weight", &[8], 2.5)
        .tensor("blk.0.attn_norm.weight", &[8], 2.5)
        .tensor("blk.0.ffn_norm.weight", &[8], 2.5)
        .tensor("blk.0.attn_q.weight", &[8, 8], 100.0)
        .tensor("blk.0.attn_k.weight", &[4, 8], 200.0)
        .tensor("blk.0.attn_v.weight", &[4, 8], 300.0)
        .tensor("blk.0.attn_output.weight", &[8, 8], 400.0)
        .tensor("blk.0.ffn_gate.weight", &[6, 8], 500.0)
        .tensor("blk.0.ffn_up.weight", &[6, 8], 600.0)
        .tensor("blk.0.ffn_down.weight", &[8, 6], 700.0)
}

#[derive(Clone)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("one thread").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The files of a conversion.
fn run(file: &File) -> Result<BTreeMap<String, Vec<u8>>, WeightsError> {
    let mut files: BTreeMap<String, Shared> = BTreeMap::new();
    let create =
        |name: &str| Ok(files.entry(name.to_owned()).or_insert_with(|| Shared(Arc::default())).clone());
    block_on(convert("m.gguf", &BytesSource(file.bytes()), create))?;
    Ok(files.into_iter().map(|(name, bytes)| (name, bytes.0.lock().expect("one thread").clone())).collect())
}

/// First value of each row.
fn rows(checkpoint: &Checkpoint<BytesSource<Vec<u8>>>, name: &str) -> Vec<f32> {
    let columns = *checkpoint.tensors()[name].shape.last().expect("not empty");
    block_on(checkpoint.read_as_f32(name)).expect("there").iter().step_by(columns).copied().collect()
}

fn open(files: &BTreeMap<String, Vec<u8>>) -> (ModelConfig, Checkpoint<BytesSource<Vec<u8>>>) {
    let model = ModelConfig::parse(&files["config.json"]).expect("valid");
    let weights = BytesSource(files["model.safetensors"].clone());
    let opened = Checkpoint::from_safetensors(vec![("model.safetensors".to_owned(), weights)]);
    (model, block_on(opened).expect("good"))
}

#[test]
fn parts_are_fused_in_order_and_rotary_pairs_split_into_halves() {
    let files = run(&llama()).expect("converts");
    let (model, checkpoint) = open(&files);
    checkpoint.check(&model.decoder()).expect("the tensors of the config");
    let range = |first: u16, count: u16| (first..first + count).map(f32::from).collect::<Vec<_>>();
    let mut qkv =
        [100.0, 102.0, 101.0, 103.0, 104.0, 106.0, 105.0, 107.0, 200.0, 202.0, 201.0, 203.0].to_vec();
    qkv.extend(range(300, 4));
    assert_eq!(rows(&checkpoint, "model.layers.0.self_attn.qkv_proj.weight"), qkv);
    let gate_up = [range(500, 6), range(600, 6)].concat();
    assert_eq!(rows(&checkpoint, "model.layers.0.mlp.gate_up_proj.weight"), gate_up);
    assert_eq!(rows(&checkpoint, "model.layers.0.mlp.down_proj.weight"), range(700, 8));
    assert_eq!(rows(&checkpoint, "model.embed_tokens.weight"), range(1000, 5));
    assert_eq!(block_on(checkpoint.read_as_f32("model.norm.weight")).expect("there"), [2.5; 8]);
    assert_eq!(files, run(&llama()).expect("converts"), "equal input gives equal bytes");
}

#[test]
fn configs_say_what_the_metadata_say() {
    let files = run(&llama().number("tokenizer.ggml.eot_token_id", 4)).expect("converts");
    let (model, _) = open(&files);
    assert_eq!((model.rope_theta, model.rms_norm_eps, model.tie_word_embeddings), (1e5, 1e-5, true));
    assert_eq!((model.max_position_embeddings, model.original_max_position_embeddings), (32, 32));
    assert_eq!((model.sliding_window, model.dtype, model.defaulted.len()), (None, Some(DType::F32), 0));
    assert_eq!(
        (model.bos_token_id, model.eos_token_ids.as_slice(), model.pad_token_id),
        (Some(0), &[1][..], None)
    );
    let generation = GenerationConfig::parse(&files["generation_config.json"]).expect("valid");
    assert_eq!(generation.eos_token_ids, [1, 4]);

    let json = |name: &str| serde_json::from_slice::<serde_json::Value>(&files[name]).expect("JSON");
    assert_eq!(json("tokenizer_config.json")["chat_template"], "{{ messages }}");
    assert_eq!(json("special_tokens_map.json"), serde_json::json!({"bos_token": "<s>", "eos_token": "</s>"}));
    assert_eq!(json("tokenizer.json")["model"]["merges"], serde_json::json!([["a", "b"]]));
    assert_eq!(json("tokenizer.json")["post_processor"]["type"], "ByteLevel");

    let bos = llama().key("tokenizer.ggml.add_bos_token", |w, key| w.string(key).u32(7).raw(&[1]));
    let files = run(&bos).expect("converts");
    let tokenizer: serde_json::Value = serde_json::from_slice(&files["tokenizer.json"]).expect("JSON");
    assert_eq!(tokenizer["post_processor"]["processors"][1]["single"][0]["SpecialToken"]["id"], "<s>");
}

#[test]
fn an_output_tensor_unties_the_head() {
    let (model, checkpoint) = open(&run(&llama().tensor("output.weight", &[5, 8], 900.0)).expect("converts"));
    assert!(!model.tie_word_embeddings);
    assert_eq!(rows(&checkpoint, "lm_head.weight"), [900.0, 901.0, 902.0, 903.0, 904.0]);
}

/// Each line: what is wrong, the file, a part of the message. All of them are refused before a file is created.
#[test]
fn what_phi3_cannot_express_is_refused() {
    let good = llama;
    let bias = |file: File, part: &str| file.tensor_of(&format!("blk.0.{part}.bias"), &[8], 0, vec![0; 32]);
    let cases: Vec<(&str, File, &[&str])> = vec![
        ("another architecture", good().text("general.architecture", "gemma2"), &["architecture `gemma2`"]),
        ("no architecture", good().without("general.architecture"), &["architecture ``"]),
        (
            "rope_freqs",
            good().tensor_of("rope_freqs.weight", &[2], 0, vec![0; 8]),
            &["`rope_freqs.weight` scales rotary"],
        ),
        ("linear scaling", good().text("llama.rope.scaling.type", "linear"), &["scaling `linear`"]),
        (
            "biases, all named",
            bias(bias(good(), "attn_q"), "attn_output"),
            &["`blk.0.attn_q.bias` is a bias", "`blk.0.attn_output.bias` is a bias"],
        ),
        ("experts by key", good().number("llama.expert_count", 8), &["mixture of 8 experts"]),
        (
            "experts by tensor",
            good().tensor_of("blk.0.ffn_gate_inp.weight", &[8], 0, vec![0; 32]),
            &["belongs to a mixture"],
        ),
        ("unknown tensor", good().tensor_of("blk.0.odd.weight", &[8], 0, vec![0; 32]), &["has no place"]),
        (
            "missing tensor",
            good().without("blk.0.attn_k.weight").without("blk.0.ffn_up.weight"),
            &["`blk.0.attn_k.weight` is missing", "`blk.0.ffn_up.weight` is missing"],
        ),
        (
            "misshapen tensor",
            good().tensor("blk.0.attn_v.weight", &[8, 8], 0.0),
            &["`blk.0.attn_v.weight` is [8, 8], expected [4, 8]"],
        ),
        (
            "no dequantisation",
            good().tensor_of("blk.0.attn_norm.weight", &[8], 24, vec![0; 8]),
            &["is int8, which is not dequantised"],
        ),
        ("partial rotary", good().number("llama.rope.dimension_count", 2), &["rotates 0.5 of each head"]),
        ("no heads", good().without("llama.attention.head_count"), &["no num_attention_heads"]),
        ("0 layers", good().number("llama.block_count", 0), &["no num_hidden_layers"]),
        ("2^31 layers", good().number("llama.block_count", 1 << 31), &["`num_hidden_layers`"]),
        (
            "heads that do not divide",
            good().number("llama.attention.head_count_kv", 3),
            &["3 key/value heads"],
        ),
        ("SentencePiece", good().text("tokenizer.ggml.model", "llama"), &["tokenizer model `llama`"]),
        ("unknown pre-tokenizer", good().text("tokenizer.ggml.pre", "mystery"), &["pre-tokenizer `mystery`"]),
        ("no pre-tokenizer", good().without("tokenizer.ggml.pre"), &["pre-tokenizer `default`"]),
        ("no tokens", good().without("tokenizer.ggml.tokens"), &["no tokenizer.ggml.tokens"]),
        (
            "one text twice",
            good().key("tokenizer.ggml.tokens", |w, key| w.texts(key, &["a", "b", "a", "c", "d"])),
            &["tokens 0 and 2"],
        ),
        (
            "more tokens than rows",
            good().key("tokenizer.ggml.tokens", |w, key| w.texts(key, &["a"; 6])),
            &["6 tokens"],
        ),
        (
            "no key heads",
            good().number("llama.attention.head_count_kv", 0),
            &["`llama.attention.head_count_kv` is 0"],
        ),
        ("another vocabulary", good().number("llama.vocab_size", 7), &["is 7, but the embedding has 5 rows"]),
        (
            "a merge of strangers",
            good().key("tokenizer.ggml.merges", |w, key| w.texts(key, &["a b", "a c"])),
            &["merge 1 needs `c`, which is no token"],
        ),
        (
            "a merge into nothing",
            good().key("tokenizer.ggml.merges", |w, key| w.texts(key, &["b a"])),
            &["merge 0 needs `ba`, which is no token"],
        ),
        (
            "an endless template",
            good().text("tokenizer.chat_template", &"x".repeat((1 << 20) + 1)),
            &["chat template of 1048577 bytes"],
        ),
        ("a merge of one", good().key("tokenizer.ggml.merges", |w, key| w.texts(key, &["ab"])), &["merge 0"]),
        (
            "bos out of range",
            good().number("tokenizer.ggml.bos_token_id", 5),
            &["is 5, but there are 5 tokens"],
        ),
    ];
    for (case, file, parts) in cases {
        let create = |name: &str| -> io::Result<Vec<u8>> { panic!("{case}: {name} was created") };
        let error =
            block_on(convert("m.gguf", &BytesSource(file.bytes()), create)).expect_err(case).to_string();
        for part in parts {
            assert!(error.contains(part), "{case}: {error}");
        }
    }
}

#[test]
fn a_full_disk_names_the_file() {
    let create = |_: &str| Err::<Vec<u8>, _>(io::Error::from(io::ErrorKind::StorageFull));
    let error = block_on(convert("m.gguf", &BytesSource(llama().bytes()), create)).expect_err("full");
    assert_eq!(error.file, "config.json");
    assert!(error.to_string().contains("cannot be written"), "{error}");
}
