//! A small model in a GGUF file that was split.

/// Both parts of a model of 760 parameters; the first has the sizes.
pub(crate) fn split_gguf() -> [Vec<u8>; 2] {
    let first = gguf(
        &[
            ("split.no", 0),
            ("split.count", 2),
            ("llama.embedding_length", 8),
            ("llama.feed_forward_length", 16),
            ("llama.block_count", 1),
            ("llama.attention.head_count", 2),
            ("llama.attention.head_count_kv", 1),
            ("llama.context_length", 64),
        ],
        &[
            ("token_embd.weight", &[8, 10]),
            ("blk.0.attn_norm.weight", &[8]),
            ("blk.0.attn_q.weight", &[8, 8]),
            ("blk.0.attn_k.weight", &[8, 4]),
            ("blk.0.attn_v.weight", &[8, 4]),
            ("blk.0.attn_output.weight", &[8, 8]),
        ],
    );
    let second = gguf(
        &[("split.no", 1), ("split.count", 2)],
        &[
            ("blk.0.ffn_norm.weight", &[8]),
            ("blk.0.ffn_gate.weight", &[8, 16]),
            ("blk.0.ffn_up.weight", &[8, 16]),
            ("blk.0.ffn_down.weight", &[16, 8]),
            ("output_norm.weight", &[8]),
            ("output.weight", &[8, 10]),
        ],
    );
    [first, second]
}

/// A part of a GGUF file: keys with whole numbers, f32 tensors of zeros.
fn gguf(numbers: &[(&str, u32)], tensors: &[(&str, &[u64])]) -> Vec<u8> {
    fn text(bytes: &mut Vec<u8>, text: &str) {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
    }
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend((tensors.len() as u64).to_le_bytes());
    bytes.extend((numbers.len() as u64 + 1).to_le_bytes());
    text(&mut bytes, "general.architecture");
    bytes.extend(8_u32.to_le_bytes());
    text(&mut bytes, "llama");
    for (key, value) in numbers {
        text(&mut bytes, key);
        bytes.extend(4_u32.to_le_bytes());
        bytes.extend(value.to_le_bytes());
    }
    let mut end = 0_u64;
    for (name, dims) in tensors {
        text(&mut bytes, name);
        bytes.extend((dims.len() as u32).to_le_bytes());
        dims.iter().for_each(|dim| bytes.extend(dim.to_le_bytes()));
        bytes.extend(0_u32.to_le_bytes());
        let start = end.next_multiple_of(32);
        bytes.extend(start.to_le_bytes());
        end = start + 4 * dims.iter().product::<u64>();
    }
    bytes.resize(bytes.len().next_multiple_of(32) + end as usize, 0);
    bytes
}
