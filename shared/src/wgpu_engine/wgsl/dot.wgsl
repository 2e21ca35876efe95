// Products of int8, four to a word.
fn dot32(a: vec4<u32>, b: vec4<u32>, c: vec4<u32>, d: vec4<u32>) -> i32 {
    return dot4I8Packed(a.x, c.x) + dot4I8Packed(a.y, c.y) + dot4I8Packed(a.z, c.z) + dot4I8Packed(a.w, c.w)
        + dot4I8Packed(b.x, d.x) + dot4I8Packed(b.y, d.y) + dot4I8Packed(b.z, d.z) + dot4I8Packed(b.w, d.w);
}
//:if Q4_0

// What nibbles, one to a byte, stand for: -8 to 7.
fn less8(nibbles: vec4<u32>) -> vec4<u32> {
    return ((nibbles | vec4(0x80808080u)) - vec4(0x08080808u)) ^ vec4(0x80808080u);
}
//:end

// A block of the matrix: its first 16 values and the others.
struct Ints { low: vec4<u32>, high: vec4<u32> }
fn ints(block: u32) -> Ints {
//:if Q8_0
    return Ints(weight[2u * block], weight[2u * block + 1u]);
//:else
    let w = weight[block];
    return Ints(less8(w & vec4(0x0f0f0f0fu)), less8((w >> vec4(4u)) & vec4(0x0f0f0f0fu)));
//:end
}
