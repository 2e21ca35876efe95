//! Puts the second program on the page.

fn main() {
    app::start_late();
}
