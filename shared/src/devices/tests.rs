//! The table held against itself, and names as people write them.

use std::collections::BTreeSet;

use super::*;
use crate::units::format_bytes;

#[test]
fn rows_are_sound() {
    let mut names = BTreeSet::new();
    for device in all() {
        assert!(names.insert(device.name.to_lowercase()), "{} is listed twice", device.name);
        assert!(!device.source.is_empty(), "{} has no source", device.name);
        assert_eq!(device.source == RULE, device.sureness() == Sureness::Computed, "{}", device.name);
        assert!(device.usable_bytes() <= device.nominal_bytes(), "{}", device.name);
        // The largest real gaps are Apple's third, and 448 MiB of a laptop's 4 GiB.
        let least = if device.vendor() == Vendor::Apple { 0.66 } else { 0.88 };
        let share = device.usable_bytes() as f64 / device.nominal_bytes() as f64;
        assert!(share >= least, "{}: {share}", device.name);
        assert!(device.bandwidth_gb_per_s < 10_000, "{}", device.name);
    }
    assert!(names.len() > 150, "{}", names.len());
}

#[test]
fn no_rule_promises_more_than_a_driver_granted() {
    for (vendor, rows, at_most) in [
        (Vendor::Nvidia, 33, 0.022),
        (Vendor::Amd, 10, 0.004),
        (Vendor::Intel, 3, 0.026),
        (Vendor::Apple, 0, 0.0),
    ] {
        let measured: Vec<_> =
            all().filter(|d| d.vendor() == vendor && d.sureness() == Sureness::Measured).collect();
        assert_eq!(measured.len(), rows, "{vendor:?}: the page of the module says otherwise");
        let mut worst = (0.0, "");
        for device in measured {
            let (rule, real) = (device.by_rule(), device.usable_bytes());
            assert!(rule <= real, "{}: {} > {}", device.name, format_bytes(rule), format_bytes(real));
            let short = (real - rule) as f64 / real as f64;
            worst = if short > worst.0 { (short, device.name) } else { worst };
        }
        println!("{vendor:?}: {rows} rows, short by {:.2} % at most ({})", worst.0 * 100.0, worst.1);
        assert!(worst.0 <= at_most, "{vendor:?}: {worst:?}");
    }
}

#[test]
fn known_figures() {
    let mib = |name: &str| find(name).expect(name).usable_bytes() >> 20;
    assert_eq!(mib("H100 SXM"), 85_017_493_504 >> 20, "measured on the card");
    assert_eq!(mib("RTX 3090"), 24_123);
    assert_eq!(mib("Apple M1 16 GB"), 10_922, "llama.cpp: 11453.25 MB, 10922 MiB free");
    assert_eq!(mib("M4 Max 128 GB"), 96 << 10);
    // ECC takes a sixteenth of a T4 and of an A40, but nothing of an A100.
    assert!(mib("A40") < 48 * 1024 * 15 / 16 && mib("A100 PCIe 80 GB") > 80 * 1024 * 15 / 16);
    let formats = |name: &str| (find(name).expect(name).has_bf16(), find(name).expect(name).has_fp8());
    assert_eq!(formats("T4"), (false, false));
    assert_eq!(formats("A100 40 GB"), (true, false));
    assert_eq!(formats("L4"), (true, true));
    assert_eq!(formats("MI300X"), (true, true));
}

#[test]
fn names_are_found_as_people_and_drivers_write_them() {
    for (written, name) in [
        ("H100 SXM", "H100 SXM"),
        ("h100-sxm", "H100 SXM"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("rtx4090", "RTX 4090"),
        ("4090", "RTX 4090"),
        ("4090 laptop", "RTX 4090 Laptop"),
        ("A6000", "RTX A6000"),
        ("7900 xtx", "RX 7900 XTX"),
        ("b580", "Arc B580"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "RTX 4090 Laptop"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"),
        ("Tesla T4", "T4"),
        ("NVIDIA A100-SXM4-80GB", "A100 SXM 80 GB"),
        ("AMD Instinct MI300X", "MI300X"),
        ("AMD Radeon RX 7900 XTX", "RX 7900 XTX"),
        ("Intel(R) Arc(TM) B580", "Arc B580"),
        ("apple m3 max 64gb", "M3 Max 64 GB"),
    ] {
        assert_eq!(find(written).map(|device| device.name), Ok(name), "{written}");
    }
    for device in all() {
        assert_eq!(find(device.name).map(|found| found.name), Ok(device.name));
    }
    for name in INLINE_ECC.into_iter().chain(find::ALIASES.map(|(_, name)| name)) {
        assert!(all().any(|device| device.name == name), "no row is called {name}");
    }
}

#[test]
fn names_that_fit_none_or_several_get_the_nearest() {
    let nearest = |name: &str| find(name).expect_err(name).nearest;
    assert!(nearest("RTX 4060 Ti").iter().take(2).all(|name| name.starts_with("RTX 4060 Ti ")));
    assert!(nearest("H100").iter().take(3).all(|name| name.starts_with("H100 ")));
    assert!(nearest("RTX 4909").contains(&"RTX 4090"));
    // What is left of several names without their series is none's.
    assert!(nearest("6000").len() == 5 && nearest("RTX 6000").contains(&"RTX 6000 Ada"));
    let words = find("RTX 4909").expect_err("no row").to_string();
    assert!(words.contains("did you mean RTX") && words.contains(" or "), "{words}");
    assert_eq!(nearest("").len(), 5);
    assert!(find(&"é".repeat(100_000)).expect_err("nonsense").to_string().len() < 400);
}
