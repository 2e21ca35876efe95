//! Slots by our own rules: what each device may hold.

use super::walk::{Slot, walk};
use super::{Devices, Strategy, Workload};

/// Slots for a strategy, and what is to be said about them.
pub(super) fn slots(
    workload: &Workload,
    units: &[Vec<usize>],
    devices: &Devices,
    strategy: &Strategy,
) -> (Vec<Slot>, Vec<String>) {
    let all: Vec<Slot> = (devices.list().iter().enumerate())
        .map(|(device, given)| Slot {
            device,
            backend: given.backend,
            budget_bytes: given.budget_bytes,
            overhead_bytes: given.overhead_bytes,
            keeps_largest: false,
        })
        .collect();
    let gpus = devices.gpus();
    if *strategy == Strategy::Auto
        && let Some(slot) =
            all[..gpus].iter().find(|slot| walk(workload, units, &[**slot]).steps.len() == units.len())
    {
        let note = format!("auto: {} holds everything, so nothing is split", devices.list()[slot.device].id);
        return (vec![*slot], vec![note]);
    }
    if *strategy == Strategy::Sequential || gpus < 2 {
        return (all, Vec::new());
    }
    balanced(workload, units, all, gpus, *strategy == Strategy::BalancedLow0)
}

/// Caps the GPUs at the least with which they hold as many units as without.
fn balanced(
    workload: &Workload,
    units: &[Vec<usize>],
    mut slots: Vec<Slot>,
    gpus: usize,
    low_0: bool,
) -> (Vec<Slot>, Vec<String>) {
    let reach = |slots: &[Slot]| walk(workload, units, &slots[..gpus]).steps.len();
    let goal = reach(&slots);
    if goal == 0 {
        return (slots, Vec::new());
    }
    let capped = |slots: &[Slot], range: std::ops::Range<usize>, cap: u64| {
        let mut slots = slots.to_vec();
        slots[range].iter_mut().for_each(|slot| slot.budget_bytes = slot.budget_bytes.min(cap));
        slots
    };
    // The first GPU on its own where it is to be spared, then the others.
    let spared = usize::from(low_0);
    for range in [0..spared, spared..gpus] {
        let most = slots[range.clone()].iter().map(|slot| slot.budget_bytes).max().unwrap_or(0);
        let cap = least(most, |cap| reach(&capped(&slots, range.clone(), cap)) >= goal);
        slots = capped(&slots, range, cap);
    }
    let note = if low_0 {
        "balanced_low_0: the first GPU holds no more than the others cannot, the others alike"
    } else {
        "balanced: no GPU holds more than it must for all of them to hold as much as they can"
    };
    (slots, vec![note.to_owned()])
}

/// The least `n` in `0..=max` for which `holds`, which must be monotone and hold for `max`.
fn least(max: u64, holds: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (0, max);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) { high = middle } else { low = middle + 1 }
    }
    high
}
