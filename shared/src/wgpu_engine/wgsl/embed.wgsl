// residual[row] = table[ids[row]] for the ids whose rows are in this part of the table. One workgroup a row.
//:include weight
//:include step
struct Part { first_row: u32, rows: u32 }
@group(0) @binding(3) var<storage, read_write> residual: array<vec4<f32>>;
@group(0) @binding(4) var<uniform> part: Part;
@group(1) @binding(0) var<storage, read> ids: array<u32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) li: u32) {
    // Below part.first_row it wraps to a large number.
    let row = ids[wg.x] - part.first_row;
    if (row < part.rows) {
        for (var k4 = li; k4 < STRIDE / 4u; k4 += THREADS) {
            residual[wg.x * (STRIDE / 4u) + k4] = weight4(row, k4);
        }
    }
}
