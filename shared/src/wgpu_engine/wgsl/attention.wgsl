// Attention whose scores never leave the chip. One workgroup for a head, a row and a part of the keys; THREADS keys at
// a time, each invocation one score, then all of them mix the values. With one part it writes the mixed values; with
// more it writes each part's sum, maximum and weight for `combine`. For a single row it rotates its query and key by
// itself (ROTATES): the key and the value of the row are taken from here and go to the cache on the way.
//:if SUBGROUPS
enable subgroups;
//:end
//:include step
//:include cache
//:include visible
//:include reduce
//:if ROTATES
//:include rotate
//:else
@group(0) @binding(2) var<storage, read> query: array<vec4<f32>>;
//:end
//:if SPLIT
@group(0) @binding(3) var<storage, read_write> parts: array<vec4<f32>>;
//:end
//:if TO_F32
@group(0) @binding(3) var<storage, read_write> mixed: array<f32>;
//:end
//:if TO_Q8
//:include q8
//:end
@group(0) @binding(5) var<uniform> step: Step;
//:if ROTATES
@group(1) @binding(0) var<storage, read_write> keys: array<Four>;
@group(1) @binding(1) var<storage, read_write> values: array<Four>;
//:else
@group(1) @binding(0) var<storage, read> keys: array<Four>;
@group(1) @binding(1) var<storage, read> values: array<Four>;
//:end

const LEAST = -3.0e38;
// Teams that mix different keys; an invocation of a team has four dimensions.
const TEAMS = THREADS / HEAD_4;
var<workgroup> q: array<vec4<f32>, HEAD_4>;
var<workgroup> weights: array<f32, THREADS>;
var<workgroup> sums: array<vec4<f32>, THREADS>;
//:if ROTATES
// The key and the value of the row itself.
var<workgroup> own_key: array<vec4<f32>, HEAD_4>;
var<workgroup> own_value: array<vec4<f32>, HEAD_4>;
//:end

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
    let head = wg.x;
    let row = wg.y;
    let kv_head = head / (HEADS / KV_HEADS);
    let position = step.start + row;
    let first = first_visible(position);
    let share = (position + 1u - first + step.splits - 1u) / step.splits;
    let begin = first + wg.z * share;
    let end = min(begin + share, position + 1u);

//:if ROTATES
    if (li < HEAD_4) {
        q[li] = rotated4(row, head, li) * SCALE;
        let key = narrow(rotated4(row, HEADS + kv_head, li));
        let value = narrow(rotated4(row, HEADS + KV_HEADS + kv_head, li));
        own_key[li] = widen(key);
        own_value[li] = widen(value);
        // Of the workgroups that share a key one writes it; nobody reads it in this dispatch.
        if (head % (HEADS / KV_HEADS) == 0u && wg.z == 0u) {
            keys[(kv_head * HEAD_4 + li) * cache.capacity + position] = key;
            values[(kv_head * cache.capacity + position) * HEAD_4 + li] = value;
        }
    }
//:else
    if (li < HEAD_4) { q[li] = query[(row * HEADS + head) * HEAD_4 + li] * SCALE; }
//:end
    workgroupBarrier();

    let team = li / HEAD_4;
    let d4 = li % HEAD_4;
    var most = LEAST;
    var weight = 0.0;
    var sum = vec4(0.0);
    for (var base = begin; base < end; base += THREADS) {
        let key = base + li;
        var score = LEAST;
        if (key < end) {
            score = 0.0;
//:if ROTATES
            if (key == position) {
                for (var i = 0u; i < HEAD_4; i++) { score += dot(q[i], own_key[i]); }
            } else {
                for (var i = 0u; i < HEAD_4; i++) {
                    score += dot(q[i], widen(keys[(kv_head * HEAD_4 + i) * cache.capacity + key]));
                }
            }
//:else
            for (var i = 0u; i < HEAD_4; i++) {
                score += dot(q[i], widen(keys[(kv_head * HEAD_4 + i) * cache.capacity + key]));
            }
//:end
        }
        let higher = max(most, group_max(score, li, lane));
        let fade = exp(most - higher);
        most = higher;
        let p = select(0.0, exp(score - most), key < end);
        weights[li] = p;
        // Its barriers publish the weights too.
        weight = weight * fade + group_sum(p, li, lane);
        sum *= fade;
        if (team < TEAMS) {
//:if ROTATES
            let count = min(THREADS, min(end, position) - base);
            if (end > position && end - base <= THREADS && team == 0u) { sum += weights[end - 1u - base] * own_value[d4]; }
//:else
            let count = min(THREADS, end - base);
//:end
            for (var i = team; i < count; i += TEAMS) {
                sum += weights[i] * widen(values[(kv_head * cache.capacity + base + i) * HEAD_4 + d4]);
            }
        }
        workgroupBarrier();
    }
    sums[li] = sum;
    workgroupBarrier();
    if (li < HEAD_4) {
        for (var i = 1u; i < TEAMS; i++) { sum += sums[i * HEAD_4 + li]; }
    }
//:if SPLIT
    if (li < HEAD_4) {
        let to = ((row * HEADS + head) * step.splits + wg.z) * (HEAD_4 + 1u);
        parts[to + li] = sum;
        if (li == 0u) { parts[to + HEAD_4] = vec4(most, weight, 0.0, 0.0); }
    }
//:end
//:if TO_F32
    if (li < HEAD_4) {
        let to = row * MIXED_STRIDE + head * HEAD_DIM;
        let value = sum / weight;
        for (var i = 0u; i < 4u; i++) {
            if (4u * li + i < HEAD_DIM) { mixed[to + 4u * li + i] = value[i]; }
        }
    }
//:end
//:if TO_Q8
    quantize4(sum / weight, head * HEAD_4 + li, li < HEAD_4, li);
//:end
}
