// out[row] = matrix · x[row] for many rows that stand as int8 blocks, beside a matrix that does: tiles of TILE_M rows by
// TILE_N columns, DEPTH blocks of the sum at a time. Each invocation keeps M × N results.
//:include weight
//:include dot
//:include step
struct Part { first_row: u32, rows: u32 }
@group(0) @binding(2) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
@group(0) @binding(4) var<uniform> part: Part;
@group(0) @binding(5) var<uniform> step: Step;
//:include epilogue
const ROW_BLOCKS = STRIDE / 32u;
// Two vectors a block and one of padding: neighbours fall into different banks.
const PITCH = 2u * DEPTH + 1u;
const ACROSS = TILE_N / N;
const DOWN = TILE_M / M;
var<workgroup> xs: array<vec4<u32>, TILE_M * PITCH>;
var<workgroup> ws: array<vec4<u32>, TILE_N * PITCH>;
var<workgroup> x_scales: array<f32, TILE_M * DEPTH>;
var<workgroup> w_scales: array<f32, TILE_N * DEPTH>;
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
    for (var k = 0u; k < ROW_BLOCKS; k += DEPTH) {
        for (var at = li; at < TILE_M * DEPTH; at += THREADS) {
            let row = m0 + at / DEPTH;
            let d = at % DEPTH;
            let to = at / DEPTH * PITCH + 2u * d;
            // Rows beyond the pass give nothing that is kept; blocks beyond the row count for nothing.
            let block = 3u * (min(row, step.rows - 1u) * ROW_BLOCKS + min(k + d, ROW_BLOCKS - 1u));
            xs[to] = x[block];
            xs[to + 1u] = x[block + 1u];
            x_scales[at] = select(0.0, bitcast<f32>(x[block + 2u].x), k + d < ROW_BLOCKS);
        }
        for (var at = li; at < TILE_N * DEPTH; at += THREADS) {
            let row = min(n0 + at / DEPTH, part.rows - 1u);
            let d = at % DEPTH;
            let to = at / DEPTH * PITCH + 2u * d;
            let block = row * ROW_BLOCKS + min(k + d, ROW_BLOCKS - 1u);
            let w = ints(block);
            ws[to] = w.low;
            ws[to + 1u] = w.high;
            w_scales[at] = scale(block);
        }
        workgroupBarrier();
        for (var d = 0u; d < DEPTH; d++) {
//:for i M
            let a$i = xs[(down + $iu * DOWN) * PITCH + 2u * d];
            let b$i = xs[(down + $iu * DOWN) * PITCH + 2u * d + 1u];
            let s$i = x_scales[(down + $iu * DOWN) * DEPTH + d];
//:end
//:for j N
            let u$j = ws[column($ju, across) * PITCH + 2u * d];
            let v$j = ws[column($ju, across) * PITCH + 2u * d + 1u];
            let t$j = w_scales[column($ju, across) * DEPTH + d];
//:for i M
            sum$i_$j += f32(dot32(u$j, v$j, a$i, b$i)) * (s$i * t$j);
//:end
//:end
        }
        workgroupBarrier();
    }
//:include tile
}
