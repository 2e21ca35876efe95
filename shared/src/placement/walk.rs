//! The one walk: modules in their order onto devices in theirs, never back.
//!
//! Both kinds of rules walk like this; they differ in what they count and in the slots they hand over.
//! Hugging Face's own walk goes down a tree of modules (the whole decoder, all layers, one layer) and splits what
//! does not go whole; as it never goes back, it ends with the same map as a walk over the parts that are not split.

use super::workload::{Load, Terms, Workload};
use crate::estimate::Backend;

/// A device as the walk sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    /// Its place in the list of devices.
    pub(super) device: usize,
    /// What computes there.
    pub(super) backend: Backend,
    /// What may lie on it.
    pub(super) budget_bytes: u64,
    /// What a runtime takes as soon as anything lies here.
    pub(super) overhead_bytes: u64,
    /// Whether the largest unit still to come must find room beside what lies here.
    pub(super) keeps_largest: bool,
}

/// A slot that had no room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Passed {
    pub(super) slot: Slot,
    pub(super) left_bytes: u64,
    pub(super) kept_bytes: u64,
    pub(super) needs: Terms,
}

/// Where one unit went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) slot: Slot,
    /// What was left there before.
    pub(super) left_bytes: u64,
    pub(super) adds: Terms,
    /// Slots that were given up for good on the way.
    pub(super) passed: Vec<Passed>,
}

/// A walk: a step for each unit, up to where it got stuck.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Walk {
    pub(super) steps: Vec<Step>,
    /// Where the next unit was tried in vain; empty if all were placed.
    pub(super) stuck: Vec<Passed>,
}

/// Fills one slot after the other.
pub(super) fn walk(workload: &Workload, units: &[Vec<usize>], slots: &[Slot]) -> Walk {
    let largest_after = largest_after(workload, units);
    let mut walk = Walk::default();
    let mut remaining = slots.iter().peekable();
    let begin = |slot: Option<&&Slot>| {
        slot.map_or_else(Load::default, |slot| Load::on(slot.backend, slot.overhead_bytes))
    };
    let mut load = begin(remaining.peek());
    for (unit, largest) in units.iter().zip(largest_after) {
        let mut passed = Vec::new();
        loop {
            let Some(slot) = remaining.peek().map(|slot| **slot) else {
                walk.stuck = passed;
                return walk;
            };
            let adds = load.added_by(workload, unit);
            let left_bytes = slot.budget_bytes.saturating_sub(load.used.total());
            let kept_bytes = if slot.keeps_largest { largest } else { 0 };
            // In 128 bits: what is kept may be more than there is.
            let needs = u128::from(load.used.total()) + u128::from(adds.total()) + u128::from(kept_bytes);
            if needs <= u128::from(slot.budget_bytes) {
                load.add(workload, unit);
                walk.steps.push(Step { slot, left_bytes, adds, passed });
                break;
            }
            passed.push(Passed { slot, left_bytes, kept_bytes, needs: adds });
            remaining.next();
            load = begin(remaining.peek());
        }
    }
    walk
}

/// For each unit the weights of the largest after it.
fn largest_after(workload: &Workload, units: &[Vec<usize>]) -> Vec<u64> {
    let mut largest = 0;
    let mut after = vec![0; units.len()];
    for (unit, after) in units.iter().zip(&mut after).rev() {
        *after = largest;
        largest = largest.max(Load::default().added_by(workload, unit).weights);
    }
    after
}
