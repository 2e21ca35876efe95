// Rows [q | k | v] of heads, and what rotary positions make of them.
@group(0) @binding(0) var<storage, read> qkv: array<f32>;
// [cosines | sines] of each row.
@group(0) @binding(1) var<storage, read> rotary: array<f32>;

const HALF = ROTARY_DIM / 2u;

fn element(row: u32, head: u32, dim: u32) -> f32 {
    if (dim >= HEAD_DIM) { return 0.0; }
    let origin = row * QKV_STRIDE + head * HEAD_DIM;
    let value = qkv[origin + dim];
    if (head >= HEADS + KV_HEADS || dim >= ROTARY_DIM) { return value; }
    let i = dim % HALF;
    let cosine = rotary[row * ROTARY_DIM + i];
    let sine = rotary[row * ROTARY_DIM + HALF + i];
    if (dim < HALF) { return value * cosine - qkv[origin + dim + HALF] * sine; }
    return value * cosine + qkv[origin + dim - HALF] * sine;
}

// Four dimensions of a head; values pass as they are, and so does what lies beyond the rotated dimensions.
fn rotated4(row: u32, head: u32, d4: u32) -> vec4<f32> {
    return vec4(
        element(row, head, 4u * d4), element(row, head, 4u * d4 + 1u),
        element(row, head, 4u * d4 + 2u), element(row, head, 4u * d4 + 3u));
}
