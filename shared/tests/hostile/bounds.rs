//! Files made to cost memory: nothing but descriptions, nothing but escapes, one string as long as the file. Whatever is
//! opened holds twice the file and a constant.

use phi3::config::Fields;
use phi3::weights::gguf::Gguf;
use phi3::weights::safetensors::ShardIndex;
use phi3::weights::{BytesSource, Checkpoint};
use pollster::block_on;

use super::allocations::{SOME_VALUES, twice, within};

fn with_header(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

/// Whether safetensors with this header open, within the bound.
fn opens(header: &str, data: usize) -> bool {
    let bytes = with_header(header, data);
    let open = || block_on(Checkpoint::from_safetensors(vec![("m".to_owned(), BytesSource(&bytes))]));
    let opened = within(twice(bytes.len()), open);
    if let Err(error) = &opened {
        assert!(error.to_string().len() < 2000, "{error}");
    }
    opened.is_ok()
}

/// `count` tensors of `bytes` bytes, their names `width` long, of `rank` dimensions.
fn tensors(count: usize, bytes: usize, width: usize, rank: usize) -> (String, usize) {
    let mut header = String::from("{");
    for i in 0..count {
        let (begin, end) = (i * bytes, (i + 1) * bytes);
        let ones = "1,".repeat(rank.saturating_sub(1));
        let comma = if i == 0 { "" } else { "," };
        header += &format!(
            r#"{comma}"{i:0width$x}":{{"dtype":"U8","shape":[{ones}{bytes}],"data_offsets":[{begin},{end}]}}"#
        );
    }
    (header + "}", count * bytes)
}

#[test]
fn headers_of_nothing_but_tensors() {
    for (count, bytes, width, rank, accepted) in [
        (4096, 0, 1, 1, true),
        (4096, 0, 500, 16, true),
        (6000, 0, 1, 1, false),
        (6000, 0, 500, 1, false),
        (20_000, 1, 1, 0, false),
        (8000, 256, 1, 1, true),
        (8000, 256, 500, 1, true),
        (8000, 256, 1, 16, true),
    ] {
        // A rank of 0 is one byte; what has no byte has a dimension of 0.
        let (header, data) = tensors(count, bytes, width, rank);
        let header = if rank == 0 { header.replace("[1],\"data", "[],\"data") } else { header };
        assert_eq!(opens(&header, data), accepted, "{count} {bytes} {width} {rank}");
    }
}

#[test]
fn headers_of_one_long_string() {
    let entry = r#"{"dtype":"U8","shape":[],"data_offsets":[0,1]}"#;
    let count = 1 << 19;
    for long in ["x".repeat(count), r"\n".repeat(count), r"\u0001".repeat(count), "\u{200b}".repeat(count)] {
        assert!(!opens(&format!(r#"{{"{long}":{entry}}}"#), 1));
        assert!(!opens(&format!(r#"{{"{long}":{entry},"{long}":{entry}}}"#), 1));
        assert!(!opens(&format!(r#"{{"a":"{long}"}}"#), 1));
        assert!(!opens(&format!(r#"{{"a":{{"{long}":1}}}}"#), 1));
        assert!(!opens(&format!(r#"{{"a":{{"dtype":"{long}","shape":[],"data_offsets":[0,1]}}}}"#), 1));
        assert!(!opens(&format!(r#"{{"a":{}}}"#, entry.replace("[]", &format!("\"{long}\""))), 1));
        assert!(!opens(&format!(r#"{{"__metadata__":{{"a":["{long}"]}},"a":{entry}}}"#), 1));
        // Trainers keep their whole setup there.
        assert!(opens(&format!(r#"{{"__metadata__":{{"{long}":"{long}"}},"a":{entry}}}"#), 1));
    }
    assert!(!opens(&format!(r#"{{"a":{}"#, "[".repeat(count)), 0));
    assert!(!opens(&format!(r#"{{"a":{}"#, "1".repeat(count)), 0));
}

#[test]
fn indexes_of_many_or_long_names() {
    let parses = |json: &str| {
        let parsed = within(twice(json.len()), || ShardIndex::parse("i", json.as_bytes()));
        if let Err(error) = &parsed {
            assert!(error.to_string().len() < 2000, "{error}");
        }
        parsed.is_ok()
    };
    let map = |count: usize, shard: &dyn Fn(usize) -> String| {
        let entries: Vec<String> = (0..count).map(|i| format!(r#""{i:x}":"{}""#, shard(i))).collect();
        format!(r#"{{"weight_map":{{{}}}}}"#, entries.join(","))
    };
    assert!(parses(&map(200_000, &|_| "a.safetensors".to_owned())));
    assert!(!parses(&map((1 << 18) + 1, &|_| "a.safetensors".to_owned())));
    assert!(parses(&map(4000, &|i| format!("{i:x}.safetensors"))));
    assert!(!parses(&map(5000, &|i| format!("{i:x}.safetensors"))));
    for long in [r"\n".repeat(1 << 21), "x".repeat(1 << 21)] {
        assert!(!parses(&format!(r#"{{"weight_map":{{"{long}":"a.safetensors"}}}}"#)));
        assert!(!parses(&format!(r#"{{"weight_map":{{"a":"{long}"}}}}"#)));
        assert!(parses(&format!(r#"{{"x":"{long}","weight_map":{{"a":"a.safetensors"}}}}"#)));
    }
}

/// The parts of a GGUF header.
#[derive(Default)]
struct Header {
    keys: Vec<Vec<u8>>,
    tensors: Vec<Vec<u8>>,
    data: usize,
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

impl Header {
    fn key(&mut self, name: &str, kind: u32, value: &[u8]) {
        self.keys.push([&text(name), &kind.to_le_bytes()[..], value].concat());
    }

    fn list(&mut self, name: &str, kind: u32, count: usize, items: &[u8]) {
        let head = [&kind.to_le_bytes()[..], &(count as u64).to_le_bytes()].concat();
        self.key(name, 9, &[&head, items].concat());
    }

    fn tensor(&mut self, name: &str, bytes: usize) {
        let offset = self.data.next_multiple_of(32);
        let shape = [&1u32.to_le_bytes()[..], &(bytes as u64).to_le_bytes()].concat();
        self.tensors
            .push([&text(name), &shape[..], &24u32.to_le_bytes(), &(offset as u64).to_le_bytes()].concat());
        self.data = offset + bytes;
    }

    /// Whether it opens, within the bound; also as a checkpoint.
    fn opens(&self) -> bool {
        let mut file = [b"GGUF".as_slice(), &3u32.to_le_bytes()].concat();
        file.extend((self.tensors.len() as u64).to_le_bytes());
        file.extend((self.keys.len() as u64).to_le_bytes());
        file.extend(self.keys.concat());
        file.extend(self.tensors.concat());
        file.resize(file.len().next_multiple_of(32) + self.data, 0);
        let opened = within(twice(file.len()), || block_on(Gguf::read("m", &BytesSource(&file))));
        let checkpoint =
            within(twice(file.len()), || block_on(Checkpoint::from_gguf("m", BytesSource(&file))));
        for error in [opened.as_ref().err(), checkpoint.as_ref().err()].into_iter().flatten() {
            assert!(error.to_string().len() < 2000, "{error}");
        }
        opened.is_ok()
    }
}

fn gguf(build: impl FnOnce(&mut Header)) -> bool {
    let mut header = Header::default();
    build(&mut header);
    header.opens()
}

#[test]
fn gguf_of_many_keys_or_tensors() {
    let keys = |count: usize| gguf(|header| (0..count).for_each(|i| header.key(&format!("{i:x}"), 7, &[1])));
    assert!(keys(2048) && !keys(2049));
    let lists =
        |kind: u32| gguf(|header| (0..2048).for_each(|i| header.list(&format!("{i:x}"), kind, 0, &[])));
    assert!(lists(0) && lists(8));
    let of_one =
        |header: &mut Header| (0..2048).for_each(|i| header.list(&format!("{i:x}"), 8, 1, &text("a")));
    assert!(gguf(of_one));
    let tensors = |count: usize, bytes: usize, width: usize| {
        gguf(|header| (0..count).for_each(|i| header.tensor(&format!("{i:0width$x}"), bytes)))
    };
    assert!(tensors(4096, 1, 1) && tensors(20_000, 256, 1) && tensors(20_000, 256, 500));
    assert!(!tensors(1 << 16, 1, 1) && !tensors(20_000, 1, 500) && !tensors((1 << 16) + 1, 256, 1));
}

#[test]
fn gguf_of_long_lists_and_strings() {
    let long = "x".repeat(1 << 22);
    assert!(gguf(|header| header.key("a", 8, &text(&long))));
    assert!(!gguf(|header| header.key(&long, 7, &[1])));
    assert!(!gguf(|header| header.tensor(&long, 1)));
    assert!(gguf(|header| header.list("a", 0, 1 << 22, long.as_bytes())));
    // Where a config of a known family looks for a number of each layer.
    let numbers = gguf(|header| {
        header.key("general.architecture", 8, &text("llama"));
        header.list("llama.attention.head_count_kv", 0, 1 << 22, long.as_bytes());
        header.list("llama.attention.sliding_window_pattern", 0, 1 << 22, long.as_bytes());
    });
    assert!(numbers);
    for len in [0, 1, 5, 40, 1000, 33_000, 70_000, 1 << 21] {
        let item = text(&"y".repeat(len));
        let count = (1 << 18) / item.len() + 1;
        assert!(gguf(|header| header.list("a", 8, count, &item.repeat(count))), "{len}");
    }
    // Long ones and short ones in turn.
    let pair = [text(&"y".repeat(33_000)), text("z")].concat();
    assert!(gguf(|header| header.list("a", 8, 200, &pair.repeat(100))));
}

/// A config has no more than a megabyte and 16,384 values: what it comes to in memory is limited by both, however it is
/// written.
#[test]
fn configs_of_many_values() {
    let reads = |json: &str| within(2 * json.len() + SOME_VALUES, || Fields::parse(json.as_bytes())).is_ok();
    let keys = |count: usize| (0..count).map(|i| format!(r#""{i:x}":0"#)).collect::<Vec<_>>().join(",");
    assert!(reads(&format!("{{{}}}", keys(16_000))) && !reads(&format!("{{{}}}", keys(17_000))));
    assert!(reads(&format!(r#"{{"a":[{}0]}}"#, "0,".repeat(16_000))));
    assert!(!reads(&format!(r#"{{"a":[{}0]}}"#, "0,".repeat(500_000))));
    assert!(reads(&format!(r#"{{"a":[{}0]}}"#, r#"{"":[]},"#.repeat(8_000))));
    assert!(reads(&format!(r#"{{"a":"{}"}}"#, r"\n".repeat(500_000))));
    assert!(reads(&format!(r#"{{"{}":0}}"#, r"\n".repeat(500_000))));
    assert!(!reads(&format!(r#"{{"{0}":0,"{0}":0}}"#, r"\n".repeat(250_000))));
    assert!(!reads(&format!(r#"{{"a":{}"#, "[".repeat(1 << 19))));
}

/// The same with what is explained and sized of it: as many keys that mean nothing as a config may have, as many layers.
#[test]
fn configs_of_many_keys_or_layers_are_explained() {
    let keys = |count: usize| (0..count).map(|i| format!(r#""{i:x}":0"#)).collect::<Vec<_>>().join(",");
    let layers = |count: usize| {
        let own = |i: usize| format!(r#""{i}":{{"num_key_value_heads":{}}}"#, [1, 2, 4][i % 3]);
        (0..count).map(own).collect::<Vec<_>>().join(",")
    };
    let kinds = [r#""sliding_attention""#; 500].join(",");
    // The largest of each: keys, layers by themselves, layers with the values that are left.
    for (name, more) in [
        ("llama", keys(16_000)),
        ("nobody", keys(16_000)),
        ("llama", format!(r#""num_hidden_layers":500,"per_layer_config":{{{}}}"#, layers(500))),
        (
            "qwen3",
            format!(r#""num_hidden_layers":500,"layer_types":[{kinds}],"x":[{}0]"#, "0,".repeat(10_000)),
        ),
    ] {
        super::targets::config(format!(r#"{{"model_type":"{name}",{more}}}"#).as_bytes());
    }
}
