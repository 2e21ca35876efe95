// Where a product goes.
//:if STORE
fn put(row: u32, column: u32, value: f32) { out[row * OUT_STRIDE + column] = value; }
//:end
//:if ADD
fn put(row: u32, column: u32, value: f32) { out[row * OUT_STRIDE + column] += value; }
//:end
//:if SILU
// Rows of the matrix alternate: gate, up.
fn put2(row: u32, column: u32, gate: f32, up: f32) {
    out[row * OUT_STRIDE + (column >> 1u)] = gate / (1.0 + exp(-gate)) * up;
}
//:end
