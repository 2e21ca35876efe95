//! `convert` on files that cannot be expressed: exit 2, the reason by name, and nothing left behind.

use std::path::Path;

use crate::support::program::preflight;

/// The metadata of a GGUF file, of numbers and texts.
#[derive(Default)]
struct Gguf {
    keys: u64,
    bytes: Vec<u8>,
}

impl Gguf {
    fn text(self, key: &str, value: &str) -> Self {
        self.put(key, 8, &[&(value.len() as u64).to_le_bytes()[..], value.as_bytes()].concat())
    }

    fn number(self, key: &str, value: u32) -> Self {
        self.put(key, 4, &value.to_le_bytes())
    }

    fn texts(self, key: &str, values: &[&str]) -> Self {
        let mut list = [&8u32.to_le_bytes()[..], &(values.len() as u64).to_le_bytes()].concat();
        for value in values {
            list.extend((value.len() as u64).to_le_bytes());
            list.extend(value.as_bytes());
        }
        self.put(key, 9, &list)
    }

    fn put(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
        self.keys += 1;
        self.bytes.extend((key.len() as u64).to_le_bytes());
        self.bytes.extend(key.as_bytes());
        self.bytes.extend(kind.to_le_bytes());
        self.bytes.extend(value);
        self
    }

    /// With f32 tensors of zeros, each `[rows, columns]`.
    fn write(&self, path: &Path, tensors: &[(&str, &[u64])]) {
        let mut file =
            [b"GGUF".as_slice(), &3u32.to_le_bytes(), &(tensors.len() as u64).to_le_bytes()].concat();
        file.extend(self.keys.to_le_bytes());
        file.extend(&self.bytes);
        let mut offset = 0u64;
        for (name, shape) in tensors {
            file.extend((name.len() as u64).to_le_bytes());
            file.extend(name.as_bytes());
            file.extend((shape.len() as u32).to_le_bytes());
            shape.iter().rev().for_each(|d| file.extend(d.to_le_bytes()));
            file.extend(0u32.to_le_bytes());
            file.extend(offset.to_le_bytes());
            offset = (offset + shape.iter().product::<u64>() * 4).next_multiple_of(32);
        }
        file.resize(file.len().next_multiple_of(32) + offset as usize, 0);
        std::fs::write(path, file).expect("written");
    }
}

/// A llama of one layer without weights worth the name.
fn llama(pre: &str) -> Gguf {
    llama_of(1, pre)
}

/// The same with a number of layers in its metadata.
fn llama_of(layers: u32, pre: &str) -> Gguf {
    Gguf::default()
        .text("general.architecture", "llama")
        .number("llama.embedding_length", 8)
        .number("llama.feed_forward_length", 6)
        .number("llama.block_count", layers)
        .number("llama.attention.head_count", 2)
        .number("llama.attention.head_count_kv", 2)
        .number("llama.context_length", 32)
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", pre)
        .texts("tokenizer.ggml.tokens", &["a", "b", "ab"])
        .texts("tokenizer.ggml.merges", &["a b"])
        .number("tokenizer.ggml.eos_token_id", 0)
        .put("llama.attention.layer_norm_rms_epsilon", 6, &1e-5f32.to_le_bytes())
}

const TENSORS: [(&str, &[u64]); 11] = [
    ("token_embd.weight", &[3, 8]),
    ("output_norm.weight", &[8]),
    ("blk.0.attn_norm.weight", &[8]),
    ("blk.0.ffn_norm.weight", &[8]),
    ("blk.0.attn_q.weight", &[8, 8]),
    ("blk.0.attn_k.weight", &[8, 8]),
    ("blk.0.attn_v.weight", &[8, 8]),
    ("blk.0.attn_output.weight", &[8, 8]),
    ("blk.0.ffn_gate.weight", &[6, 8]),
    ("blk.0.ffn_up.weight", &[6, 8]),
    ("blk.0.ffn_down.weight", &[8, 6]),
];

#[test]
fn what_phi3_cannot_express_is_refused_by_name() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (source, out) = (dir.path().join("m.gguf"), dir.path().join("out"));
    let convert = || preflight(&["convert", source.to_str().expect("UTF-8"), out.to_str().expect("UTF-8")]);
    let rope: (&str, &[u64]) = ("rope_freqs.weight", &[2]);
    for (pre, tensors, says) in [
        ("mystery", TENSORS.to_vec(), "pre-tokenizer `mystery`"),
        ("tekken", TENSORS.to_vec(), "pre-tokenizer `tekken`"),
        ("default", TENSORS.to_vec(), "pre-tokenizer `default`"),
        ("smollm", [&TENSORS[..], &[rope]].concat(), "`rope_freqs.weight` scales rotary"),
    ] {
        llama(pre).write(&source, &tensors);
        let ran = convert();
        assert_eq!((ran.code, ran.stderr.lines().count()), (2, 1), "{pre}: {ran:?}");
        assert!(ran.stderr.contains(says), "{pre}: {ran:?}");
        assert!(!out.join("config.json").exists(), "{pre}");
    }
    // The same file without the fault converts.
    llama("smollm").write(&source, &TENSORS);
    let ran = convert();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(out.join("model.safetensors").is_file());
}

/// Metadata and tensors are two descriptions: where they differ, nothing is called exact.
#[test]
fn a_file_that_contradicts_itself_is_not_exact() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let more = ("blk.1.attn_norm.weight", &[8u64] as &[u64]);
    let estimate = |layers: u32, tensors: &[(&str, &[u64])]| {
        let file = dir.path().join(format!("{layers}.gguf"));
        llama_of(layers, "smollm").write(&file, tensors);
        preflight(&["estimate", file.to_str().expect("UTF-8"), "--json"])
    };
    let badges = |tensors: &[(&str, &[u64])]| {
        let report = estimate(1, tensors).json();
        let exact = |term: &serde_json::Value| term["badge"] == "exact";
        let is_told =
            report["assumptions"].as_array().expect("a list").iter().any(|a| a["name"] == "checkpoint");
        (report["terms"].as_array().expect("terms").iter().filter(|term| exact(term)).count(), is_told)
    };
    assert_eq!((badges(&TENSORS), badges(&[&TENSORS[..], &[more]].concat())), ((2, false), (0, true)));
    // Of a model of which a layer is not there nobody could say that it fits.
    for layers in [2, 4096] {
        let refused = estimate(layers, &TENSORS);
        assert_eq!((refused.code, refused.error_code().as_str()), (2, "weights_mismatch"), "{refused:?}");
    }
}
