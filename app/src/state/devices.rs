//! GPUs to choose from, with the memory that a program can have, not the number on the box.
//!
//! Figures and their sources are those of `phi3::devices`, rounded down to 0.1 GiB. What other programs hold is
//! not in them: for a machine of one's own, type what is free.

use std::sync::LazyLock;

/// A device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Name and nominal memory.
    pub name: &'static str,
    /// Its name in `phi3::devices`, and in a link.
    pub row: &'static str,
    /// Usable memory in tenths of a GiB.
    pub usable_tenths: u64,
}

impl Device {
    /// Usable memory as a person would type it; parses back with `phi3::units`.
    #[must_use]
    pub fn usable(&self) -> String {
        format!("{}.{} GiB", self.usable_tenths / 10, self.usable_tenths % 10)
    }

    /// Usable memory in bytes, rounded down.
    #[must_use]
    pub fn usable_bytes(&self) -> u64 {
        phi3::units::parse_size(&self.usable()).unwrap_or(0)
    }
}

/// What the picker offers, smallest first: what it says, and the row of the table.
const OFFERED: [(&str, &str); 13] = [
    ("RTX 4060 · 8 GB", "RTX 4060"),
    ("RTX 3060 · 12 GB", "RTX 3060"),
    ("T4 · 16 GB", "T4"),
    ("RTX 4080 Super · 16 GB", "RTX 4080 Super"),
    ("L4 · 24 GB", "L4"),
    ("A10G · 24 GB", "A10G"),
    ("RTX 3090, 4090 · 24 GB", "RTX 4090"),
    ("RTX 5090 · 32 GB", "RTX 5090"),
    ("A100 · 40 GB", "A100 40 GB"),
    ("L40S · 48 GB", "L40S"),
    ("H100 · 80 GB", "H100 SXM"),
    ("A100 · 80 GB", "A100 SXM 80 GB"),
    ("H200 · 141 GB", "H200"),
];

/// The list, smallest first.
pub static DEVICES: LazyLock<Vec<Device>> = LazyLock::new(|| {
    let device = |(name, row): (&'static str, &'static str)| {
        let usable_tenths = (phi3::devices::find(row).ok()?.usable_bytes() * 10) >> 30;
        Some(Device { name, row, usable_tenths })
    };
    OFFERED.into_iter().filter_map(device).collect()
});

/// The listed device whose usable memory is this text, if any.
#[must_use]
pub fn named(memory: &str) -> Option<Device> {
    DEVICES.iter().find(|device| device.usable() == memory.trim()).copied()
}

/// Memory as typed, of any device of `phi3::devices`: as the picker offers it where it does.
#[must_use]
pub fn memory_of(row: &str) -> Option<String> {
    let offered = DEVICES.iter().find(|device| device.row == row).map(Device::usable);
    offered.or_else(|| Some(phi3::units::exact_size(phi3::devices::find(row).ok()?.usable_bytes())))
}

/// The smallest listed device with room for this need and the 20 % margin.
#[must_use]
pub fn smallest_that_fits(total_bytes: u64) -> Option<Device> {
    DEVICES
        .iter()
        .copied()
        .find(|device| phi3::fit::Verdict::of(total_bytes, device.usable_bytes()) == phi3::fit::Verdict::Fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_bindgen_test::wasm_bindgen_test;

    #[wasm_bindgen_test(unsupported = test)]
    fn listed_sizes_are_ascending_and_parse() {
        assert!(DEVICES.is_sorted_by_key(|d| d.usable_tenths));
        assert_eq!(DEVICES.len(), OFFERED.len(), "every row that is offered is in the table");
        for device in DEVICES.iter() {
            assert_eq!(device.usable_bytes(), device.usable_tenths * (1 << 30) / 10, "{}", device.name);
            assert_eq!(named(&device.usable()).map(|d| d.usable_tenths), Some(device.usable_tenths));
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn the_margin_counts() {
        // 1.2 × 6.5 GiB = 7.8 GiB does not go into 7.6.
        let need = (65 << 30) / 10;
        assert_eq!(smallest_that_fits(need).map(|d| d.name), Some("RTX 3060 · 12 GB"));
        assert_eq!(smallest_that_fits(u64::MAX), None);
    }
}
