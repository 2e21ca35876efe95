//! How the next id is chosen from logits; shared by engines that sample on the host.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How to choose the next id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// 0 is greedy: the largest logit, the smaller id on a tie.
    pub temperature: f64,
    /// Nucleus mass in (0, 1].
    pub top_p: f64,
    /// Most candidates; 0 keeps all.
    pub top_k: usize,
    /// Least weight of a candidate, relative to the likeliest, in [0, 1).
    pub min_p: f64,
    /// Divides positive logits, and multiplies negative ones, of ids that the sequence holds, its prompt included;
    /// 1 leaves them alone. As in Hugging Face.
    pub repetition_penalty: f64,
    /// Taken from the logit of an id for each time that it was generated. As in OpenAI's API.
    pub frequency_penalty: f64,
    /// Taken from the logit of an id that was generated at all.
    pub presence_penalty: f64,
    /// Seed of the sequence's own generator.
    pub seed: u64,
}

impl Sampling {
    /// Always the largest logit.
    pub const GREEDY: Self = Self {
        temperature: 0.0,
        top_p: 1.0,
        top_k: 0,
        min_p: 0.0,
        repetition_penalty: 1.0,
        frequency_penalty: 0.0,
        presence_penalty: 0.0,
        seed: 0,
    };

    /// Whether logits change with what the sequence holds: an engine that samples on its device has to keep count.
    #[must_use]
    pub fn penalizes(&self) -> bool {
        self.repetition_penalty != 1.0 || self.frequency_penalty != 0.0 || self.presence_penalty != 0.0
    }

    /// Checks the ranges; nothing is clamped silently.
    ///
    /// # Errors
    /// The first parameter that is out of range.
    pub fn check(&self) -> Result<(), SamplingError> {
        let error = |field, found: f64, expected| SamplingError { field, found: found.to_string(), expected };
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return Err(error("temperature", self.temperature, "a number from 0 (greedy) up"));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(error("top_p", self.top_p, "a number above 0 and up to 1"));
        }
        if !(self.min_p >= 0.0 && self.min_p < 1.0) {
            return Err(error("min_p", self.min_p, "a number from 0 and below 1"));
        }
        if !(self.repetition_penalty.is_finite() && self.repetition_penalty > 0.0) {
            return Err(error("repetition_penalty", self.repetition_penalty, "a number above 0"));
        }
        for (field, penalty) in
            [("frequency_penalty", self.frequency_penalty), ("presence_penalty", self.presence_penalty)]
        {
            if !(-2.0..=2.0).contains(&penalty) {
                return Err(error(field, penalty, "a number from -2 to 2"));
            }
        }
        Ok(())
    }
}

impl Default for Sampling {
    fn default() -> Self {
        Self::GREEDY
    }
}

/// A sampling parameter out of range.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("`{field}` is {found}, expected {expected}")]
pub struct SamplingError {
    /// Name of the parameter.
    pub field: &'static str,
    /// The value found.
    pub found: String,
    /// What would be accepted.
    pub expected: &'static str,
}

/// Chooses ids for one sequence: the same seed and logits give the same ids.
#[derive(Debug, Clone)]
pub struct Sampler {
    sampling: Sampling,
    state: u64,
    /// How often each id of the sequence was generated; 0 for ids of the prompt alone. Empty where nothing is penalised.
    seen: BTreeMap<u32, u32>,
}

impl Sampler {
    /// A sampler for one sequence.
    ///
    /// # Errors
    /// A parameter out of range.
    pub fn new(sampling: &Sampling) -> Result<Self, SamplingError> {
        sampling.check()?;
        Ok(Self { sampling: sampling.clone(), state: sampling.seed, seen: BTreeMap::new() })
    }

    /// Notes ids of the prompt.
    pub fn prompt(&mut self, ids: &[u32]) {
        if self.sampling.penalizes() {
            ids.iter().for_each(|id| {
                self.seen.entry(*id).or_default();
            });
        }
    }

    /// The next id, or `None` where a logit is NaN or there are none.
    ///
    /// In Hugging Face's order: penalties, temperature, `top_k`, `top_p`, `min_p`, then one draw.
    pub fn next(&mut self, logits: &[f32]) -> Option<u32> {
        if !self.sampling.penalizes() {
            return self.draw(logits);
        }
        let mut logits = logits.to_vec();
        let Sampling { repetition_penalty, frequency_penalty, presence_penalty, .. } = self.sampling;
        for (id, count) in &self.seen {
            let Some(logit) = logits.get_mut(*id as usize) else { continue };
            let value = f64::from(*logit);
            let value = if value > 0.0 { value / repetition_penalty } else { value * repetition_penalty };
            let once = if *count > 0 { presence_penalty } else { 0.0 };
            *logit = (value - f64::from(*count) * frequency_penalty - once) as f32;
        }
        let id = self.draw(&logits)?;
        *self.seen.entry(id).or_default() += 1;
        Some(id)
    }

    fn draw(&mut self, logits: &[f32]) -> Option<u32> {
        let best = argmax(logits)?;
        let largest = f64::from(logits[best]);
        if self.sampling.temperature == 0.0 || largest.is_infinite() {
            return u32::try_from(best).ok();
        }
        let weight = |id: usize| ((f64::from(logits[id]) - largest) / self.sampling.temperature).exp();
        let mut candidates: Vec<(usize, f64)> = (0..logits.len()).map(|id| (id, weight(id))).collect();
        let by_rank = |a: &(usize, f64), b: &(usize, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if (1..candidates.len()).contains(&self.sampling.top_k) {
            candidates.select_nth_unstable_by(self.sampling.top_k - 1, by_rank);
            candidates.truncate(self.sampling.top_k);
        }
        if self.sampling.top_p < 1.0 {
            candidates.sort_unstable_by(by_rank);
            // The smallest set that reaches the mass: the one that crosses it belongs to it.
            let mut rest = self.sampling.top_p * candidates.iter().map(|(_, weight)| weight).sum::<f64>();
            let kept = candidates.iter().take_while(|(_, weight)| {
                let keeps = rest > 0.0;
                rest -= weight;
                keeps
            });
            let kept = kept.count();
            candidates.truncate(kept);
        }
        if self.sampling.min_p > 0.0 {
            // The likeliest weighs 1, and so is never below.
            candidates.retain(|(_, weight)| *weight >= self.sampling.min_p);
        }
        let mut rest = self.uniform() * candidates.iter().map(|(_, weight)| weight).sum::<f64>();
        let drawn = candidates.iter().find(|(_, weight)| {
            rest -= weight;
            rest < 0.0
        });
        // Rounding can leave a last crumb: it goes to the likeliest.
        u32::try_from(drawn.map_or(best, |(id, _)| *id)).ok()
    }

    /// A number in [0, 1): SplitMix64 (Steele, Lea and Flood 2014), the upper 53 bits.
    fn uniform(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Index of the largest value, the first on a tie; `None` where one is NaN or there are none.
fn argmax(values: &[f32]) -> Option<usize> {
    let mut best = 0;
    for (id, value) in values.iter().enumerate() {
        if value.is_nan() {
            return None;
        }
        if *value > values[best] {
            best = id;
        }
    }
    (!values.is_empty()).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling(temperature: f64, top_p: f64, top_k: usize) -> Sampling {
        Sampling { temperature, top_p, top_k, seed: 7, ..Sampling::GREEDY }
    }

    fn draws(sampling: &Sampling, logits: &[f32], count: usize) -> Vec<u32> {
        let mut sampler = Sampler::new(sampling).expect("in range");
        (0..count).map(|_| sampler.next(logits).expect("no NaN")).collect()
    }

    #[test]
    fn greedy_takes_the_first_of_the_largest() {
        assert_eq!(draws(&Sampling::GREEDY, &[1.0, 3.0, 3.0, -1.0], 2), [1, 1]);
        assert_eq!(draws(&Sampling::GREEDY, &[f32::NEG_INFINITY, 0.0, f32::INFINITY], 1), [2]);
        assert_eq!(draws(&sampling(1.0, 0.5, 3), &[0.0, f32::INFINITY, 0.0], 1), [1]);
    }

    #[test]
    fn nan_and_nothing_have_no_next() {
        for sampling in [Sampling::GREEDY, sampling(1.0, 1.0, 0)] {
            let mut sampler = Sampler::new(&sampling).expect("in range");
            assert_eq!(sampler.next(&[1.0, f32::NAN, 2.0]), None);
            assert_eq!(sampler.next(&[]), None);
        }
    }

    #[test]
    fn parameters_out_of_range_are_named() {
        for (bad, field) in [
            (sampling(-1.0, 1.0, 0), "temperature"),
            (sampling(f64::NAN, 1.0, 0), "temperature"),
            (sampling(f64::INFINITY, 1.0, 0), "temperature"),
            (sampling(1.0, 0.0, 0), "top_p"),
            (sampling(1.0, 1.1, 0), "top_p"),
            (sampling(1.0, f64::NAN, 0), "top_p"),
            (Sampling { min_p: 1.0, ..Sampling::GREEDY }, "min_p"),
            (Sampling { repetition_penalty: 0.0, ..Sampling::GREEDY }, "repetition_penalty"),
            (Sampling { frequency_penalty: 2.1, ..Sampling::GREEDY }, "frequency_penalty"),
            (Sampling { presence_penalty: f64::NAN, ..Sampling::GREEDY }, "presence_penalty"),
        ] {
            assert_eq!(Sampler::new(&bad).expect_err("out of range").field, field);
        }
    }

    /// 20,000 draws: the standard error of a share is at most 0.0036, the tolerance four of them.
    #[test]
    fn shares_follow_the_distribution() {
        let logits = [0.7f32.ln(), 0.2f32.ln(), 0.1f32.ln()];
        let share = |sampling: &Sampling, id: u32| {
            draws(sampling, &logits, 20_000).iter().filter(|drawn| **drawn == id).count() as f64 / 2e4
        };
        let near =
            |found: f64, expected: f64| assert!((found - expected).abs() < 0.015, "{found} for {expected}");
        near(share(&sampling(1.0, 1.0, 0), 0), 0.7);
        near(share(&sampling(1.0, 1.0, 0), 2), 0.1);
        // Temperature 1/2 squares the weights: 0.49 : 0.04 : 0.01.
        near(share(&sampling(0.5, 1.0, 0), 0), 0.49 / 0.54);
        near(share(&sampling(1.0, 1.0, 2), 0), 0.7 / 0.9);
        near(share(&sampling(1.0, 1.0, 2), 2), 0.0);
        // 0.7 does not reach 0.8, so the second is kept too.
        near(share(&sampling(1.0, 0.8, 0), 1), 0.2 / 0.9);
        near(share(&sampling(1.0, 0.6, 0), 0), 1.0);
    }

    #[test]
    fn penalties_turn_away_from_what_was_seen() {
        let logits = [2.0, 1.9, -1.0, 1.45];
        let greedy = |sampling: Sampling, prompt: &[u32], count: usize| {
            let mut sampler = Sampler::new(&sampling).expect("in range");
            sampler.prompt(prompt);
            (0..count).map(|_| sampler.next(&logits).expect("no NaN")).collect::<Vec<_>>()
        };
        // 2.0 / 1.2 is below 1.9, then 1.9 / 1.2 below 2.0 / 1.2: the prompt counts as much as what is generated.
        let repetition = Sampling { repetition_penalty: 1.2, ..Sampling::GREEDY };
        assert_eq!(greedy(repetition.clone(), &[], 3), [0, 1, 0]);
        assert_eq!(greedy(repetition, &[0], 2), [1, 0]);
        // Presence takes once, frequency each time; neither looks at the prompt.
        let presence = Sampling { presence_penalty: 0.2, ..Sampling::GREEDY };
        assert_eq!(greedy(presence.clone(), &[0], 4), [0, 1, 0, 0]);
        let frequency = Sampling { frequency_penalty: 0.2, ..Sampling::GREEDY };
        assert_eq!(greedy(frequency, &[], 7), [0, 1, 0, 1, 0, 1, 3]);
    }

    #[test]
    fn min_p_cuts_what_is_far_below_the_likeliest() {
        let logits = [0.7f32.ln(), 0.2f32.ln(), 0.1f32.ln()];
        let drawn = |min_p: f64| {
            let ids = draws(&Sampling { min_p, ..sampling(1.0, 1.0, 0) }, &logits, 2000);
            ids.into_iter().collect::<std::collections::BTreeSet<_>>().len()
        };
        // 0.1 / 0.7 = 0.143 and 0.2 / 0.7 = 0.286.
        assert_eq!([drawn(0.0), drawn(0.14), drawn(0.15), drawn(0.3)], [3, 3, 2, 1]);
    }

    #[test]
    fn a_seed_repeats_and_another_differs() {
        let logits: Vec<f32> = (0..50).map(|i| (i % 7) as f32 / 3.0).collect();
        let first = draws(&sampling(1.0, 0.9, 20), &logits, 40);
        assert_eq!(first, draws(&sampling(1.0, 0.9, 20), &logits, 40));
        let other = Sampling { seed: 8, ..sampling(1.0, 0.9, 20) };
        assert_ne!(first, draws(&other, &logits, 40));
    }
}
