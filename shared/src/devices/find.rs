//! A row by the name that somebody types, or that a driver reports.

use thiserror::Error;

use super::{Device, all};
use crate::units::is_near;

/// A name that no row has, or that several have.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("no GPU in the table is called `{name}`; {}", self.hint())]
pub struct UnknownGpu {
    /// What was asked for.
    pub name: String,
    /// Names in the table near to it, at most five.
    pub nearest: Vec<&'static str>,
}

impl UnknownGpu {
    /// What is meant, most likely: `did you mean RTX 4090, RTX 4080 or RTX 4070?`.
    pub(crate) fn hint(&self) -> String {
        match &self.nearest[..] {
            [] => {
                "names are like RTX 4090, H100 SXM, RX 7900 XTX or M3 Max 64 GB, or give the memory itself."
                    .to_owned()
            }
            [one] => format!("did you mean {one}?"),
            [most @ .., last] => format!("did you mean {} or {last}?", most.join(", ")),
        }
    }
}

/// The first words of many names, which people leave out.
const SERIES: [&str; 4] = ["rtx pro ", "rtx ", "rx ", "arc "];

/// What a name may carry besides what tells one GPU from another.
const NOISE: [&str; 13] = [
    "nvidia",
    "geforce",
    "quadro",
    "tesla",
    "amd",
    "radeon",
    "instinct",
    "intel",
    "apple",
    "generation",
    "gpu",
    "(r)",
    "(tm)",
];

/// Names that drivers and sellers use for rows that are called otherwise here.
pub(super) const ALIASES: [(&str, &str); 13] = [
    ("h10080gbhbm3", "H100 SXM"),
    ("h100sxm5", "H100 SXM"),
    ("h10080gb", "H100 SXM"),
    ("h200sxm", "H200"),
    ("a100sxm480gb", "A100 SXM 80 GB"),
    ("a10080gb", "A100 PCIe 80 GB"),
    ("a10080gbpcie", "A100 PCIe 80 GB"),
    ("a100sxm440gb", "A100 40 GB"),
    ("a100pcie40gb", "A100 40 GB"),
    ("v100sxm216gb", "V100 16 GB"),
    ("v100sxm232gb", "V100 32 GB"),
    ("mi250", "MI250 GCD"),
    ("mi250x", "MI250 GCD"),
];

/// Finds a row by name: case, spaces, hyphens and the maker's name do not matter, nor does the series where one row
/// alone is called so without it: `4090`.
///
/// # Errors
/// A name that fits none or more than one, with the nearest.
pub fn find(name: &str) -> Result<&'static Device, UnknownGpu> {
    // No GPU's name is longer, and the distance below costs its square.
    let name: String = name.chars().take(80).collect();
    let wanted = plain(&name);
    let alias = ALIASES.iter().find(|(alias, _)| *alias == wanted);
    let wanted = alias.map_or(wanted, |(_, name)| plain(name));
    if let Some(device) = all().find(|device| plain(device.name) == wanted) {
        return Ok(device);
    }
    let mut bare = all().filter(|device| without_series(device).is_some_and(|name| name == wanted));
    if let (Some(device), None) = (bare.next(), bare.next()) {
        return Ok(device);
    }
    // `RTX 4060 Ti` is one of two: the rows that a name begins come first.
    let mut nearest: Vec<_> = all()
        .map(|device| {
            let own = plain(device.name);
            let begins = !wanted.is_empty() && own.starts_with(&wanted);
            let bare = strsim::damerau_levenshtein(&wanted, &without_series(device).unwrap_or_default());
            (!begins, strsim::damerau_levenshtein(&wanted, &own).min(bare), device.name)
        })
        .filter(|(other, distance, _)| !other || is_near(*distance, wanted.len()))
        .collect();
    nearest.sort_unstable();
    let nearest = nearest.into_iter().take(5).map(|(.., name)| name).collect();
    Err(UnknownGpu { name, nearest })
}

/// What a row is called where its series is left out, of those that have one.
fn without_series(device: &Device) -> Option<String> {
    let name = device.name.to_ascii_lowercase();
    SERIES.iter().find_map(|series| name.strip_prefix(series)).map(plain)
}

fn plain(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    let bare = NOISE.iter().fold(lower, |name, noise| name.replace(noise, " "));
    bare.chars().filter(|c| c.is_ascii_alphanumeric()).collect()
}
