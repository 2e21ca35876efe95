// Column of an invocation's j-th result; where columns come in pairs, both of a pair.
fn column(j: u32, across: u32) -> u32 {
//:if SILU
    return (j >> 1u) * (2u * ACROSS) + across * 2u + (j & 1u);
//:else
    return j * ACROSS + across;
//:end
}
