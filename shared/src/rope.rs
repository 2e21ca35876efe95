//! Rotary positions and the sliding window: computed once, here; engines only execute them.
//!
//! Semantics of transformers 5.23.0 (`modeling_rope_utils`, `models/phi3`): tables in f32 whatever the model's
//! dtype; longrope divides each frequency by its factor and multiplies cos and sin by the attention factor, short
//! and long alike; the choice is one for the whole sequence.

use std::ops::Range;

use crate::config::{ModelConfig, RopeScaling};

/// Cosines and sines of some positions, `[positions, rotary_dim / 2]` each, attention factor included.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeTable {
    /// Cosines, row-major.
    pub cos: Vec<f32>,
    /// Sines, row-major.
    pub sin: Vec<f32>,
}

/// The rotary frequencies of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    short: Vec<f32>,
    long: Option<Vec<f32>>,
    attention_factor: f32,
    original_max_position_embeddings: usize,
}

impl Rope {
    /// Frequencies for a model.
    #[must_use]
    pub fn new(config: &ModelConfig) -> Self {
        let dim = config.rotary_exponent_dim();
        // Each step in f32, as PyTorch does it: at large positions one unit in the last place of a frequency shows.
        let frequency = |i: usize| (config.rope_theta as f32).powf((2 * i) as f32 / dim as f32);
        let divided = |factors: &[f64]| -> Vec<f32> {
            factors.iter().enumerate().map(|(i, factor)| 1.0 / (*factor as f32 * frequency(i))).collect()
        };
        let plain = || (0..dim.div_ceil(2)).map(|i| 1.0 / frequency(i));
        let (short, long) = match &config.rope_scaling {
            RopeScaling::None => (plain().collect(), None),
            RopeScaling::Linear { factor } => (plain().map(|f| f / *factor as f32).collect(), None),
            RopeScaling::LongRope { short_factor, long_factor, .. } => {
                (divided(short_factor), Some(divided(long_factor)))
            }
        };
        Self {
            short,
            long,
            attention_factor: attention_factor(config) as f32,
            original_max_position_embeddings: config.original_max_position_embeddings,
        }
    }

    /// Rotated dimensions of a head.
    #[must_use]
    pub fn rotary_dim(&self) -> usize {
        2 * self.short.len()
    }

    /// Whether a sequence of `tokens` in all uses the long factors.
    #[must_use]
    pub fn is_long(&self, tokens: usize) -> bool {
        self.long.is_some() && tokens > self.original_max_position_embeddings
    }

    /// Tables for `positions` of a sequence that uses the long factors or not.
    #[must_use]
    pub fn table(&self, long: bool, positions: Range<usize>) -> RopeTable {
        let (cos, sin) = positions
            .flat_map(|position| self.frequencies(long).iter().map(move |f| self.cos_sin(position, *f)))
            .unzip();
        RopeTable { cos, sin }
    }

    /// Writes `[cosines | sines]` of one position, `rotary_dim` values in all.
    ///
    /// # Panics
    /// Where `row` is shorter.
    pub fn write_row(&self, long: bool, position: usize, row: &mut [f32]) {
        let frequencies = self.frequencies(long);
        for (i, frequency) in frequencies.iter().enumerate() {
            (row[i], row[frequencies.len() + i]) = self.cos_sin(position, *frequency);
        }
    }

    fn frequencies(&self, long: bool) -> &[f32] {
        self.long.as_ref().filter(|_| long).unwrap_or(&self.short)
    }

    fn cos_sin(&self, position: usize, frequency: f32) -> (f32, f32) {
        let angle = position as f32 * frequency;
        (angle.cos() * self.attention_factor, angle.sin() * self.attention_factor)
    }
}

/// Multiplier of cos and sin: explicit, else `sqrt(1 + ln(s) / ln(original))` with the length ratio `s`; 1 without longrope.
#[must_use]
pub fn attention_factor(config: &ModelConfig) -> f64 {
    let RopeScaling::LongRope { attention_factor, factor, .. } = &config.rope_scaling else { return 1.0 };
    let original = config.original_max_position_embeddings as f64;
    let ratio = factor.unwrap_or(config.max_position_embeddings as f64 / original);
    attention_factor
        .unwrap_or_else(|| if ratio <= 1.0 { 1.0 } else { (1.0 + ratio.ln() / original.ln()).sqrt() })
}

/// The keys that the query at `position` sees: itself and those before it, at most `window` in all.
#[must_use]
pub fn visible_keys(position: usize, window: Option<usize>) -> Range<usize> {
    let first = window.map_or(0, |window| (position + 1).saturating_sub(window));
    first..position + 1
}
