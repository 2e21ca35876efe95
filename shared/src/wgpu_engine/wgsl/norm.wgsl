// RMSNorm of a row: x / sqrt(mean(x²) + EPS) · weight, as f32 or quantised. One workgroup a row.
//:if SUBGROUPS
enable subgroups;
//:end
//:include weight
//:include step
//:include reduce
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
//:if TO_F32
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>;
//:end
//:if FROM_HEAD_ROW
@group(0) @binding(5) var<uniform> step: Step;
//:end
//:if TO_Q8
//:include q8
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
//:if FROM_HEAD_ROW
    let origin = (wg.x + step.head_row) * (STRIDE / 4u);
//:else
    let origin = wg.x * (STRIDE / 4u);
//:end
    let to = wg.x * (STRIDE / 4u);
    var sum = 0.0;
    // A row stays in registers: PER vectors of an invocation, and the weights meanwhile.
//:for p PER
    let i$p = li + $pu * THREADS;
    let inside$p = i$p < STRIDE / 4u;
    var value$p = vec4(0.0);
    if (inside$p) { value$p = x[origin + i$p]; }
    sum += dot(value$p, value$p);
    let weight$p = weight4(0u, min(i$p, STRIDE / 4u - 1u));
//:end
    let factor = inverseSqrt(group_sum(sum, li, lane) / f32(WIDTH) + EPS);
//:for p PER
    value$p *= factor * weight$p;
//:if TO_F32
    if (inside$p) { out[to + i$p] = value$p; }
//:end
//:if TO_Q8
    quantize4(value$p, to + i$p, inside$p, li);
//:end
//:end
}
