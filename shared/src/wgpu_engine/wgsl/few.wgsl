// out[row] = matrix · x[row] for a few rows x: LANES invocations share ROWS rows of the matrix and M of x, so that the
// matrix is read once for M of them. Beside a matrix in blocks x stands as int8 blocks too.
//:if SUBGROUPS
enable subgroups;
//:end
//:include weight
//:include step
struct Part { first_row: u32, rows: u32 }
//:if BLOCKS
//:include dot
@group(0) @binding(2) var<storage, read> x: array<vec4<u32>>;
const X_STRIDE = STRIDE / 32u * 3u;
//:else
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
const X_STRIDE = STRIDE / 4u;
//:end
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
@group(0) @binding(4) var<uniform> part: Part;
@group(0) @binding(5) var<uniform> step: Step;
//:include epilogue
//:if SUBGROUPS
//:else
var<workgroup> sums: array<f32, THREADS * ROWS * M>;
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
    let first = ((wg.y * wgs.x + wg.x) * GROUPS + li / LANES) * ROWS;
    let m0 = wg.z * M;
//:for r ROWS
    let row$r = min(first + $ru, part.rows - 1u);
//:end
//:for m M
    let at$m = min(m0 + $mu, step.rows - 1u) * X_STRIDE;
//:for r ROWS
    var sum$m_$r = 0.0;
//:end
//:end
//:if F32
    for (var i = lane; i < STRIDE / 4u; i += LANES) {
//:for r ROWS
        let w$r = weight[row$r * (STRIDE / 4u) + i];
//:end
//:for m M
        let x$m = x[at$m + i];
//:for r ROWS
        sum$m_$r += dot(w$r, x$m);
//:end
//:end
    }
//:end
//:if HALF
    for (var i = lane; i < STRIDE / 8u; i += LANES) {
//:for r ROWS
        let w$r = weight[row$r * (STRIDE / 8u) + i];
        let u$r = halves(w$r.xy);
        let v$r = halves(w$r.zw);
//:end
//:for m M
        let x$m = x[at$m + 2u * i];
        let y$m = x[at$m + 2u * i + 1u];
//:for r ROWS
        sum$m_$r += dot(u$r, x$m) + dot(v$r, y$m);
//:end
//:end
    }
//:end
//:if BLOCKS
    for (var i = lane; i < STRIDE / 32u; i += LANES) {
//:for r ROWS
        let w$r = ints(row$r * (STRIDE / 32u) + i);
        let t$r = scale(row$r * (STRIDE / 32u) + i);
//:end
//:for m M
        let x$m = x[at$m + 3u * i];
        let y$m = x[at$m + 3u * i + 1u];
        let s$m = bitcast<f32>(x[at$m + 3u * i + 2u].x);
//:for r ROWS
        sum$m_$r += f32(dot32(w$r.low, w$r.high, x$m, y$m)) * (t$r * s$m);
//:end
//:end
    }
//:end
//:if SUBGROUPS
//:for m M
//:for r ROWS
    sum$m_$r = subgroupAdd(sum$m_$r);
//:end
//:end
//:else
//:for m M
//:for r ROWS
    sums[(li * M + $mu) * ROWS + $ru] = sum$m_$r;
//:end
//:end
    workgroupBarrier();
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        if (lane < width) {
            for (var i = 0u; i < M * ROWS; i++) { sums[li * M * ROWS + i] += sums[(li + width) * M * ROWS + i]; }
        }
        workgroupBarrier();
    }
//:for m M
//:for r ROWS
    sum$m_$r = sums[(li * M + $mu) * ROWS + $ru];
//:end
//:end
//:end
    if (lane == 0u) {
//:for m M
        if (m0 + $mu < step.rows) {
//:if SILU
//:for r PAIRS
            if (first + $[2r]u < part.rows) { put2(m0 + $mu, part.first_row + first + $[2r]u, sum$m_$[2r], sum$m_$[2r+1]); }
//:end
//:else
//:for r ROWS
            if (first + $ru < part.rows) { put(m0 + $mu, part.first_row + first + $ru, sum$m_$r); }
//:end
//:end
        }
//:end
    }
}
