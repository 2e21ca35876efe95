//! What must hold in a browser as on the host; run by `./dev test wasm-tests`.
#![cfg(target_arch = "wasm32")]

use phi3::config::ModelConfig;
use phi3::estimate::{self, Options};
use phi3::platform::Instant;
use wasm_bindgen_test::wasm_bindgen_test;

/// usize is 32 bits here: counts past 4 Gi must not wrap.
#[wasm_bindgen_test]
fn counts_and_bytes_are_those_of_the_host() {
    let config =
        ModelConfig::parse(br#"{"model_type":"phi3","dtype":"float32"}"#).expect("defaults are Phi-3-mini's");
    assert_eq!(estimate::params(&config).total, 3_821_079_552);
    let options = Options { context: Some(131_072), ..Options::default() };
    let report = estimate::estimate(&config, None, &options);
    let report = report.expect("a valid option");
    assert_eq!(report.weights_bytes, 15_284_318_208);
    assert_eq!(report.kv_cache_bytes, 131_072 * 2 * 32 * 3072 * 4);
}

/// `std::time::Instant` would panic.
#[wasm_bindgen_test]
fn the_clock_runs() {
    let start = Instant::now();
    assert!(start.elapsed_seconds() >= 0.0);
}
