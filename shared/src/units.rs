//! Sizes in bytes and texts of strangers: parsing what people type, printing what they read.

use thiserror::Error;

/// Why a size could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SizeError {
    /// No number, a negative number, or a unit that does not exist.
    #[error(
        "`{}` is not a size: write bytes, or a number with KB, MB, GB, TB (powers of 10) or KiB, MiB, GiB, TiB (powers of 2)",
        one_line(.0)
    )]
    Malformed(String),
    /// `16G`: GB and GiB differ by 7 %, so a guess would be wrong half the time.
    #[error("`{}` is ambiguous: write {size}B (powers of 10) or {size}iB (powers of 2)", one_line(.0), size = one_line(.1))]
    Ambiguous(String, String),
    /// More than 2^63 bytes.
    #[error("`{}` is larger than any memory", one_line(.0))]
    TooLarge(String),
}

impl SizeError {
    /// What would be read in its place.
    #[must_use]
    pub fn expected(&self) -> String {
        match self {
            Self::Malformed(_) => {
                "bytes, or a size with KB, MB, GB, TB (powers of 10) or KiB, MiB, GiB, TiB (powers of 2)"
                    .to_owned()
            }
            Self::Ambiguous(_, size) => {
                let size = one_line(size);
                format!("{size}B (powers of 10) or {size}iB (powers of 2): {size} alone could be either")
            }
            Self::TooLarge(_) => "no more than 2^63 bytes".to_owned(),
        }
    }
}

const UNITS: [(&str, u128); 9] = [
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KIB", 1 << 10),
    ("MIB", 1 << 20),
    ("GIB", 1 << 30),
    ("TIB", 1 << 40),
];

/// Reads a size such as `17179869184`, `16GiB` or `7.5 GB` into bytes (rounded down).
///
/// # Errors
/// [`SizeError`] on anything else; a bare `16G` is refused as ambiguous.
pub fn parse_size(text: &str) -> Result<u64, SizeError> {
    let text = text.trim();
    let malformed = || SizeError::Malformed(text.to_owned());
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = (text[..split].trim(), text[split..].trim().to_ascii_uppercase());
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(malformed());
    }
    let factor = match UNITS.iter().find(|(name, _)| *name == unit) {
        Some((_, factor)) => *factor,
        None if unit.is_empty() => 1,
        None if ["K", "M", "G", "T"].contains(&unit.as_str()) => {
            return Err(SizeError::Ambiguous(text.to_owned(), format!("{number}{unit}")));
        }
        None => return Err(malformed()),
    };
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    let is_part = factor == 1 && decimals.bytes().any(|digit| digit != b'0');
    if decimals.contains('.') || number == "." || is_part {
        return Err(malformed());
    }
    // By digits, since floats would round: and reading floats takes a table that a first visit of the page would load.
    let part = digits(decimals).rev().fold(0, |below, digit| (below + digit * factor) / 10);
    let whole = digits(whole).fold(0, |above: u128, digit| above.saturating_mul(10).saturating_add(digit));
    let bytes = whole.saturating_mul(factor).saturating_add(part);
    u64::try_from(bytes).ok().filter(|b| *b <= 1 << 63).ok_or_else(|| SizeError::TooLarge(text.to_owned()))
}

fn digits(text: &str) -> impl DoubleEndedIterator<Item = u128> {
    text.bytes().map(|digit| u128::from(digit - b'0'))
}

/// Prints bytes for people, in powers of two with the matching unit: `7.12 GiB`.
#[must_use]
pub fn format_bytes(bytes: u64) -> String {
    in_unit(bytes, |value| value)
}

/// The same rounded up: a size that is to be enough.
#[must_use]
pub fn format_bytes_up(bytes: u64) -> String {
    in_unit(bytes, |value| (value * 100.0).ceil() / 100.0)
}

fn in_unit(bytes: u64, rounded: impl Fn(f64) -> f64) -> String {
    const NAMES: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut power = 0;
    let mut value = bytes as f64;
    // 1023.995 would print as `1024.00`.
    while rounded(value) >= 1023.995 && power + 1 < NAMES.len() {
        value /= 1024.0;
        power += 1;
    }
    if power == 0 { format!("{bytes} B") } else { format!("{:.2} {}", rounded(value), NAMES[power]) }
}

/// The shortest size that [`parse_size`] reads as exactly these bytes: `16 GiB`, `15.6 GiB`, `1234567`.
#[must_use]
pub fn exact_size(bytes: u64) -> String {
    const NAMES: [(&str, u64); 6] = [
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
        ("GB", 1_000_000_000),
        ("MB", 1_000_000),
        ("KB", 1_000),
    ];
    let rounded = NAMES.iter().flat_map(|(name, unit)| {
        let value = bytes as f64 / *unit as f64;
        let is_plain = (1.0..1e6).contains(&value);
        // Sizes are rounded down as they are read: the last digit may have to be the next one.
        (0..3).filter(move |_| is_plain).flat_map(move |digits| {
            let step = 10f64.powi(digits);
            [(value * step).floor(), (value * step).ceil()]
                .map(|whole| format!("{:.*} {name}", digits as usize, whole / step))
        })
    });
    let exact = rounded.filter(|text| parse_size(text) == Ok(bytes)).min_by_key(String::len);
    exact.unwrap_or_else(|| bytes.to_string())
}

/// A count with its noun: `1 token`, `2 tokens`.
#[must_use]
pub fn format_counted(count: u64, noun: &str) -> String {
    format!("{} {noun}{}", format_count(count), if count == 1 { "" } else { "s" })
}

/// Prints an integer with thousands separators: `3,821,079,552`.
#[must_use]
pub fn format_count(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number that may be very small: `0`, `3.1e-6`.
#[must_use]
pub fn format_small(value: f64) -> String {
    if value == 0.0 { "0".to_owned() } else { format!("{value:.1e}") }
}

/// Milliseconds: `0.8 ms`, `412 ms`, `3.1 s`, `42 min 49 s`, `3 h 5 min`.
#[must_use]
pub fn format_duration(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms if ms < 120_000.0 => format!("{:.1} s", ms / 1e3),
        ms => match (ms / 1e3) as u64 {
            s if s < 7200 => format!("{} min {} s", s / 60, s % 60),
            s => format!("{} h {} min", format_count(s / 3600), s / 60 % 60),
        },
    }
}

/// Tokens a second: `412 tok/s`, `8.31 tok/s`.
#[must_use]
pub fn format_rate(per_s: f64) -> String {
    if per_s >= 100.0 {
        format!("{} tok/s", format_count(per_s.round() as u64))
    } else {
        format!("{per_s:.2} tok/s")
    }
}

/// A text from a file as it can stand in a message: on one line, and cut where it is long.
pub(crate) fn one_line(text: &str) -> String {
    const MOST: usize = 60;
    let mut chars = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut line: String = chars.by_ref().take(MOST).collect();
    if chars.next().is_some() {
        line.push('…');
    }
    line
}

/// Whether a name of `length` bytes that is so many edits away is likely a slip of the same word.
pub(crate) fn is_near(distance: usize, length: usize) -> bool {
    2 * distance <= length
}

/// The known name that somebody meant, if one is near.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, known)| is_near(*distance, name.len().max(known.len())))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_people_write() {
        for (text, bytes) in [
            ("0", 0),
            ("1024", 1024),
            ("16GiB", 17_179_869_184),
            ("16 gib", 17_179_869_184),
            ("16GB", 16_000_000_000),
            ("7.5GB", 7_500_000_000),
            ("0.5KiB", 512),
            (".5KiB", 512),
            ("5.", 5),
            ("5.00", 5),
            ("0.29KB", 290),
            // The last byte of a tebibyte takes forty digits to name, and all of them count.
            ("0.9999999999990905052982270717620849609375TiB", (1 << 40) - 1),
            ("0.9999999999990905052982270717620849609374TiB", (1 << 40) - 2),
            ("9223372036854775807", (1 << 63) - 1),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_meant_is_near() {
        let known = ["dtype", "quantization", "sliding_window"];
        assert_eq!(nearest("dtpye", known.into_iter()), Some("dtype"));
        assert_eq!(nearest("sliding-windows", known.into_iter()), Some("sliding_window"));
        assert_eq!(nearest("gpu_memory_utilization", known.into_iter()), None);
        assert_eq!(nearest("", known.into_iter()), None);
    }

    #[test]
    fn sizes_refused() {
        assert!(matches!(parse_size("16G"), Err(SizeError::Ambiguous(..))));
        for text in ["", "-1", "GiB", ".", ". GiB", "1.5", "1e9", "16 GiX", "1..2GB", "NaN", "16GiB free"] {
            assert!(matches!(parse_size(text), Err(SizeError::Malformed(_))), "{text}");
        }
        for text in [
            "99999999999999999999",
            "99999999TiB",
            &"9".repeat(60),
            "9999999999999999999999999999999999999999TiB",
        ] {
            assert!(matches!(parse_size(text), Err(SizeError::TooLarge(_))), "{text}");
        }
    }

    #[test]
    fn exact_sizes_are_short_and_read_back() {
        for text in ["16 GiB", "15.6 GiB", "0.5 KiB", "80 GB", "7.63 GB", "512 MiB", "1234567", "0", "1 TiB"]
        {
            let bytes = parse_size(text).expect(text);
            assert_eq!(parse_size(&exact_size(bytes)), Ok(bytes), "{text}");
        }
        for text in ["16 GiB", "15.6 GiB", "80 GB", "7.63 GB", "512 MiB", "1234567", "0"] {
            assert_eq!(exact_size(parse_size(text).expect(text)), text);
        }
        assert_eq!(parse_size(&exact_size(1 << 63)), Ok(1 << 63));
    }

    #[test]
    fn times_and_rates_printed() {
        for (ms, words) in [
            (0.84, "0.8 ms"),
            (412.0, "412 ms"),
            (119_900.0, "119.9 s"),
            (2_569_400.0, "42 min 49 s"),
            (11_160_000.0, "3 h 6 min"),
        ] {
            assert_eq!(format_duration(ms), words);
        }
        assert_eq!(
            (format_rate(8.314), format_rate(1244.6)),
            ("8.31 tok/s".to_owned(), "1,245 tok/s".to_owned())
        );
        assert_eq!((format_small(0.0), format_small(3.14e-6)), ("0".to_owned(), "3.1e-6".to_owned()));
    }

    #[test]
    fn sizes_printed() {
        assert_eq!(format_bytes(7_642_159_104), "7.12 GiB");
        assert_eq!(format_bytes(1023), "1023 B");
        assert_eq!(format_bytes((1 << 20) - 1), "1.00 MiB");
        assert_eq!(format_count(3_821_079_552), "3,821,079,552");
        assert_eq!(format_count(999), "999");
    }
}
