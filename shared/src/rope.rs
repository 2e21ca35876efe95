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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn rope(changes: &Value) -> Rope {
        let mut config = json!({"model_type": "phi3", "hidden_size": 32, "num_attention_heads": 4,
            "max_position_embeddings": 131_072, "original_max_position_embeddings": 4096});
        for (key, value) in changes.as_object().expect("an object") {
            config[key] = value.clone();
        }
        Rope::new(&ModelConfig::parse(config.to_string().as_bytes()).expect("a good config"))
    }

    const SHORT: [f64; 4] = [1.0, 1.1, 1.5, 2.8];
    const LONG: [f64; 4] = [1.1, 4.0, 20.0, 64.8];

    fn longrope() -> Rope {
        rope(&json!({"rope_scaling": {"type": "longrope", "short_factor": SHORT, "long_factor": LONG}}))
    }

    /// Frequencies `divisors[i]⁻¹ · base^(-2i/dim)` in f64 at several positions. The bound is that of f32 angles:
    /// each of power, division and product errs by 6e-8 of the angle or a little more, and the exponent's own
    /// rounding by `ln(base)` times as much.
    #[track_caller]
    fn assert_rotates(rope: &Rope, long: bool, base: f64, dim: f64, divisors: &[f64], factor: f64) {
        for position in [0usize, 1, 255, 257, 4095, 4096, 100_000] {
            let table = rope.table(long, position..position + 1);
            assert_eq!(table.cos.len(), divisors.len());
            for (i, divisor) in divisors.iter().enumerate() {
                let angle = position as f64 / (divisor * base.powf(2.0 * i as f64 / dim));
                let bound = 2e-7 + 6e-8 * (4.0 + base.ln()) * angle;
                assert!(
                    (f64::from(table.cos[i]) - factor * angle.cos()).abs() <= bound,
                    "cos {position} {i}"
                );
                assert!(
                    (f64::from(table.sin[i]) - factor * angle.sin()).abs() <= bound,
                    "sin {position} {i}"
                );
            }
            let mut row = vec![0.0; rope.rotary_dim()];
            rope.write_row(long, position, &mut row);
            assert_eq!(row, [table.cos, table.sin].concat());
        }
    }

    #[test]
    fn plain_linear_and_partial() {
        assert_rotates(&rope(&json!({})), false, 1e4, 8.0, &[1.0; 4], 1.0);
        assert_rotates(&rope(&json!({"rope_theta": 250_000.0})), false, 25e4, 8.0, &[1.0; 4], 1.0);
        let linear = json!({"rope_scaling": {"type": "linear", "factor": 4.0}});
        assert_rotates(&rope(&linear), false, 1e4, 8.0, &[4.0; 4], 1.0);
        assert_rotates(&rope(&json!({"partial_rotary_factor": 0.5})), false, 1e4, 4.0, &[1.0; 2], 1.0);
        // 7 of 8 dimensions: frequencies over 7, but an even number is rotated.
        assert_rotates(&rope(&json!({"partial_rotary_factor": 0.9})), false, 1e4, 7.0, &[1.0; 4], 1.0);
    }

    #[test]
    fn longrope_divides_and_scales_short_and_long_alike() {
        // Published with the GGUF files of this family: phi3.rope.scaling.attn_factor.
        let factor = 1.190_238_071_423_808_3;
        assert_rotates(&longrope(), false, 1e4, 8.0, &SHORT, factor);
        assert_rotates(&longrope(), true, 1e4, 8.0, &LONG, factor);
    }

    #[test]
    fn the_switch_is_beyond_the_original_length() {
        let rope = longrope();
        assert!(!rope.is_long(1) && !rope.is_long(4096) && rope.is_long(4097));
        assert!(!super::tests::rope(&json!({})).is_long(1 << 20));
    }

    #[test]
    fn a_window_of_w_shows_w_keys() {
        assert_eq!(visible_keys(0, Some(1)), 0..1);
        assert_eq!(visible_keys(5, Some(1)), 5..6);
        assert_eq!(visible_keys(2046, Some(2047)), 0..2047);
        assert_eq!(visible_keys(2047, Some(2047)), 1..2048);
        assert_eq!(visible_keys(9000, None), 0..9001);
    }
}
