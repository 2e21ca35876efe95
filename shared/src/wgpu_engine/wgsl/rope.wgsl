// Splits rows [q | k | v] into heads, rotates queries and keys, writes queries to a buffer of their own and keys and
// values into the cache. An invocation does four dimensions of a head.
//:include step
//:include cache
@group(0) @binding(3) var<storage, read_write> query: array<vec4<f32>>;
@group(0) @binding(5) var<uniform> step: Step;
@group(1) @binding(0) var<storage, read_write> keys: array<Four>;
@group(1) @binding(1) var<storage, read_write> values: array<Four>;

//:include rotate

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) li: u32) {
    let row = wg.y;
    let at = wg.x * THREADS + li;
    let head = at / HEAD_4;
    let d4 = at % HEAD_4;
    if (head >= HEADS + 2u * KV_HEADS) { return; }
    let value = rotated4(row, head, d4);
    let position = step.start + row;
    if (head < HEADS) {
        query[(row * HEADS + head) * HEAD_4 + d4] = value;
    } else if (head < HEADS + KV_HEADS) {
        keys[((head - HEADS) * HEAD_4 + d4) * cache.capacity + position] = narrow(value);
    } else {
        values[((head - HEADS - KV_HEADS) * cache.capacity + position) * HEAD_4 + d4] = narrow(value);
    }
}
