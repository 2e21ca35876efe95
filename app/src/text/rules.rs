//! Rules of thumb, and how far the memory reaches.

pub const HEADING: &str = "Rules of thumb, and the truth";
pub const BATCH: &str = "Sequences at once";
pub const LONGEST: &str = "Longest context of each";
pub const NONE: &str = "does not load";

pub fn most(batch: u64) -> String {
    match batch {
        0 => "Not one sequence of the chosen context loads.".to_owned(),
        _ => format!("At the chosen context up to {} load at once.", crate::text::plural(batch, "sequence")),
    }
}
