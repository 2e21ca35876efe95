// Eager attention, first step: scores[row of the block][head][key] = q · k / sqrt(head_dim). An invocation a key.
//:include step
//:include cache
//:include visible
//:include block
@group(0) @binding(2) var<storage, read> query: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> scores: array<f32>;
@group(0) @binding(5) var<uniform> step: Step;
@group(1) @binding(0) var<storage, read> keys: array<Four>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) li: u32) {
    let row = block.first_row + wg.z;
    let head = wg.y;
    let position = step.start + row;
    let key = first_visible(position) + wg.x * THREADS + li;
    if (row >= step.rows || key > position) { return; }
    let kv_head = head / (HEADS / KV_HEADS);
    var score = 0.0;
    for (var i = 0u; i < HEAD_4; i++) {
        score += dot(query[(row * HEADS + head) * HEAD_4 + i], widen(keys[(kv_head * HEAD_4 + i) * cache.capacity + key]));
    }
    scores[(wg.z * HEADS + head) * CONTEXT + key] = score * SCALE;
}
