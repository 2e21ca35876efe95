//! What the tests share: fixtures by name, checkpoints, engines.

pub(crate) mod model;
pub(crate) mod model_dir;
pub(crate) mod program;
pub(crate) mod http;
pub(crate) mod inject;

use std::path::PathBuf;

/// Says why a test cannot run here; where `PREFLIGHT_REQUIRE_TOOLS` is set, as in CI, that is a failure.
#[expect(clippy::print_stdout, reason = "a test that is left out says why")]
pub(crate) fn left_out(reason: &str) {
    assert!(std::env::var_os("PREFLIGHT_REQUIRE_TOOLS").is_none(), "{reason}");
    println!("LEFT OUT: {reason}");
}

/// The folder of the `tests` package.
pub(crate) fn tests_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A real `config.json` by its name in `data/configs`.
pub(crate) fn config_json(name: &str) -> Vec<u8> {
    let path = tests_dir().join("data/configs").join(format!("{name}.json"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
