//! What has no room on the device, planned on the CPU beside it.

use leptos::prelude::*;
use phi3::decoder::Decoder;
use phi3::estimate::{Options, Report};
use phi3::fit::Verdict;
use phi3::load_config::{self, LoadConfig};
use serde_json::{Map, Value, json};

use super::carry;
use super::devices::usable_words;
use super::page::Page;
use super::store::Store;

/// A lever that leaves layers to the CPU.
const OFFLOAD: &str = "offload_layers=";

/// Writes the budgets into the load config, with what was chosen for the estimate, and shows the plan.
pub fn plan(store: Store) {
    let planned = untrack(|| {
        let options = Options { dtype: None, attn: None, ..store.chosen.get() };
        let load_config =
            store.rest.with(|rest| carry::carry(&store.options.get(), &rest.load_config)).load_config;
        store
            .model
            .with(|model| store.report.with(|report| budgets(&model.decoder, report, &options, load_config)))
    });
    let Some(load_config) = planned else { return };
    batch(move || {
        // What is planned takes the place of what was chosen.
        store.choose(|options| (options.dtype, options.attn) = (None, None));
        store.rest.update(|rest| rest.load_config = load_config);
        store.go(Page::Plan);
    });
}

/// A load config with a budget for the device and the least of some for the CPU that the rest goes into; `None` where no
/// lever leaves layers to the CPU.
fn budgets(
    decoder: &Decoder,
    report: &Report,
    options: &Options,
    mut load_config: Map<String, Value>,
) -> Option<Map<String, Value>> {
    let offload = report.fit.suggestions.iter().find(|it| it.change.starts_with(OFFLOAD))?;
    let there = offload.total_bytes.saturating_sub(offload.held_bytes());
    let device = usable_words(report.fit.available_bytes?).replace(' ', "");
    // A device that is named has no room: where the layers go, the budgets say.
    load_config.remove("device_map");
    // Layers are placed whole, so that more may go there than what just has no room here.
    [there.saturating_mul(6) / 5, there.saturating_mul(2), offload.total_bytes.saturating_mul(6) / 5]
        .into_iter()
        .find_map(|bytes| {
            let mut load_config = load_config.clone();
            let host = format!("{}GiB", bytes.div_ceil(1 << 30));
            load_config.insert("max_memory".to_owned(), json!({ "0": device, "cpu": host }));
            let parsed = LoadConfig::from_map(&load_config).ok()?;
            let fit = load_config::estimate(decoder, None, options, &parsed).ok()?.report.fit;
            (fit.verdict? < Verdict::DoesNotFit).then_some(load_config)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use phi3::config::PRESETS;
    use phi3::estimate;
    use wasm_bindgen_test::wasm_bindgen_test;

    /// What does not fit on a GPU is placed on it and the CPU, whatever its size.
    #[wasm_bindgen_test(unsupported = test)]
    fn what_a_lever_says_is_a_plan_that_is_placed() {
        let mut planned = 0;
        for preset in PRESETS {
            let decoder = Decoder::parse(preset.config.as_bytes()).expect("known");
            for device in ["RTX 4060", "RTX 4090"] {
                let options = Options { device: Some(device.to_owned()), ..Options::default() };
                let report = estimate::estimate(&decoder, None, &options).expect("sized");
                let offers =
                    report.fit.suggestions.iter().any(|it| it.runs && it.change.starts_with(OFFLOAD));
                let device_map = serde_json::from_str(r#"{"device_map":"cuda:0"}"#).expect("an object");
                let found = budgets(&decoder, &report, &options, device_map);
                assert_eq!(found.is_some(), offers, "{} on {device}", preset.name);
                planned += usize::from(offers);
            }
        }
        assert!(planned > 2, "{planned} plans");
    }
}
