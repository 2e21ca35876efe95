// Counts NaN and infinite values of rows, by their bits.
//:include step
@group(0) @binding(0) var<storage, read> values: array<u32>;
@group(0) @binding(3) var<storage, read_write> counts: array<atomic<u32>, 2>;
@group(0) @binding(5) var<uniform> step: Step;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) li: u32) {
    if (wg.x >= step.rows) { return; }
    for (var i = li; i < WIDTH; i += THREADS) {
        let size = values[wg.x * STRIDE + i] & 0x7fffffffu;
        if (size > 0x7f800000u) { atomicAdd(&counts[0], 1u); }
        if (size == 0x7f800000u) { atomicAdd(&counts[1], 1u); }
    }
}
