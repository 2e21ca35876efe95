// Sum and maximum over a workgroup of THREADS invocations; every invocation gets the result.
var<workgroup> reduced: array<f32, THREADS>;

//:if SUBGROUPS
fn group_sum(value: f32, li: u32, lane: u32) -> f32 {
    let part = subgroupAdd(value);
    workgroupBarrier();
    if (lane == 0u) { reduced[li / LANES] = part; }
    workgroupBarrier();
    var sum = 0.0;
    for (var i = 0u; i < THREADS / LANES; i++) { sum += reduced[i]; }
    return sum;
}

fn group_max(value: f32, li: u32, lane: u32) -> f32 {
    let part = subgroupMax(value);
    workgroupBarrier();
    if (lane == 0u) { reduced[li / LANES] = part; }
    workgroupBarrier();
    var most = reduced[0];
    for (var i = 1u; i < THREADS / LANES; i++) { most = max(most, reduced[i]); }
    return most;
}
//:else
fn group_sum(value: f32, li: u32, lane: u32) -> f32 {
    workgroupBarrier();
    reduced[li] = value;
    workgroupBarrier();
    for (var width = THREADS / 2u; width > 0u; width /= 2u) {
        if (li < width) { reduced[li] += reduced[li + width]; }
        workgroupBarrier();
    }
    return reduced[0];
}

fn group_max(value: f32, li: u32, lane: u32) -> f32 {
    workgroupBarrier();
    reduced[li] = value;
    workgroupBarrier();
    for (var width = THREADS / 2u; width > 0u; width /= 2u) {
        if (li < width) { reduced[li] = max(reduced[li], reduced[li + width]); }
        workgroupBarrier();
    }
    return reduced[0];
}
//:end
