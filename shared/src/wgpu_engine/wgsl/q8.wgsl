// Activations as int8 in blocks of 32: 8 words of values, the scale (f32), the sum of the values (i32), 2 unused words.
@group(0) @binding(6) var<storage, read_write> quantized: array<u32>;
var<workgroup> q8_peak: array<f32, THREADS>;
var<workgroup> q8_sum: array<i32, THREADS>;

// Each invocation brings four values, eight neighbours are a block; `i4` counts fours in the whole buffer.
// Called by all invocations of a workgroup; those beyond the data say so.
fn quantize4(value: vec4<f32>, i4: u32, inside: bool, li: u32) {
    let size = abs(value);
    workgroupBarrier();
    q8_peak[li] = max(max(size.x, size.y), max(size.z, size.w));
    workgroupBarrier();
    let first = li & ~7u;
    var peak = q8_peak[first];
    for (var i = 1u; i < 8u; i++) { peak = max(peak, q8_peak[first + i]); }
    let inverse = select(0.0, 127.0 / peak, peak > 0.0);
    let four = vec4<i32>(round(value * inverse));
    q8_sum[li] = four.x + four.y + four.z + four.w;
    workgroupBarrier();
    let block = (i4 >> 3u) * 12u;
    if (inside) {
        quantized[block + (i4 & 7u)] =
            (u32(four.x) & 0xffu) | ((u32(four.y) & 0xffu) << 8u) | ((u32(four.z) & 0xffu) << 16u) | (u32(four.w) << 24u);
        if (li == first) {
            var sum = 0;
            for (var i = 0u; i < 8u; i++) { sum += q8_sum[first + i]; }
            quantized[block + 8u] = bitcast<u32>(peak / 127.0);
            quantized[block + 9u] = bitcast<u32>(sum);
        }
    }
}
