//! Puts the dashboard on the page.

fn main() {
    app::start();
}
