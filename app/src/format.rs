//! Numbers as people read them. GiB and MiB are powers of two, always;
//! a value that is not zero never prints as zero.

use phi3::units::format_count;
pub use phi3::units::{format_duration as duration, format_rate as rate};

/// Bytes of one GiB.
pub const GIB: f64 = (1u64 << 30) as f64;

/// The unit of a table or plot: one for all its numbers, so that they can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// 2^30 bytes.
    GiB,
    /// 2^20 bytes: where the largest number is below one GiB.
    MiB,
}

impl Unit {
    /// The unit for numbers of which this is the largest.
    #[must_use]
    pub fn of(largest: u64) -> Self {
        if largest < 1 << 30 { Self::MiB } else { Self::GiB }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::GiB => "GiB",
            Self::MiB => "MiB",
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(self) -> f64 {
        match self {
            Self::GiB => GIB,
            Self::MiB => GIB / 1024.0,
        }
    }

    /// Bytes in this unit, without its name: `7.12`.
    #[must_use]
    pub fn print(self, bytes: u64) -> String {
        let value = bytes as f64 / self.bytes();
        if bytes > 0 && value < 0.005 { "<0.01".to_owned() } else { format!("{value:.2}") }
    }
}

/// Bytes in full: `7,642,159,104 bytes`.
#[must_use]
pub fn exact_bytes(bytes: u64) -> String {
    format!("{} bytes", format_count(bytes))
}

/// A count in three figures: `3.82 B`, `134.5 M`, `950`.
#[must_use]
pub fn short_count(count: u64) -> String {
    let value = count as f64;
    match count {
        0..1_000_000 => format_count(count),
        1_000_000..1_000_000_000 => format!("{:.1} M", value / 1e6),
        1_000_000_000..1_000_000_000_000 => format!("{:.2} B", value / 1e9),
        _ => format!("{:.2} T", value / 1e12),
    }
}

/// A share with a sign, for errors: `−58 %`, `+4.2 %`, `0 %`.
#[must_use]
pub fn signed_percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent == 0.0 {
        return "0 %".to_owned();
    }
    let digits = usize::from(percent.abs() < 10.0);
    let sign = if percent < 0.0 { "−" } else { "+" };
    if percent.abs() < 0.05 {
        return format!("{sign}<0.1 %");
    }
    format!("{sign}{:.digits$} %", percent.abs())
}

/// From one number of bytes to another, in a unit: `−3.56`, `+0.12`.
#[must_use]
pub fn signed_bytes(from: u64, to: u64, unit: Unit) -> String {
    let sign = if to < from { "−" } else { "+" };
    format!("{sign}{}", unit.print(to.abs_diff(from)))
}

/// A share of a whole: `66.3 %`.
#[must_use]
pub fn percent(part: u64, whole: u64) -> String {
    let share = if whole == 0 { 0.0 } else { part as f64 / whole as f64 * 100.0 };
    if part > 0 && share < 0.05 { "<0.1 %".to_owned() } else { format!("{share:.1} %") }
}

/// A share from 0 to 1: `100 %`, `97.5 %`.
#[must_use]
pub fn percent_of_one(share: f64) -> String {
    let percent = share * 100.0;
    if percent.fract() == 0.0 { format!("{percent:.0} %") } else { format!("{percent:.1} %") }
}

/// Tokens on an axis: `512`, `4k`, `6.5k`, `128k`; k is 1,024, as in the names of models.
#[must_use]
pub fn axis_tokens(tokens: u64) -> String {
    match tokens {
        0..1024 => tokens.to_string(),
        _ if tokens.is_multiple_of(1024) => format!("{}k", tokens / 1024),
        _ => format!("{:.1}k", tokens as f64 / 1024.0),
    }
}

/// Round steps of an axis from 0 that reaches `top`: at most `most` of them beside 0.
#[must_use]
pub fn axis_steps(top: f64, most: usize) -> Vec<f64> {
    if top <= 0.0 || !top.is_finite() {
        return vec![0.0];
    }
    let least = top / most.max(1) as f64;
    // The power of ten below it, without what the library needs for any power.
    let mut power = 1.0;
    while power > least {
        power /= 10.0;
    }
    while power * 10.0 <= least {
        power *= 10.0;
    }
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= least).unwrap_or(least);
    (0..=most).map(|i| i as f64 * step).take_while(|v| *v <= top * 1.000_001).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_bindgen_test::wasm_bindgen_test;

    #[wasm_bindgen_test(unsupported = test)]
    fn bytes_in_one_unit() {
        assert_eq!(Unit::of(7_642_159_104).print(7_642_159_104), "7.12");
        assert_eq!(Unit::GiB.print(0), "0.00");
        assert_eq!(Unit::GiB.print(1), "<0.01");
        assert_eq!(Unit::of((1 << 30) - 1).print(47_185_920), "45.00");
        assert_eq!(exact_bytes(1_610_612_736), "1,610,612,736 bytes");
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn counts_and_shares() {
        assert_eq!(short_count(3_821_079_552), "3.82 B");
        assert_eq!(short_count(134_515_008), "134.5 M");
        assert_eq!(short_count(999), "999");
        assert_eq!(signed_bytes(3 << 30, 1 << 30, Unit::GiB), "−2.00");
        assert_eq!(signed_bytes(0, 1 << 20, Unit::GiB), "+<0.01");
        assert_eq!(signed_percent(-0.5786), "−58 %");
        assert_eq!(signed_percent(0.042), "+4.2 %");
        assert_eq!((signed_percent(0.0), signed_percent(-1e-4)), ("0 %".to_owned(), "−<0.1 %".to_owned()));
        assert_eq!(percent(1, 3), "33.3 %");
        assert_eq!(percent(1, 1 << 40), "<0.1 %");
        assert_eq!(percent(0, 0), "0.0 %");
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn axes_are_round_and_stay_inside() {
        assert_eq!(axis_steps(15.6, 4), [0.0, 5.0, 10.0, 15.0]);
        assert_eq!(axis_steps(0.34, 4), [0.0, 0.1, 0.2, 0.30000000000000004]);
        assert_eq!(axis_steps(0.0, 4), [0.0]);
        for top in [0.001, 0.9, 1.0, 7.3, 99.0, 1234.5] {
            let steps = axis_steps(top, 5);
            assert!(steps.len() >= 3 && steps.len() <= 6, "{top}: {steps:?}");
            assert!(steps.iter().all(|s| *s <= top * 1.001), "{top}: {steps:?}");
        }
        assert_eq!(axis_tokens(131_072), "128k");
        assert_eq!(axis_tokens(6656), "6.5k");
    }
}
