//! Devices to choose from, with the memory that a program can have, not the number on the box.
//!
//! Figures and their sources are those of `phi3::devices`. What other programs hold is not in them: for a machine of
//! one's own, type what is free.

use phi3::devices::{self as table, Device};
use phi3::dtype::DType;
use phi3::estimate::{Backend, Format, Resolved, total_bytes};
use phi3::fit::{Verdict, largest};
use phi3::units::format_bytes;

use phi3::decoder::Decoder;

/// Stands for the browser that shows the page.
pub const BROWSER: &str = "browser";
/// Most that a page of 32-bit WebAssembly can have.
pub const WASM_BYTES: u64 = 4 << 30;

/// Rows of the table that the picker offers, smallest first.
pub const OFFERED: [&str; 13] = [
    "RTX 4060",
    "RTX 3060",
    "T4",
    "RTX 4080 Super",
    "L4",
    "A10G",
    "RTX 4090",
    "RTX 5090",
    "A100 40 GB",
    "L40S",
    "H100 SXM",
    "A100 SXM 80 GB",
    "H200",
];

/// Whether the picker and the short table show a row.
#[must_use]
pub fn is_offered(row: &str) -> bool {
    OFFERED.contains(&row)
}

/// Memory of a device by its name in the table, or of this browser.
#[must_use]
pub fn usable_bytes(name: &str) -> Option<u64> {
    if name == BROWSER { Some(WASM_BYTES) } else { table::find(name).ok().map(Device::usable_bytes) }
}

/// Usable memory for people, rounded down to 0.1 GiB: never more than there is.
#[must_use]
pub fn usable_words(bytes: u64) -> String {
    let tenths = (bytes * 10) >> 30;
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}

/// A load held against so much memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// What the load needs there: each vendor's runtime takes its own.
    pub total_bytes: u64,
    /// What there is.
    pub available_bytes: u64,
    /// The verdict.
    pub verdict: Verdict,
    /// Longest context that still loads, capped at the model's positions; 0 where none does.
    pub max_context: u64,
}

/// A load held against one row of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct FitRow {
    /// The row.
    pub device: &'static Device,
    /// What came of it.
    pub held: Held,
}

/// Whether a device does not compute in the format that weights are held in.
#[must_use]
pub fn lacks(device: &Device, format: Format) -> bool {
    format == DType::Bf16.into() && !device.has_bf16()
}

/// A load held against the memory of a device with this backend.
#[must_use]
pub fn hold(
    decoder: &Decoder,
    weights_bytes: u64,
    resolved: &Resolved,
    backend: Backend,
    available_bytes: u64,
) -> Held {
    let there = Resolved { backend, ..resolved.clone() };
    let need = |context| total_bytes(decoder, weights_bytes, &Resolved { context, ..there.clone() });
    let total_bytes = need(resolved.context);
    Held {
        total_bytes,
        available_bytes,
        verdict: Verdict::of(total_bytes, available_bytes),
        max_context: largest(decoder.max_position_embeddings as u64, |context| {
            need(context) <= available_bytes
        }),
    }
}

/// A load held against every row of the table, the smallest device first.
#[must_use]
pub fn fits(decoder: &Decoder, weights_bytes: u64, resolved: &Resolved) -> Vec<FitRow> {
    let mut rows: Vec<FitRow> = table::all()
        .map(|device| {
            let held =
                hold(decoder, weights_bytes, resolved, Backend::of(device.vendor()), device.usable_bytes());
            FitRow { device, held }
        })
        .collect();
    rows.sort_by_key(|row| row.device.usable_bytes());
    rows
}

/// The smallest offered device that computes in this load's format and has room for it and the 20 % margin.
#[must_use]
pub fn smallest_that_fits(
    decoder: &Decoder,
    weights_bytes: u64,
    resolved: &Resolved,
) -> Option<(&'static str, String)> {
    OFFERED.into_iter().find_map(|name| {
        let device = table::find(name).ok().filter(|device| !lacks(device, resolved.format))?;
        let there = Resolved { backend: Backend::of(device.vendor()), ..resolved.clone() };
        let fits =
            Verdict::of(total_bytes(decoder, weights_bytes, &there), device.usable_bytes()) == Verdict::Fits;
        fits.then(|| (name, usable_words(device.usable_bytes())))
    })
}

/// Whether the largest tensor of a load goes into one binding of a browser's GPU; the words say why not.
#[must_use]
pub fn binding(largest_tensor_bytes: u64, max_binding_bytes: u64) -> (bool, String) {
    let (tensor, limit) = (format_bytes(largest_tensor_bytes), format_bytes(max_binding_bytes));
    (largest_tensor_bytes <= max_binding_bytes, format!("largest tensor {tensor}, one binding holds {limit}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use phi3::estimate::{self, Options};
    use wasm_bindgen_test::wasm_bindgen_test;

    fn mini() -> Decoder {
        Decoder::parse(br#"{"model_type":"phi3","dtype":"bfloat16"}"#).expect("a phi3 config")
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn offered_rows_are_in_the_table_smallest_first() {
        let bytes: Vec<_> = OFFERED.iter().map(|row| usable_bytes(row).expect(row)).collect();
        assert!(bytes.is_sorted_by_key(|bytes| (bytes * 10) >> 30), "{bytes:?}");
        assert_eq!(usable_words(15 * (1 << 30) + (1 << 30) / 2), "15.5 GiB");
    }

    /// The table must say what the estimate says for the same device.
    #[wasm_bindgen_test(unsupported = test)]
    fn rows_agree_with_the_estimate() {
        let (decoder, options) = (mini(), Options::default());
        let resolved = Resolved::new(&decoder, None, &options).expect("defaults");
        let weights = estimate::weights_bytes(&decoder, resolved.format);
        for row in fits(&decoder, weights, &resolved) {
            let options = Options { device: Some(row.device.name.to_owned()), ..options.clone() };
            let report = estimate::estimate(&decoder, None, &options).expect("a row of the table");
            assert_eq!(row.held.total_bytes, report.total_bytes, "{}", row.device.name);
            assert_eq!(Some(row.held.verdict), report.fit.verdict);
            assert_eq!(Some(row.held.max_context), report.fit.max_context);
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn the_margin_counts() {
        let decoder = mini();
        let resolved = Resolved::new(&decoder, None, &Options::default()).expect("defaults");
        let weights = estimate::weights_bytes(&decoder, resolved.format);
        // 7.1 GiB of weights and 1.5 of cache go into 12 GB with the margin, into 8 GB not at all.
        assert_eq!(smallest_that_fits(&decoder, weights, &resolved).map(|d| d.0), Some("RTX 3060"));
        assert_eq!(smallest_that_fits(&decoder, u64::MAX / 2, &resolved), None);
        // 13.5 GiB with the margin would go into a T4, which does not compute in bf16.
        let weights = 9 << 30;
        let smallest = |resolved: &Resolved| smallest_that_fits(&decoder, weights, resolved).map(|d| d.0);
        assert_eq!(smallest(&resolved), Some("RTX 4080 Super"));
        assert_eq!(smallest(&Resolved { format: DType::F16.into(), ..resolved.clone() }), Some("T4"));
    }
}
