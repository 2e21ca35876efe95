//! Weights without a config.

use phi3::units::format_bytes;

use super::plural;
use crate::state::weights::Weights;

pub const NO_CONFIG: &str = "There is no config.json beside these weights: what a load takes and whether it runs cannot be told of them alone.";
pub const NEXT: &str =
    "Drop or choose its config.json too, or the model’s whole folder: then all of it is told.";
pub const HEADING: &str = "What the headers hold";
pub const FORMAT: &str = "Format";
pub const TENSORS: &str = "Tensors";
pub const NUMBERS: &str = "Numbers";
pub const SIZE: &str = "Size";
pub const GROUP: &str = "Group, by name";
pub const OTHERS: &str = "Names that tell none";
pub const ALL: &str = "Every tensor";
pub const FILTER: &str = "Filter tensors";
pub const NAME: &str = "Name";
pub const SHAPE: &str = "Shape";
pub const NOTHING: &str = "No tensor matches the filter.";

/// What of a long list is not drawn.
pub fn more(hidden: usize) -> String {
    format!("{} more: the filter finds them.", plural(hidden as u64, "tensor"))
}

/// Only headers were read.
pub fn read(weights: &Weights) -> String {
    format!(
        "{}, {}; only headers were read.",
        plural(weights.files as u64, "file"),
        format_bytes(weights.bytes)
    )
}
