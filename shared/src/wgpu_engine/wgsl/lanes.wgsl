// Writes 1 where an invocation finds its subgroup as the kernels take it to be: LANES neighbours, in order.
enable subgroups;
@group(0) @binding(0) var<storage, read_write> out: array<u32>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(local_invocation_index) li: u32,
    @builtin(subgroup_invocation_id) lane: u32,
    @builtin(subgroup_size) size: u32,
) {
    let first = subgroupAdd(li) == LANES * (li - lane) + LANES * (LANES - 1u) / 2u;
    out[li] = select(0u, 1u, size == LANES && lane == li % LANES && first);
}
