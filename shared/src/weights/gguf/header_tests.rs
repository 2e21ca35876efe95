use pollster::block_on;

use super::*;
use crate::weights::gguf::test_file::Writer;
use crate::weights::{BytesSource, Checkpoint};

fn read(bytes: Vec<u8>) -> Result<Gguf, WeightsError> {
    block_on(Gguf::read("m.gguf", &BytesSource(bytes)))
}

fn good() -> Writer {
    Writer::start(3, 2, 3)
        .text("general.architecture", "llama")
        .number("llama.block_count", 1)
        .texts("tokenizer.ggml.tokens", &["a", "", "bc"])
        .tensor("output_norm.weight", &[4], 0, 0)
        .tensor("token_embd.weight", &[32, 3], 2, 32)
}

#[test]
fn a_good_file_is_read() {
    for version in [2u8, 3] {
        let mut bytes = good().data(32 + 3 * 18);
        bytes[4] = version;
        let gguf = read(bytes).expect("good");
        assert_eq!((gguf.architecture.as_str(), gguf.version), ("llama", u32::from(version)));
        assert_eq!(gguf.metadata.unsigned("llama.block_count").expect("a number"), Some(1));
        let tokens = gguf.metadata.strings("tokenizer.ggml.tokens").expect("strings").expect("there");
        assert_eq!(tokens.iter().collect::<Vec<_>>(), ["a", "", "bc"]);
        let embedding = gguf.tensor("token_embd.weight").expect("there");
        assert_eq!(
            (embedding.shape.as_slice(), embedding.dtype, embedding.len),
            (&[3, 32][..], DType::Q4_0, 54)
        );
        assert_eq!(embedding.offset - gguf.tensors[0].offset, 32);
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let whole = good().data(32 + 3 * 18);
    for end in 0..whole.len() {
        assert!(read(whole[..end].to_vec()).is_err(), "cut at {end}");
    }
}

/// Each line: the file, the code and a part of the message.
#[test]
fn headers_that_lie_are_refused_with_their_reason() {
    let start = Writer::start;
    let one = |dims: &[u64], kind: u32, offset: u64| start(3, 1, 0).tensor("t", dims, kind, offset).data(256);
    let aligned = |writer: Writer| writer.tensor("t", &[4], 0, 0).data(64);
    let key = |name: &str| start(3, 1, 1).string(name);
    let (corrupt, unsupported, no_weights) = ("weights_corrupt", "weights_unsupported", "not_a_weight_file");
    let mut magic = good().data(86);
    magic[3] = b'X';
    let cases: Vec<(&str, Vec<u8>, &str, &str)> = vec![
        ("bad magic", magic, no_weights, "47 47 55 58"),
        ("empty", Vec::new(), no_weights, "0 bytes"),
        ("Git-LFS", b"version https://git-lfs.github.com/spec/v1".to_vec(), no_weights, "Git-LFS"),
        ("version 0", start(0, 0, 0).data(64), unsupported, "version 0"),
        ("version 1", start(1, 0, 0).data(64), unsupported, "version 1"),
        ("version 4", start(4, 0, 0).data(64), unsupported, "version 4"),
        ("big-endian", start(3 << 24, 0, 0).data(64), unsupported, "big-endian"),
        ("alignment 0", aligned(key("general.alignment").u32(4).u32(0)), corrupt, "is 0, not a power of two"),
        (
            "alignment 13",
            aligned(key("general.alignment").u32(4).u32(13)),
            corrupt,
            "is 13, not a power of two",
        ),
        (
            "alignment 2^31",
            aligned(key("general.alignment").u32(4).u32(1 << 31)),
            corrupt,
            "not a power of two up to",
        ),
        (
            "alignment of a wrong type",
            aligned(start(3, 1, 1).text("general.alignment", "32")),
            corrupt,
            "not a whole number",
        ),
        ("2^60 keys", start(3, 0, 1 << 60).data(64), corrupt, "claims 1152921504606846976 keys"),
        ("more keys than bytes", start(3, 0, 6).data(64), corrupt, "claims 6 keys"),
        ("2^60 tensors", start(3, 1 << 60, 0).data(64), corrupt, "claims 1152921504606846976 tensors"),
        ("a string of 2^40", key("k").u32(8).u64(1 << 40).data(64), corrupt, "claims 1099511627776 bytes"),
        ("a key of 2^40", start(3, 0, 1).u64(1 << 40).data(64), corrupt, "claims 1099511627776 bytes"),
        (
            "a list of 2^61 numbers",
            key("k").u32(9).u32(10).u64(1 << 61).data(64),
            corrupt,
            "claims 18446744073709551615 bytes",
        ),
        (
            "a list of 2^61 strings",
            key("k").u32(9).u32(8).u64(1 << 61).data(64),
            corrupt,
            "claims 18446744073709551615 bytes",
        ),
        (
            "lists in lists",
            key("k").u32(9).raw(&[9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0].repeat(1000)).data(0),
            corrupt,
            "list of lists",
        ),
        ("unknown type", key("k").u32(13).data(64), corrupt, "unknown type 13"),
        ("list of an unknown type", key("k").u32(9).u32(99).u64(1).data(64), corrupt, "unknown type 99"),
        (
            "a key that is no text",
            start(3, 0, 1).u64(2).raw(b"\xff\xfe").u32(4).u32(1).data(64),
            corrupt,
            "is no text",
        ),
        ("a key of 2,000 bytes", key(&"k".repeat(2000)).u32(4).u32(1).data(64), corrupt, "too long"),
        ("a key twice", start(3, 0, 2).number("k", 1).number("k", 1).data(64), corrupt, "`k` stands twice"),
        (
            "architecture is a number",
            start(3, 0, 1).number("general.architecture", 1).data(64),
            corrupt,
            "not a string",
        ),
        ("5 dimensions", one(&[1, 1, 1, 1, 1], 0, 0), corrupt, "5 dimensions"),
        (
            "2^32 - 1 dimensions",
            start(3, 1, 0).string("t").u32(u32::MAX).data(64),
            corrupt,
            "4294967295 dimensions",
        ),
        ("a dimension of 0", one(&[0], 0, 0), corrupt, "impossible shape"),
        ("2^40 by 2^40", one(&[1 << 40, 1 << 40], 0, 0), corrupt, "impossible shape"),
        ("bytes overflow", one(&[1 << 62], 0, 0), corrupt, "impossible shape"),
        ("unknown format", one(&[4], 4, 0), corrupt, "unknown type 4"),
        ("a row that is no multiple of the block", one(&[33, 2], 2, 0), corrupt, "rows of 33 values"),
        ("offset past the end", one(&[4], 0, u64::MAX), corrupt, "expected 0 padded"),
        ("offset misaligned", one(&[4], 0, 4), corrupt, "starts at byte 4"),
        ("hole", one(&[4], 0, 64), corrupt, "starts at byte 64"),
        (
            "overlap",
            start(3, 2, 0).tensor("a", &[16], 0, 0).tensor("b", &[4], 0, 32).data(256),
            corrupt,
            "`b` starts at byte 32",
        ),
        ("cut", start(3, 1, 0).tensor("a", &[16], 0, 0).data(63), corrupt, "it is cut"),
        (
            "two tensors of one name",
            start(3, 2, 0).tensor("a", &[8], 0, 0).tensor("a", &[8], 0, 32).data(64),
            corrupt,
            "`a` stands twice",
        ),
        (
            "a name of 600 bytes",
            start(3, 1, 0).tensor(&"n".repeat(600), &[4], 0, 0).data(64),
            corrupt,
            "600 bytes",
        ),
        ("a name of two lines", start(3, 1, 0).tensor("a\nb", &[4], 0, 0).data(64), corrupt, "unprintable"),
    ];
    for (case, bytes, code, part) in cases {
        let error = read(bytes).expect_err(case);
        assert_eq!(error.code(), code, "{case}: {error}");
        let text = error.to_string();
        assert!(text.contains(part) && text.len() < 1000 && !text.contains('\n'), "{case}: {text}");
    }
}

/// `ggml.h`'s numbers 4, 5, 31 to 33 and 36 to 38 are formats that were given up; 41 is the last one.
#[test]
fn every_format_of_ggml_has_a_block() {
    for number in 0..64 {
        let known = !matches!(number, 4 | 5 | 31..=33 | 36..=38 | 42..);
        assert_eq!(dtype_of(number).is_some(), known, "{number}");
    }
}

#[test]
fn a_phi3_file_is_a_checkpoint_with_a_config() {
    let bytes = Writer::start(3, 4, 10)
        .text("general.architecture", "phi3")
        .number("phi3.embedding_length", 32)
        .number("phi3.feed_forward_length", 64)
        .number("phi3.block_count", 1)
        .number("phi3.attention.head_count", 4)
        .number("phi3.attention.head_count_kv", 2)
        .number("phi3.context_length", 64)
        .number("phi3.rope.scaling.original_context_length", 16)
        .float("phi3.rope.freq_base", 10000.0)
        .float("phi3.attention.layer_norm_rms_epsilon", 1e-5)
        .tensor("rope_factors_long.weight", &[4], 0, 0)
        .tensor("rope_factors_short.weight", &[4], 0, 32)
        .tensor("token_embd.weight", &[32, 7], 8, 64)
        .tensor("blk.0.ffn_up.weight", &[32, 128], 0, 320)
        .with_data(
            &[1.25f32, 2.3, 4.0, 8.5, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.1, 1.0].map(f32::to_le_bytes).concat(),
        )
        .into_iter()
        .chain(std::iter::repeat_n(0, 20_000))
        .collect();
    let (config, checkpoint) =
        block_on(Checkpoint::from_gguf("m.gguf", BytesSource::<Vec<u8>>(bytes))).expect("good");
    let json = serde_json::to_vec(&config).expect("plain");
    let model = crate::config::ModelConfig::parse(&json).expect("valid");
    assert_eq!((model.vocab_size, model.head_dim, model.original_max_position_embeddings), (7, 8, 16));
    assert_eq!((model.rms_norm_eps, model.tie_word_embeddings), (1e-5, true));
    assert_eq!(config["rope_scaling"]["long_factor"], serde_json::json!([1.25, 2.3, 4.0, 8.5]));
    let names: Vec<_> = checkpoint.tensors().keys().map(String::as_str).collect();
    assert_eq!(names, ["model.embed_tokens.weight", "model.layers.0.mlp.gate_up_proj.weight"]);
    assert_eq!(block_on(checkpoint.read_as_f32("model.embed_tokens.weight")).expect("q8_0"), [0.0; 7 * 32]);
}
