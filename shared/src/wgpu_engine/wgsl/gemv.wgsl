// out = matrix · x for one row x. LANES invocations share ROWS rows of the matrix; a workgroup is GROUPS such teams.
//:if SUBGROUPS
enable subgroups;
//:end
//:include weight
struct Part { first_row: u32, rows: u32 }
//:if X_Q8
@group(0) @binding(2) var<storage, read> x: array<vec4<u32>>;
//:else
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
//:end
@group(0) @binding(4) var<uniform> part: Part;
//:if SILU_Q8
// A workgroup has 64 rows, gates and ups in turn: a block of 32 values that the next product takes as int8.
//:include q8
var<workgroup> gated: array<f32, 32>;
//:else
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
//:include epilogue
//:end
//:if SUBGROUPS
//:else
var<workgroup> sums: array<f32, THREADS * ROWS>;
//:end

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) li: u32,
//:if SUBGROUPS
    @builtin(subgroup_invocation_id) lane: u32,
//:end
) {
//:if SUBGROUPS
//:else
    let lane = li % LANES;
//:end
    let group = wg.y * wgs.x + wg.x;
    let first = (group * GROUPS + li / LANES) * ROWS;
//:for r ROWS
    var sum$r = 0.0;
    let row$r = min(first + $ru, part.rows - 1u);
//:end
//:if F32
    for (var i = lane; i < STRIDE / 4u; i += LANES) {
        let x0 = x[i];
//:for r ROWS
        sum$r += dot(weight[row$r * (STRIDE / 4u) + i], x0);
//:end
    }
//:end
//:if HALF
    for (var i = lane; i < STRIDE / 8u; i += LANES) {
        let x0 = x[2u * i];
        let x1 = x[2u * i + 1u];
//:for r ROWS
        let w$r = weight[row$r * (STRIDE / 8u) + i];
        sum$r += dot(halves(w$r.xy), x0) + dot(halves(w$r.zw), x1);
//:end
    }
//:end
//:if BLOCKS
    for (var i = lane; i < STRIDE / 32u; i += LANES) {
        let x0 = x[3u * i];
        let x1 = x[3u * i + 1u];
        let x2 = x[3u * i + 2u];
        let x_scale = bitcast<f32>(x2.x);
//:if Q4_0
        let x_sum = bitcast<i32>(x2.y);
//:end
//:for r ROWS
//:if Q8_0
        let u$r = weight[row$r * (STRIDE / 16u) + 2u * i];
        let v$r = weight[row$r * (STRIDE / 16u) + 2u * i + 1u];
        let p$r = dot4I8Packed(u$r.x, x0.x) + dot4I8Packed(u$r.y, x0.y) + dot4I8Packed(u$r.z, x0.z) + dot4I8Packed(u$r.w, x0.w)
            + dot4I8Packed(v$r.x, x1.x) + dot4I8Packed(v$r.y, x1.y) + dot4I8Packed(v$r.z, x1.z) + dot4I8Packed(v$r.w, x1.w);
//:else
        let w$r = weight[row$r * (STRIDE / 32u) + i];
        let u$r = w$r & vec4(0x0f0f0f0fu);
        let v$r = (w$r >> vec4(4u)) & vec4(0x0f0f0f0fu);
        // Nibbles are offset by 8: eight times the sum of x is taken off at once.
        let p$r = dot4I8Packed(u$r.x, x0.x) + dot4I8Packed(u$r.y, x0.y) + dot4I8Packed(u$r.z, x0.z) + dot4I8Packed(u$r.w, x0.w)
            + dot4I8Packed(v$r.x, x1.x) + dot4I8Packed(v$r.y, x1.y) + dot4I8Packed(v$r.z, x1.z) + dot4I8Packed(v$r.w, x1.w)
            - 8 * x_sum;
//:end
        sum$r += f32(p$r) * (scale(row$r * (STRIDE / 32u) + i) * x_scale);
//:end
    }
//:end
//:if SUBGROUPS
//:for r ROWS
    sum$r = subgroupAdd(sum$r);
//:end
//:else
//:for r ROWS
    sums[li * ROWS + $ru] = sum$r;
//:end
    workgroupBarrier();
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        if (lane < width) {
//:for r ROWS
            sums[li * ROWS + $ru] += sums[(li + width) * ROWS + $ru];
//:end
        }
        workgroupBarrier();
    }
//:for r ROWS
    sum$r = sums[li * ROWS + $ru];
//:end
//:end
//:if SILU_Q8
    if (lane == 0u) {
//:for r PAIRS
        gated[li / LANES * PAIRS + $ru] = sum$[2r] / (1.0 + exp(-sum$[2r])) * sum$[2r+1];
//:end
    }
    workgroupBarrier();
    let at = 4u * (li & 7u);
    let four = vec4(gated[at], gated[at + 1u], gated[at + 2u], gated[at + 3u]);
    quantize4(four, (part.first_row + group * 64u) / 8u + li, li < 8u && group * 64u < part.rows, li);
//:else
    if (lane == 0u) {
//:if SILU
//:for r PAIRS
        if (first + $[2r]u < part.rows) { put2(0u, part.first_row + first + $[2r]u, sum$[2r], sum$[2r+1]); }
//:end
//:else
//:for r ROWS
        if (first + $ru < part.rows) { put(0u, part.first_row + first + $ru, sum$r); }
//:end
//:end
    }
//:end
}
