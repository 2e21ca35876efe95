//! From a request to a plan.

use super::report::{DeviceUse, PlacedModule, Placement};
use super::walk::{Passed, Step, Walk, walk};
use super::workload::{Load, Terms, Workload};
use super::{
    DeviceId, Devices, Over, PlacementError, Room, Rules, Strategy, balance, device_map, explicit,
    hugging_face,
};
use crate::units::format_bytes;

/// Places a workload.
///
/// # Errors
/// By our rules, anything that would exceed a budget, with how much on each device. By any rules, modules that
/// fit nowhere, a device that is not there, and a map that leaves modules out, names unknown ones or parts
/// modules that share weights.
pub fn plan(
    workload: &Workload,
    devices: &Devices,
    strategy: &Strategy,
    rules: Rules,
) -> Result<Placement, PlacementError> {
    let mut notes = Vec::new();
    let placed = match strategy {
        Strategy::Explicit(map) => explicit::assign(workload, devices, map)?,
        Strategy::Single(id) => {
            let device = devices.position(id)?;
            vec![(device, format!("everything goes to {id}")); workload.modules.len()]
        }
        _ => {
            let units = workload.units();
            let weights;
            let (counted, slots) = if rules == Rules::Preflight {
                let (slots, said) = balance::slots(workload, &units, devices, strategy);
                notes = said;
                (workload, slots)
            } else {
                weights = workload.weights_only();
                let slots = hugging_face::slots(&weights, devices, strategy, rules);
                (&weights, slots)
            };
            spread(counted, devices, &units, walk(counted, &units, &slots))?
        }
    };
    let uses = uses(workload, devices, &placed);
    let over: Vec<Over> = uses.iter().filter_map(over).collect();
    if rules == Rules::Preflight && !over.is_empty() {
        return Err(PlacementError::OverBudget { devices: over });
    }
    notes.extend(over.iter().map(|over| {
        format!(
            "{} is over its budget by {}: Hugging Face places by weights alone and forgets KV cache and activations",
            over.device,
            format_bytes(over.excess_bytes())
        )
    }));
    Ok(report(workload, devices, placed, uses, rules, notes))
}

fn over(device: &DeviceUse) -> Option<Over> {
    (device.over_bytes > 0).then(|| Over {
        device: device.device.clone(),
        needed_bytes: device.total_bytes,
        budget_bytes: device.budget_bytes,
    })
}

/// Turns the steps of a walk into the device and the reason of each module.
fn spread(
    workload: &Workload,
    devices: &Devices,
    units: &[Vec<usize>],
    walk: Walk,
) -> Result<Vec<(usize, String)>, PlacementError> {
    if let Some(unit) = units.get(walk.steps.len()) {
        return Err(stuck(workload, devices, &units[walk.steps.len()..], unit, &walk.stuck));
    }
    let mut placed = vec![(0, String::new()); workload.modules.len()];
    for (unit, step) in units.iter().zip(&walk.steps) {
        let [head, twins @ ..] = &unit[..] else { continue };
        placed[*head] = (step.slot.device, reason(devices, step));
        for twin in twins {
            let name = &workload.modules[*head].name;
            placed[*twin] = (step.slot.device, format!("shares weights with {name}, which are counted once"));
        }
    }
    Ok(placed)
}

fn stuck(
    workload: &Workload,
    devices: &Devices,
    left_over: &[Vec<usize>],
    unit: &[usize],
    passed: &[Passed],
) -> PlacementError {
    let modules = || left_over.iter().flatten().map(|index| &workload.modules[*index]);
    PlacementError::DoesNotFit {
        module: unit.first().map_or_else(String::new, |index| workload.modules[*index].name.clone()),
        further_modules: modules().count().saturating_sub(1),
        left_over_bytes: modules()
            .fold(0, |sum, module| sum.saturating_add(module.weight_bytes).saturating_add(module.kv_bytes)),
        rooms: passed
            .iter()
            .map(|passed| Room {
                device: devices.list()[passed.slot.device].id.clone(),
                left_bytes: passed.left_bytes,
                needed_bytes: passed.needs.total(),
                kept_bytes: passed.kept_bytes,
            })
            .collect(),
    }
}

/// Why a unit went where it went, with the numbers.
fn reason(devices: &Devices, step: &Step) -> String {
    let needs = |terms: &Terms| {
        let parts = [
            (terms.weights, ""),
            (terms.kv_cache, " of KV"),
            (terms.activations, " of activations"),
            (terms.overhead, " of runtime"),
        ];
        let parts: Vec<String> = parts
            .iter()
            .filter(|(bytes, _)| *bytes > 0)
            .map(|(bytes, what)| format!("{}{what}", format_bytes(*bytes)))
            .collect();
        if parts.is_empty() { "nothing".to_owned() } else { parts.join(" + ") }
    };
    let id = |device: usize| &devices.list()[device].id;
    let of = |device: usize, budget: u64| {
        let share = if budget < devices.list()[device].budget_bytes { "a share of " } else { "" };
        format!("{share}{}", format_bytes(budget))
    };
    let mut text: Vec<String> = (step.passed.iter())
        .map(|passed| {
            let kept = match passed.kept_bytes {
                0 => String::new(),
                bytes => format!(", {} are kept for the largest layer", format_bytes(bytes)),
            };
            format!(
                "{} has {} left of {}, it needs {}{kept}",
                id(passed.slot.device),
                format_bytes(passed.left_bytes),
                of(passed.slot.device, passed.slot.budget_bytes),
                needs(&passed.needs)
            )
        })
        .collect();
    if text.is_empty() {
        text.push(format!(
            "needs {}, {} has {} left of {}",
            needs(&step.adds),
            id(step.slot.device),
            format_bytes(step.left_bytes),
            of(step.slot.device, step.slot.budget_bytes)
        ));
    }
    text.join("; ")
}

/// What lies on each device, everything counted.
fn uses(workload: &Workload, devices: &Devices, placed: &[(usize, String)]) -> Vec<DeviceUse> {
    let on = |device: usize| -> Vec<usize> {
        placed.iter().enumerate().filter(|(_, place)| place.0 == device).map(|(index, _)| index).collect()
    };
    (devices.list().iter().enumerate())
        .map(|(device, given)| {
            let modules = on(device);
            let mut load = Load::on(given.backend, given.overhead_bytes);
            if !modules.is_empty() {
                load.add(workload, &modules);
            }
            let Terms { weights, kv_cache, activations, overhead } = load.used;
            let total_bytes = load.used.total();
            DeviceUse {
                device: given.id.clone(),
                modules: modules.len(),
                weights_bytes: weights,
                kv_cache_bytes: kv_cache,
                activation_bytes: activations,
                overhead_bytes: overhead,
                total_bytes,
                budget_bytes: given.budget_bytes,
                free_bytes: given.budget_bytes.saturating_sub(total_bytes),
                over_bytes: total_bytes.saturating_sub(given.budget_bytes),
            }
        })
        .collect()
}

fn report(
    workload: &Workload,
    devices: &Devices,
    placed: Vec<(usize, String)>,
    uses: Vec<DeviceUse>,
    rules: Rules,
    notes: Vec<String>,
) -> Placement {
    let modules: Vec<PlacedModule> = (workload.modules.iter().zip(placed))
        .map(|(module, (device, reason))| PlacedModule {
            name: module.name.clone(),
            device: devices.list()[device].id.clone(),
            reason,
        })
        .collect();
    let pairs: Vec<(&str, &DeviceId)> =
        modules.iter().map(|module| (module.name.as_str(), &module.device)).collect();
    let device_map = device_map::grouped(&pairs);
    let offloaded = (modules.iter())
        .filter(|module| devices.gpus() > 0 && module.device == DeviceId::Cpu)
        .map(|module| module.name.clone())
        .collect();
    Placement { rules, modules, device_map, devices: uses, offloaded, notes }
}
