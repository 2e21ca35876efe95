//! GPUs to choose from, with the memory that a program can have, not the number on the box.
//!
//! Usable memory is the total that the CUDA driver reports to a program (drivers differ by 0.1 GiB or so),
//! rounded down to 0.1 GiB. What other programs hold is not in it: for a machine of one's own, type what is free.

/// A device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Name and nominal memory.
    pub name: &'static str,
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

const fn device(name: &'static str, usable_tenths: u64) -> Device {
    Device { name, usable_tenths }
}

/// The list, smallest first.
pub const DEVICES: [Device; 13] = [
    device("RTX 4060 · 8 GB", 76),
    device("RTX 3060 · 12 GB", 116),
    device("T4 · 16 GB", 145),
    device("RTX 4080 Super · 16 GB", 156),
    device("A10G · 24 GB", 219),
    device("L4 · 24 GB", 219),
    device("RTX 3090, 4090 · 24 GB", 235),
    device("RTX 5090 · 32 GB", 313),
    device("A100 · 40 GB", 393),
    device("L40S · 48 GB", 443),
    device("H100 · 80 GB", 785),
    device("A100 · 80 GB", 791),
    device("H200 · 141 GB", 1390),
];

/// The listed device whose usable memory is this text, if any.
#[must_use]
pub fn named(memory: &str) -> Option<Device> {
    DEVICES.into_iter().find(|device| device.usable() == memory.trim())
}

/// The smallest listed device with room for this need and the 20 % margin.
#[must_use]
pub fn smallest_that_fits(total_bytes: u64) -> Option<Device> {
    DEVICES
        .into_iter()
        .find(|device| phi3::fit::Verdict::of(total_bytes, device.usable_bytes()) == phi3::fit::Verdict::Fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_bindgen_test::wasm_bindgen_test;

    #[wasm_bindgen_test(unsupported = test)]
    fn listed_sizes_are_ascending_and_parse() {
        assert!(DEVICES.is_sorted_by_key(|d| d.usable_tenths));
        for device in DEVICES {
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
