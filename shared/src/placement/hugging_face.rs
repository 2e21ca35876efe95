//! Slots by Hugging Face's rules: `get_max_memory` and `get_balanced_memory` of accelerate 1.15 and of
//! transformers 5.23 (`integrations/accelerate.py`).

use super::walk::Slot;
use super::{Devices, Rules, Strategy, Workload};

/// Slots for a workload that is [`Workload::weights_only`].
pub(super) fn slots(weights: &Workload, devices: &Devices, strategy: &Strategy, rules: Rules) -> Vec<Slot> {
    let gpus = devices.gpus();
    let mut budgets: Vec<u64> = devices.list().iter().map(|device| device.budget_bytes).collect();
    if rules == Rules::Transformers && !devices.are_stated() {
        budgets[gpus..].iter_mut().for_each(|budget| *budget = nine_tenths(*budget));
    }
    if *strategy != Strategy::Sequential {
        cap(&mut budgets[..gpus], weights, devices.are_stated(), *strategy == Strategy::BalancedLow0, rules);
    }
    (budgets.into_iter().zip(devices.list()).enumerate())
        .map(|(device, (budget_bytes, given))| {
            // Offloaded layers come back to the first GPU to compute, layers on disk to the CPU.
            let keeps_largest = device == 0 || device >= gpus;
            Slot { device, backend: given.backend, budget_bytes, overhead_bytes: 0, keeps_largest }
        })
        .collect()
}

/// `get_balanced_memory`: caps every GPU but the last. Its GPU 0 is the first of the list even where that has no
/// memory, and it sums the budgets of as many of the next as have some: both as in the original.
fn cap(budgets: &mut [u64], weights: &Workload, stated: bool, low_0: bool, rules: Rules) {
    let live: Vec<usize> = (0..budgets.len()).filter(|gpu| budgets[*gpu] > 0).collect();
    let shares = match live.len() {
        0 => return,
        1 if !stated => {
            budgets[0] = nine_tenths(budgets[0]);
            return;
        }
        1 => return,
        gpus => gpus - usize::from(low_0),
    };
    let sizes = || weights.modules.iter().map(|module| module.weight_bytes);
    let total = sizes().fold(0u64, u64::saturating_add);
    let largest = match rules {
        Rules::Transformers => sizes().max().unwrap_or(0),
        // The first layer stands for all; an embedding that outweighs it counts only through the mean.
        _ => {
            let leaves = weights.modules.iter().fold(0u64, |sum, module| sum.saturating_add(module.leaves));
            let layer = weights.modules.iter().find(|module| module.is_layer);
            (total / leaves.max(1)).max(layer.map_or(0, |layer| layer.weight_bytes))
        }
    };
    let per_gpu = (total / shares as u64).saturating_add(largest.saturating_add(largest / 4));
    for gpu in live[..live.len() - 1].iter().filter(|gpu| !(low_0 && **gpu == 0)) {
        budgets[*gpu] = budgets[*gpu].min(per_gpu);
    }
    if low_0 {
        let elsewhere = budgets[1..live.len()].iter().fold(0u64, |sum, budget| sum.saturating_add(*budget));
        budgets[0] = budgets[0].min(total.saturating_sub(elsewhere));
    }
}

/// As Python has it: a float, of which the whole bytes count.
fn nine_tenths(bytes: u64) -> u64 {
    (bytes as f64 * 0.9) as u64
}
