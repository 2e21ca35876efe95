//! The layers of a model, and how many of them are alike.

use std::ops::Deref;

use super::Layer;

/// Every decoder layer, the first one first. Sizes are asked for hundreds of times in one estimate, and most layers are
/// like each other: which are is found out once.
#[derive(Debug, Clone, PartialEq)]
pub struct Layers {
    all: Vec<Layer>,
    kinds: Vec<(Layer, u64)>,
}

impl Layers {
    /// Each kind of layer with how many there are of it, in the order of their first.
    #[must_use]
    pub fn kinds(&self) -> &[(Layer, u64)] {
        &self.kinds
    }

    /// A number of each layer, summed; saturates far above any memory.
    pub fn sum(&self, of: impl Fn(&Layer) -> u64) -> u64 {
        self.kinds.iter().fold(0, |sum, (layer, count)| sum.saturating_add(of(layer).saturating_mul(*count)))
    }
}

impl From<Vec<Layer>> for Layers {
    fn from(all: Vec<Layer>) -> Self {
        let mut kinds: Vec<(Layer, u64)> = Vec::new();
        for layer in &all {
            match kinds.iter_mut().find(|(kind, _)| kind == layer) {
                Some((_, count)) => *count += 1,
                None => kinds.push((*layer, 1)),
            }
        }
        Self { all, kinds }
    }
}

impl Deref for Layers {
    type Target = [Layer];

    fn deref(&self) -> &[Layer] {
        &self.all
    }
}
