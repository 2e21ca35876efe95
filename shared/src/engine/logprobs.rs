//! How likely ids are, from logits.

/// Natural logarithms of probabilities at one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Logprobs {
    /// Of the id that was asked about.
    pub chosen: f64,
    /// The likeliest ids with theirs, in order.
    pub top: Vec<(u32, f64)>,
}

impl Logprobs {
    /// From one row of logits; `None` where `id` is outside of it.
    #[must_use]
    pub fn new(logits: &[f32], id: u32, top: usize) -> Option<Self> {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|logit| f64::from(logit - max).exp()).sum();
        let logprob = |logit: f32| f64::from(logit - max) - sum.ln();
        let chosen = logprob(*logits.get(id as usize)?);
        let mut ranked: Vec<u32> = (0..u32::try_from(logits.len()).ok()?).collect();
        let by_rank = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
        if (1..ranked.len()).contains(&top) {
            ranked.select_nth_unstable_by(top - 1, by_rank);
        }
        ranked.truncate(top);
        ranked.sort_unstable_by(by_rank);
        let top = ranked.into_iter().map(|id| (id, logprob(logits[id as usize]))).collect();
        Some(Self { chosen, top })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_add_up_and_are_ranked() {
        let logits = [0.1f32.ln() + 3.0, 0.6f32.ln() + 3.0, 0.3f32.ln() + 3.0];
        let found = Logprobs::new(&logits, 2, 2).expect("an id");
        assert!((found.chosen.exp() - 0.3).abs() < 1e-6);
        assert_eq!(found.top.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1, 2]);
        let all = Logprobs::new(&logits, 0, 9).expect("an id");
        assert!((all.top.iter().map(|(_, logprob)| logprob.exp()).sum::<f64>() - 1.0).abs() < 1e-6);
        assert_eq!(Logprobs::new(&logits, 0, 0).expect("an id").top, []);
        assert_eq!(Logprobs::new(&logits, 3, 1), None);
    }
}
