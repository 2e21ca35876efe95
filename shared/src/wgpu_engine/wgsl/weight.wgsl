// A matrix [rows, STRIDE] in its stored format, and four of its values at a time.
//:if F32
@group(0) @binding(0) var<storage, read> weight: array<vec4<f32>>;

fn weight4(row: u32, k4: u32) -> vec4<f32> {
    return weight[row * (STRIDE / 4u) + k4];
}
//:end
//:if F16
@group(0) @binding(0) var<storage, read> weight: array<vec4<u32>>;

fn halves(pair: vec2<u32>) -> vec4<f32> {
    return vec4(unpack2x16float(pair.x), unpack2x16float(pair.y));
}
//:end
//:if BF16
@group(0) @binding(0) var<storage, read> weight: array<vec4<u32>>;

// bf16 is the upper half of f32.
fn halves(pair: vec2<u32>) -> vec4<f32> {
    return vec4(
        bitcast<f32>(pair.x << 16u), bitcast<f32>(pair.x & 0xffff0000u),
        bitcast<f32>(pair.y << 16u), bitcast<f32>(pair.y & 0xffff0000u));
}
//:end
//:if HALF
fn weight4(row: u32, k4: u32) -> vec4<f32> {
    let eight = weight[row * (STRIDE / 8u) + (k4 >> 1u)];
    return halves(select(eight.xy, eight.zw, (k4 & 1u) == 1u));
}
//:end
//:if BLOCKS
@group(0) @binding(0) var<storage, read> weight: array<vec4<u32>>;
// f16, two to a word: one for each block of 32.
@group(0) @binding(1) var<storage, read> scales: array<u32>;

fn scale(block: u32) -> f32 {
    let pair = unpack2x16float(scales[block >> 1u]);
    return select(pair.x, pair.y, (block & 1u) == 1u);
}
//:end
//:if Q8_0
fn weight4(row: u32, k4: u32) -> vec4<f32> {
    let four = weight[row * (STRIDE / 16u) + (k4 >> 2u)][k4 & 3u];
    return vec4<f32>(unpack4xI8(four)) * scale(row * (STRIDE / 32u) + (k4 >> 3u));
}
//:end
//:if Q4_0
// A block is one vector: its low nibbles are the first 16 values, its high ones the others.
fn weight4(row: u32, k4: u32) -> vec4<f32> {
    let block = row * (STRIDE / 32u) + (k4 >> 3u);
    let four = (weight[block][k4 & 3u] >> ((k4 & 4u))) & 0x0f0f0f0fu;
    return (vec4<f32>(unpack4xU8(four)) - 8.0) * scale(block);
}
//:end
