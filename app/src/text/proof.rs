//! What proves a run: its logits against others, and what the device was seen to do.

pub const AGAINST: &str = "Logits against f32 on the CPU";
pub const NOTHING_TO_COMPARE: &str = "Not one logit is a number that could be compared.";
pub const NOT_COMPARED: &str = "They were not compared.";
pub const LARGEST: &str = "Largest difference";
pub const MEAN: &str = "Mean difference";
pub const TOP1: &str = "Same best token";
pub const TOP5: &str = "Of the five best";
pub const ROWS: &str = "Rows";
pub const DEVICE: &str = "Was the device used?";
pub const UNNAMED: &str = "A device without a name";
pub const SOFTWARE: &str = "played by the processor";
pub const USES: &str = "Uses";
pub const SUBMISSIONS: &str = "Commands submitted";
pub const BUFFERS: &str = "Held in its buffers";
pub const LIMIT: &str = "Limit";
pub const GRANTED: &str = "Granted";
pub const NEEDED: &str = "Needed";
pub const NOT_COUNTED: &str = "–";

/// A difference relative to the largest logit.
pub fn of_scale(share: &str, bound: &str) -> String {
    format!(" {share} of the largest logit, bound {bound}")
}
