// The first key that the query at a position sees; the last is its own.
fn first_visible(position: u32) -> u32 {
//:if WINDOWED
    return max(position + 1u, WINDOW) - WINDOW;
//:else
    return 0u;
//:end
}
