//! The CUDA engine on a GPU: `cargo test -p tests --features cuda --test cuda -- --test-threads 1`.
//!
//! Where there is no device each test says so and ends; `PREFLIGHT_REQUIRE_GPU=1` makes that a failure.
//! Seeds of random inputs are printed; `PREFLIGHT_SEED` repeats a run.

mod support;
mod goldens;
mod held;
mod shapes;
mod split;
mod quantized;
mod long_rows;
mod faults;
mod memory;
mod text;
mod batches;
mod paged;
