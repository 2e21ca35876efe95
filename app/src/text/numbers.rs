//! Whether numbers are numbers.

use super::plural;

pub const MAP: &str = "NaN and Inf by layer";
pub const LOGITS: &str = "the logits";
pub const LOGITS_SHORT: &str = "out";
pub const TOP: &str = "Likeliest tokens after the prompt";
pub const TOKEN: &str = "Token";
pub const ID: &str = "Id";
pub const LOGIT: &str = "Logit";
pub const NO_TEXT: &str = "no text of its own";

pub fn layer(at: usize) -> String {
    format!("layer {at}")
}

pub fn all_finite(layers: usize) -> String {
    format!("Every value of {} and of the logits is a finite number.", plural(layers as u64, "layer"))
}

pub fn first_bad(place: &str) -> String {
    format!("The first values that are no numbers come out of {place}.")
}

pub fn check(place: &str, nan: u64, inf: u64) -> String {
    format!("{place}: {nan} NaN, {inf} Inf")
}
