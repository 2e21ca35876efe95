//! What differs from layer to layer in files: heads, widths, windows.

use super::*;
use crate::estimate::KvPolicy;

const KV_HEADS: &str = "llama.attention.head_count_kv";

fn listed(file: File, key: &str, numbers: &[i32]) -> File {
    file.key(key, |writer, key| writer.numbers(key, numbers))
}

/// A list for the layers is one number where all are alike.
#[test]
fn heads_of_each_layer_are_read() {
    let (decoder, _) = open(&listed(llama(), KV_HEADS, &[2, 2, 2, 2])).expect("opens");
    assert_eq!(estimate::bytes_per_token(&decoder, DType::Bf16), 1024);

    // Of every layer its own: heads of queries and of keys, the width of the MLP.
    let (heads, kv_heads, widths) = ([8, 8, 16, 4], [2, 1, 8, 4], [512, 512, 256, 1024]);
    let mut file = listed(llama(), KV_HEADS, &kv_heads);
    file = listed(file, "llama.attention.head_count", &heads);
    file = listed(file, "llama.feed_forward_length", &widths);
    for layer in 0..4 {
        let [heads, kv_heads, width] = [heads, kv_heads, widths].map(|list| list[layer] as u64);
        for (name, dims) in [
            ("attn_q", [256, heads * 32]),
            ("attn_k", [256, kv_heads * 32]),
            ("attn_v", [256, kv_heads * 32]),
            ("attn_output", [heads * 32, 256]),
            ("ffn_gate", [256, width]),
            ("ffn_up", [256, width]),
            ("ffn_down", [width, 256]),
        ] {
            file = add(file, &format!("blk.{layer}.{name}.weight"), &dims, F16);
        }
    }
    let (decoder, checkpoint) = open(&file).expect("opens");
    assert_eq!(checkpoint.contradiction(&decoder), None);
    let stored = checkpoint.language_model(&decoder);
    assert_eq!(estimate::stored_count(&stored), estimate::params(&decoder).total);
    // Keys and values of 15 heads in all layers, 32 numbers each, two bytes a number.
    assert_eq!(estimate::bytes_per_token(&decoder, DType::Bf16), 15 * 2 * 32 * 2);
    let kinds = estimate::kinds(&decoder, DType::Bf16, KvPolicy::Full, 100, 1);
    let rows: Vec<(u64, u64)> = kinds.iter().map(|kind| (kind.rows, kind.layers)).collect();
    assert_eq!(rows, [(4, 1), (2, 1), (16, 1), (8, 1)]);
}

#[test]
fn lists_that_no_class_could_say_are_refused() {
    let refused = |file: File| open(&file).map(|_| ()).expect_err("refused").to_string();
    // A layer without keys is one of another kind.
    let error = refused(listed(llama(), KV_HEADS, &[2, 1, 0, 2]));
    assert!(error.contains("`llama.attention.head_count_kv` differs from layer to layer"), "{error}");
    let error = refused(listed(llama(), KV_HEADS, &[2, 1]));
    assert!(error.contains("has 2 numbers for 4 layers"), "{error}");
    let error = refused(listed(llama(), KV_HEADS, &[1; 5000]));
    assert!(error.contains("has 5000 numbers"), "{error}");
    let phi3 = architectures().into_iter().find(|row| row.0 == "phi3").expect("there").1;
    let error = refused(listed(phi3, "phi3.attention.head_count_kv", &[2, 2, 2, 1]));
    assert!(error.contains("what it needs is unknown"), "{error}");
    // Layers that share a cache: the metadata are read, and what they say is no config of the family.
    let shared = llama().number("llama.attention.shared_kv_layers", 2);
    let (config, _) = block_on(Checkpoint::from_gguf("m.gguf", BytesSource(shared.bytes()))).expect("opens");
    let error = Decoder::parse(&serde_json::to_vec(&config).expect("plain")).expect_err("shared");
    assert_eq!((error.code(), error.field()), ("unknown_architecture", Some("num_kv_shared_layers")));
}

/// OLMo 3 goes by olmo2 in llama.cpp, and so does its window; gemma's and gpt-oss's patterns are known by their names
/// and may be given.
#[test]
fn windows_are_those_of_the_pattern() {
    let file = |name: &str| architectures().into_iter().find(|row| row.0 == name).expect(name).1;
    let windows = |file: &File| -> Vec<Option<usize>> {
        open(file).expect("opens").0.layers.iter().map(|layer| layer.window).collect()
    };
    let (some, none) = (Some(100), None);
    let key = "olmo2.attention.sliding_window_pattern";
    assert_eq!(windows(&file("olmo2")), [none; 4]);
    let olmo3 = file("olmo2").number("olmo2.attention.sliding_window", 100);
    assert_eq!(windows(&olmo3), [some, some, some, none]);
    let (decoder, checkpoint) = open(&olmo3).expect("opens");
    assert_eq!((decoder.family.name(), checkpoint.contradiction(&decoder)), ("olmo3", None));
    let flags = |flags: [bool; 4]| olmo3.clone().key(key, |writer, key| writer.flags(key, &flags));
    assert_eq!(windows(&flags([false, true, true, false])), [none, some, some, none]);
    assert_eq!(windows(&listed(olmo3.clone(), key, &[1, 0, 0, 1])), [some, none, none, some]);
    for (period, expected) in [(0, [some; 4]), (1, [none; 4]), (2, [some, none, some, none])] {
        assert_eq!(windows(&olmo3.clone().number(key, period)), expected, "{period}");
    }
    let short = open(&olmo3.clone().key(key, |writer, key| writer.flags(key, &[true]))).map(|_| ());
    assert!(short.expect_err("short").to_string().contains("no list of 4 truth values"));

    let gemma = file("gemma3").number("gemma3.attention.sliding_window_pattern", 2);
    assert_eq!(windows(&gemma), [some, none, some, none]);
    assert_eq!(windows(&file("gemma3")), [some; 4]);

    // A family whose layers are alike.
    let phi3 = file("phi3").number("phi3.attention.sliding_window", 100);
    let key = "phi3.attention.sliding_window_pattern";
    assert_eq!(windows(&phi3), [some; 4]);
    let with = |flags: [bool; 4]| phi3.clone().key(key, |writer, key| writer.flags(key, &flags));
    assert_eq!(windows(&with([true; 4])), [some; 4]);
    assert_eq!(windows(&with([false; 4])), [none; 4]);
    let mixed = open(&with([true, false, true, false])).map(|_| ()).expect_err("mixed").to_string();
    assert!(mixed.contains("2 of 4 layers a window"), "{mixed}");
}

/// Architectures whose tensors only llama.cpp names: unknown, also where transformers calls another config so.
#[test]
fn architectures_that_nothing_here_names_are_unknown() {
    for name in ["gemma3n", "qwen3next", "qwen3_next", "gemma3n_text", "qwen3_5"] {
        let file =
            File::default().text("general.architecture", name).tensor("token_embd.weight", &[4, 2], 0.0);
        let (config, checkpoint) =
            block_on(Checkpoint::from_gguf("m.gguf", BytesSource(file.bytes()))).expect("opens");
        let error = Decoder::parse(&serde_json::to_vec(&config).expect("plain")).expect_err(name);
        assert_eq!((error.code(), checkpoint.parameter_count()), ("unknown_architecture", 8), "{error}");
    }
}
