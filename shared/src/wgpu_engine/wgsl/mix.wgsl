// Eager attention, third step: values mixed by the weights. One workgroup a row and head.
//:include step
//:include cache
//:include visible
//:include block
@group(0) @binding(2) var<storage, read> scores: array<f32>;
@group(0) @binding(3) var<storage, read_write> mixed: array<f32>;
@group(0) @binding(5) var<uniform> step: Step;
@group(1) @binding(1) var<storage, read> values: array<Four>;

const TEAMS = THREADS / HEAD_4;
var<workgroup> sums: array<vec4<f32>, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) li: u32) {
    let row = block.first_row + wg.y;
    let head = wg.x;
    let kv_head = head / (HEADS / KV_HEADS);
    let position = step.start + row;
    let team = li / HEAD_4;
    let d4 = li % HEAD_4;
    var sum = vec4(0.0);
    if (team < TEAMS && row < step.rows) {
        for (var key = first_visible(position) + team; key <= position; key += TEAMS) {
            sum += scores[(wg.y * HEADS + head) * CONTEXT + key]
                * widen(values[(kv_head * cache.capacity + key) * HEAD_4 + d4]);
        }
    }
    sums[li] = sum;
    workgroupBarrier();
    if (li < HEAD_4 && row < step.rows) {
        for (var i = 1u; i < TEAMS; i++) { sum += sums[i * HEAD_4 + li]; }
        let to = row * MIXED_STRIDE + head * HEAD_DIM;
        for (var i = 0u; i < 4u; i++) {
            if (4u * li + i < HEAD_DIM) { mixed[to + 4u * li + i] = sum[i]; }
        }
    }
}
