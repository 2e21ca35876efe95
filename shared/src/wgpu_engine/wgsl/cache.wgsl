// Keys and values of one layer of one sequence, four to an item: keys[kv head][four of the head][position], so that
// neighbours that hold a key each read side by side; values[kv head][position][four of the head].
//:if KV_F32
alias Four = vec4<f32>;
fn widen(four: Four) -> vec4<f32> { return four; }
fn narrow(value: vec4<f32>) -> Four { return value; }
//:end
//:if KV_F16
alias Four = vec2<u32>;
fn widen(four: Four) -> vec4<f32> { return vec4(unpack2x16float(four.x), unpack2x16float(four.y)); }
fn narrow(value: vec4<f32>) -> Four { return vec2(pack2x16float(value.xy), pack2x16float(value.zw)); }
//:end
//:if KV_BF16
alias Four = vec2<u32>;
fn widen(four: Four) -> vec4<f32> {
    return vec4(
        bitcast<f32>(four.x << 16u), bitcast<f32>(four.x & 0xffff0000u),
        bitcast<f32>(four.y << 16u), bitcast<f32>(four.y & 0xffff0000u));
}
// To nearest, ties to even; a NaN keeps a bit that makes it one.
fn upper(value: vec4<f32>) -> vec4<u32> {
    let bits = bitcast<vec4<u32>>(value);
    let rounded = (bits + vec4(0x7fffu) + ((bits >> vec4(16u)) & vec4(1u))) >> vec4(16u);
    let is_nan = (bits & vec4(0x7fffffffu)) > vec4(0x7f800000u);
    return select(rounded, (bits >> vec4(16u)) | vec4(0x40u), is_nan);
}
fn narrow(value: vec4<f32>) -> Four {
    let halves = upper(value);
    return vec2(halves.x | (halves.y << 16u), halves.z | (halves.w << 16u));
}
//:end
struct Cache { capacity: u32 }
@group(1) @binding(2) var<uniform> cache: Cache;
