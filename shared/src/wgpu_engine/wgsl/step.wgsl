// What changes from one pass to the next.
struct Step {
    // Rows (tokens) of the pass.
    rows: u32,
    // Position of the first row in its sequence.
    start: u32,
    // Parts that the keys of a row are split into.
    splits: u32,
    // Row that logits are computed for first.
    head_row: u32,
}
