// Eager attention, second step: softmax of each row of scores over the visible keys. One workgroup a row and head.
//:if SUBGROUPS
enable subgroups;
//:end
//:include step
//:include visible
//:include reduce
//:include block
@group(0) @binding(3) var<storage, read_write> scores: array<f32>;
@group(0) @binding(5) var<uniform> step: Step;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(local_invocation_index) li: u32,
//:if SUBGROUPS
    @builtin(subgroup_invocation_id) lane: u32,
//:end
) {
//:if SUBGROUPS
//:else
    let lane = 0u;
//:end
    // Rows beyond the pass have no keys.
    let row = block.first_row + wg.y;
    let position = step.start + row;
    let origin = (wg.y * HEADS + wg.x) * CONTEXT;
    let first = origin + first_visible(position);
    let end = select(first, origin + position + 1u, row < step.rows);
    var most = -3.0e38;
    for (var i = first + li; i < end; i += THREADS) { most = max(most, scores[i]); }
    most = group_max(most, li, lane);
    var sum = 0.0;
    for (var i = first + li; i < end; i += THREADS) {
        let weight = exp(scores[i] - most);
        scores[i] = weight;
        sum += weight;
    }
    sum = group_sum(sum, li, lane);
    for (var i = first + li; i < end; i += THREADS) { scores[i] /= sum; }
}
