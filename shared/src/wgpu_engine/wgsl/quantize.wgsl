// Rows of f32 to int8 blocks. One workgroup a row.
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
//:include q8

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) li: u32) {
    let origin = wg.x * (STRIDE / 4u);
    for (var base = 0u; base < STRIDE / 4u; base += THREADS) {
        let i = base + li;
        let inside = i < STRIDE / 4u;
        var value = vec4(0.0);
        // What lies beyond the width is left over from wider rows.
        if (inside && i * 4u < WIDTH) { value = x[origin + i]; }
        quantize4(value, origin + i, inside, li);
    }
}
