// The id of the largest logit, the first on a tie; ffffffff where one is NaN. Compared as integers: what a driver makes
// of NaN in floats is its own affair.
@group(0) @binding(0) var<storage, read> logits: array<u32>;
@group(1) @binding(0) var<storage, read_write> token: array<u32>;

var<workgroup> best_rank: array<u32, THREADS>;
var<workgroup> best_id: array<u32, THREADS>;

// Larger numbers have larger ranks; both zeros have one, NaN is above all.
fn rank_of(bits: u32) -> u32 {
    if ((bits & 0x7fffffffu) > 0x7f800000u) { return 0xffffffffu; }
    if (bits == 0x80000000u) { return 0x80000000u; }
    return select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(local_invocation_index) li: u32) {
    var best = 0u;
    var id = 0u;
    for (var base = li; base < VOCAB; base += AT_ONCE * THREADS) {
        // All loads on their way before the first is looked at; beyond the last there is the last once more.
//:for k AT_ONCE
        let i$k = min(base + $ku * THREADS, VOCAB - 1u);
        let rank$k = rank_of(logits[i$k]);
//:end
//:for k AT_ONCE
        if (rank$k > best) {
            best = rank$k;
            id = i$k;
        }
//:end
    }
    best_rank[li] = best;
    best_id[li] = id;
    workgroupBarrier();
    for (var width = THREADS / 2u; width > 0u; width /= 2u) {
        if (li < width) {
            let other = best_rank[li + width];
            let closer = other == best_rank[li] && best_id[li + width] < best_id[li];
            if (other > best_rank[li] || closer) {
                best_rank[li] = other;
                best_id[li] = best_id[li + width];
            }
        }
        workgroupBarrier();
    }
    if (li == 0u) { token[0] = select(best_id[0], 0xffffffffu, best_rank[0] == 0xffffffffu); }
}
