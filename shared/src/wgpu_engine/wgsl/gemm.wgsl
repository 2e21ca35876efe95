// out[row] = matrix · x[row] for many rows: tiles of TILE_M rows by TILE_N columns, 16 steps of the sum at a time.
// Each invocation keeps M × N results.
//:include weight
//:include step
struct Part { first_row: u32, rows: u32 }
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
@group(0) @binding(4) var<uniform> part: Part;
@group(0) @binding(5) var<uniform> step: Step;
//:include epilogue
// Four vectors of a row and one of padding: neighbours fall into different banks.
const PITCH = 5u;
const ACROSS = TILE_N / N;
const DOWN = TILE_M / M;
var<workgroup> xs: array<vec4<f32>, TILE_M * PITCH>;
var<workgroup> ws: array<vec4<f32>, TILE_N * PITCH>;

//:include column

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) li: u32) {
    let n0 = wg.x * TILE_N;
    let m0 = wg.y * TILE_M;
    let across = li % ACROSS;
    let down = li / ACROSS;
//:for i M
//:for j N
    var sum$i_$j = 0.0;
//:end
//:end
    for (var k = 0u; k < STRIDE / 4u; k += 4u) {
        for (var at = li; at < TILE_M * 4u; at += THREADS) {
            let row = m0 + (at >> 2u);
            var value = vec4(0.0);
            if (row < step.rows) { value = x[row * (STRIDE / 4u) + k + (at & 3u)]; }
            xs[(at >> 2u) * PITCH + (at & 3u)] = value;
        }
        for (var at = li; at < TILE_N * 4u; at += THREADS) {
            let row = min(n0 + (at >> 2u), part.rows - 1u);
            ws[(at >> 2u) * PITCH + (at & 3u)] = weight4(row, k + (at & 3u));
        }
        workgroupBarrier();
        for (var k4 = 0u; k4 < 4u; k4++) {
//:for i M
            let x$i = xs[(down + $iu * DOWN) * PITCH + k4];
//:end
//:for j N
            let w$j = ws[column($ju, across) * PITCH + k4];
//:end
//:for i M
//:for j N
            sum$i_$j += dot(x$i, w$j);
//:end
//:end
        }
        workgroupBarrier();
    }
//:include tile
}
