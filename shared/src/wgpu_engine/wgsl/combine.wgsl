// Joins the parts that `attention` left of a head and a row.
//:include step
@group(0) @binding(2) var<storage, read> parts: array<vec4<f32>>;
//:if TO_F32
@group(0) @binding(3) var<storage, read_write> mixed: array<f32>;
//:end
//:if TO_Q8
//:include q8
//:end
@group(0) @binding(5) var<uniform> step: Step;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) li: u32) {
    let head = wg.x;
    let row = wg.y;
    let origin = (row * HEADS + head) * step.splits;
    var value = vec4(0.0);
    if (li < HEAD_4) {
        var most = parts[origin * (HEAD_4 + 1u) + HEAD_4].x;
        for (var i = 1u; i < step.splits; i++) {
            most = max(most, parts[(origin + i) * (HEAD_4 + 1u) + HEAD_4].x);
        }
        var weight = 0.0;
        for (var i = 0u; i < step.splits; i++) {
            let part = (origin + i) * (HEAD_4 + 1u);
            let state = parts[part + HEAD_4];
            let factor = exp(state.x - most);
            value += parts[part + li] * factor;
            weight += state.y * factor;
        }
        value /= weight;
    }
//:if TO_F32
    if (li < HEAD_4) {
        let to = row * MIXED_STRIDE + head * HEAD_DIM;
        for (var i = 0u; i < 4u; i++) {
            if (4u * li + i < HEAD_DIM) { mixed[to + 4u * li + i] = value[i]; }
        }
    }
//:end
//:if TO_Q8
    quantize4(value, head * HEAD_4 + li, li < HEAD_4, li);
//:end
}
