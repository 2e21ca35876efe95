//! Files that lie, at random: no panic, nothing allocated by a claim, nothing accepted that the reference refuses.
//!
//! `PROPTEST_CASES` sets how many cases each property runs; 5,000 by default.

#![cfg(not(target_arch = "wasm32"))]

#[path = "../../fuzz/src/allocations.rs"]
mod allocations;
#[path = "../../fuzz/src/targets.rs"]
#[expect(unreachable_pub, reason = "the fuzz package needs them public")]
mod targets;

#[path = "hostile/bounds.rs"]
mod bounds;

#[cfg(feature = "tokenizer")]
#[path = "../../fuzz/src/text_targets.rs"]
#[expect(unreachable_pub, reason = "the fuzz package needs them public")]
mod text_targets;

use allocations::{twice, within};
use phi3::weights::gguf::Gguf;
use phi3::weights::safetensors::ShardIndex;
use phi3::weights::{BytesSource, Checkpoint, convert};
use pollster::block_on;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Runs `read` and checks that it held no more than opening a file may.
fn within_twice<T>(file_bytes: usize, read: impl FnOnce() -> T) -> T {
    within(twice(file_bytes), read)
}

fn cases() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(5_000);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn golden(name: &str) -> Vec<u8> {
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens/checkpoints").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A whole file that a test spoils: every kind that is read.
fn good_files() -> Vec<Vec<u8>> {
    let index = golden("sharded/model.safetensors.index.json");
    vec![
        golden("head_dim/model.safetensors"),
        golden("sharded/model-00001-of-00002.safetensors"),
        index,
        gguf(),
    ]
}

/// A small Llama-architecture GGUF that converts.
fn gguf() -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    let number = |key: &str, value: u32| {
        [text(key), 4u32.to_le_bytes().to_vec(), value.to_le_bytes().to_vec()].concat()
    };
    let string = |key: &str, value: &str| [text(key), 8u32.to_le_bytes().to_vec(), text(value)].concat();
    let list = |key: &str, kind: u32, items: &[Vec<u8>]| {
        let head = [9u32.to_le_bytes(), kind.to_le_bytes()].concat();
        [text(key), head, (items.len() as u64).to_le_bytes().to_vec(), items.concat()].concat()
    };
    let keys = [
        string("general.architecture", "llama"),
        number("llama.embedding_length", 32),
        number("llama.feed_forward_length", 32),
        number("llama.block_count", 1),
        number("llama.attention.head_count", 2),
        number("llama.attention.head_count_kv", 1),
        number("llama.context_length", 64),
        string("tokenizer.ggml.model", "gpt2"),
        string("tokenizer.ggml.pre", "smollm"),
        list("tokenizer.ggml.tokens", 8, &["a", "b", "ab"].map(text)),
        list("tokenizer.ggml.token_type", 5, &[1i32, 1, 1].map(|kind| kind.to_le_bytes().to_vec())),
        list("tokenizer.ggml.merges", 8, &["a b"].map(text)),
        number("tokenizer.ggml.eos_token_id", 0),
    ];
    // Name, rows (0 for a vector), format and bytes a row of 32: f32, q4_0, q8_0.
    let tensors: [(&str, u64, u32, usize); 11] = [
        ("token_embd.weight", 3, 8, 34),
        ("output_norm.weight", 0, 0, 128),
        ("blk.0.attn_norm.weight", 0, 0, 128),
        ("blk.0.ffn_norm.weight", 0, 0, 128),
        ("blk.0.attn_q.weight", 32, 2, 18),
        ("blk.0.attn_k.weight", 16, 2, 18),
        ("blk.0.attn_v.weight", 16, 2, 18),
        ("blk.0.attn_output.weight", 32, 2, 18),
        ("blk.0.ffn_gate.weight", 32, 2, 18),
        ("blk.0.ffn_up.weight", 32, 2, 18),
        ("blk.0.ffn_down.weight", 32, 2, 18),
    ];
    let mut file = [b"GGUF".as_slice(), &3u32.to_le_bytes()].concat();
    file.extend_from_slice(&(tensors.len() as u64).to_le_bytes());
    file.extend_from_slice(&(keys.len() as u64).to_le_bytes());
    file.extend(keys.concat());
    let mut data_bytes = 0usize;
    for (name, rows, kind, row_bytes) in tensors {
        let dims: Vec<u64> = if rows == 0 { vec![32] } else { vec![32, rows] };
        file.extend(text(name));
        file.extend_from_slice(&(dims.len() as u32).to_le_bytes());
        file.extend(dims.iter().flat_map(|d| d.to_le_bytes()));
        file.extend_from_slice(&kind.to_le_bytes());
        data_bytes = data_bytes.next_multiple_of(32);
        file.extend_from_slice(&(data_bytes as u64).to_le_bytes());
        data_bytes += rows.max(1) as usize * row_bytes;
    }
    let start = file.len().next_multiple_of(32);
    file.resize(start + data_bytes, 7);
    file
}

/// A change to a file; positions favour the header, which is at the front.
#[derive(Debug, Clone)]
enum Spoil {
    Cut(Index),
    Flip(Index, u8),
    Number(Index, u64),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
}

fn spoils() -> impl Strategy<Value = Vec<Spoil>> {
    let numbers =
        select(vec![0, 1, 7, 1 << 16, 1 << 31, u64::from(u32::MAX), 1 << 40, 1 << 60, 1 << 63, u64::MAX]);
    let one = prop_oneof![
        1 => any::<Index>().prop_map(Spoil::Cut),
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, bits)| Spoil::Flip(at, bits)),
        3 => (any::<Index>(), numbers).prop_map(|(at, number)| Spoil::Number(at, number)),
        1 => (any::<Index>(), vec(any::<u8>(), 1..40)).prop_map(|(at, bytes)| Spoil::Insert(at, bytes)),
        1 => (any::<Index>(), 1usize..40).prop_map(|(at, count)| Spoil::Remove(at, count)),
    ];
    vec(one, 1..5)
}

fn spoil(file: &mut Vec<u8>, spoils: &[Spoil]) {
    for spoil in spoils {
        if file.is_empty() {
            return;
        }
        let header = file.len().min(4096);
        match spoil {
            Spoil::Cut(at) => file.truncate(at.index(file.len())),
            Spoil::Flip(at, bits) => file[at.index(header)] ^= bits,
            Spoil::Number(at, number) => {
                let at = at.index(header);
                let end = (at + 8).min(file.len());
                file[at..end].copy_from_slice(&number.to_le_bytes()[..end - at]);
            }
            Spoil::Insert(at, bytes) => {
                let at = at.index(header);
                file.splice(at..at, bytes.iter().copied());
            }
            Spoil::Remove(at, count) => {
                let at = at.index(header);
                file.drain(at..(at + count).min(file.len()));
            }
        }
    }
}

/// Opens bytes as everything they could be.
fn open(bytes: &[u8]) {
    let source = || BytesSource(bytes);
    let opened = within_twice(bytes.len(), || {
        block_on(Checkpoint::from_safetensors(vec![("m".to_owned(), source())]))
    });
    match opened {
        Ok(checkpoint) => {
            safetensors::SafeTensors::deserialize(bytes).expect("the reference accepts what we accept");
            targets::exercise(&checkpoint, &[bytes.len()]);
        }
        Err(error) => assert!(!error.to_string().contains('\n'), "{error:?}"),
    }
    if let Err(error) = within_twice(bytes.len(), || block_on(Gguf::read("m", &source()))) {
        assert!(!error.to_string().contains('\n'), "{error:?}");
    } else {
        if let Ok((_, checkpoint)) = block_on(Checkpoint::from_gguf("m", source())) {
            targets::exercise(&checkpoint, &[bytes.len()]);
        }
        let _ = block_on(convert::convert("m", &source(), |_| Ok(std::io::sink())));
    }
    if let Ok(index) = ShardIndex::parse("i", bytes) {
        for shard in index.shards() {
            assert!(shard.ends_with(".safetensors") && !shard.contains(['/', '\\', '\0']), "{shard:?}");
        }
    }
}

/// What `./dev soak` feeds to the same functions for hours: real files and what they grew into.
#[test]
fn the_corpus_is_read_without_a_panic() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    #[cfg(not(feature = "tokenizer"))]
    let all = targets::TARGETS;
    #[cfg(feature = "tokenizer")]
    let all = targets::TARGETS.into_iter().chain(text_targets::TEXT_TARGETS);
    for (name, target) in all {
        let seeds = targets::seeds(name).iter().map(|seeds| root.join(seeds));
        let mut files = Vec::new();
        for folder in seeds.chain([root.join("fuzz/corpus").join(name)]) {
            let entries =
                std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
            files.extend(entries.map(|entry| entry.expect("readable").path()).filter(|path| path.is_file()));
        }
        assert!(files.len() > 5, "{name}: {} files", files.len());
        for file in files {
            // A panic tells nothing of the file: this line does, where it fails.
            println!("{name}: {}", file.display());
            target(&std::fs::read(&file).expect("readable"));
        }
    }
}

/// A megabyte of zeros in a kilobyte: the link costs what a whole state may take, and no more.
#[test]
fn a_link_that_unpacks_without_end_costs_64_kib() {
    use phi3::link::{LinkError, MAX_STATE_BYTES, decode};
    let bomb = include_str!("bomb.txt").trim();
    let result = within(MAX_STATE_BYTES + 256, || decode(bomb, phi3::config::PRESETS));
    assert_eq!(result, Err(LinkError::Bomb));
}

#[test]
fn the_good_files_are_good() {
    let files = good_files();
    for file in &files[..2] {
        assert!(block_on(Checkpoint::from_safetensors(vec![("m".to_owned(), BytesSource(file))])).is_ok());
    }
    assert!(ShardIndex::parse("i", &files[2]).is_ok());
    let written = block_on(convert::convert("m", &BytesSource(&files[3]), |_| Ok(std::io::sink())));
    assert_eq!(written.map(|written| written.files.len()).map_err(|error| error.to_string()), Ok(6));
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn spoilt_files_are_refused_or_consistent(which in 0usize..4, spoils in spoils()) {
        thread_local! {
            static FILES: Vec<Vec<u8>> = good_files();
        }
        let mut file = FILES.with(|files| files[which].clone());
        spoil(&mut file, &spoils);
        open(&file);
    }

    #[test]
    fn random_bytes_are_refused(front in select(vec!["", "GGUF\x03\0\0\0", "\x40\0\0\0\0\0\0\0{\"", "{\"weight_map\":{\""]), bytes in vec(any::<u8>(), 0..3000)) {
        open(&[front.as_bytes(), &bytes].concat());
    }

    /// JSON that has the form of a header and the numbers of none.
    #[test]
    fn headers_of_random_numbers_are_refused_or_consistent(
        entries in vec(("[a-c]{1,2}", select(vec!["F32", "BF16", "U8", "F4", "I64", "q"]), vec(0u64..5, 0..4), 0u64..40, 0u64..60), 0..5),
        data in 0usize..80,
    ) {
        let entries: Vec<String> = entries.iter().map(|(name, dtype, shape, begin, end)| {
            format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{begin},{end}]}}"#)
        }).collect();
        let header = format!("{{{}}}", entries.join(","));
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header.as_bytes());
        file.resize(file.len() + data, 1);
        open(&file);
    }
}
