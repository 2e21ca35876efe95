//! The verdict of a placement within budgets.

use super::{EstimateError, Estimated};
use crate::decoder::Decoder;
use crate::estimate::activations::Workspace;
use crate::estimate::fit::{self, Fit, Suggestion, Verdict};
use crate::estimate::{self, Assumption, Backend, LoadPeak, Options, Report, Resolved, StoredTensors, Term};
use crate::load_config::{LoadConfig, budget_key, device_map};
use crate::placement::{
    self, Device, DeviceId, DeviceUse, Devices, Placement, PlacementError, Rules, Strategy, Workload,
};
use crate::units::{format_bytes, format_bytes_up};

/// What a search goes through again and again.
struct Search<'a> {
    decoder: &'a Decoder,
    stored: Option<&'a StoredTensors>,
    strategy: Strategy,
    devices: Vec<Device>,
    /// The most that each device can have, whatever its budget.
    free: Vec<u64>,
}

/// Places a model within the budgets of `max_memory`; `free` is what the options say of the device. The verdict takes
/// many placements: it is left out where it is not asked for.
pub(super) fn estimate(
    decoder: &Decoder,
    stored: Option<&StoredTensors>,
    options: &Options,
    load_config: &LoadConfig,
    free: Option<u64>,
    judged: bool,
) -> Result<Estimated, EstimateError> {
    let budgets = &load_config.max_memory;
    let is_host = |id: &DeviceId| id.backend() == Backend::Cpu;
    let has_gpu = budgets.keys().any(|id| !is_host(id));
    // What is free of a GPU says nothing of the host; without one, and without a name, it is the host's.
    let free_of = |id: &DeviceId| match is_host(id) {
        true if has_gpu || options.device.is_some() => None,
        _ => free,
    };
    let free: Vec<u64> = budgets.keys().map(|id| free_of(id).unwrap_or(u64::MAX)).collect();
    let options = &driven(options, budgets.keys());
    let resolved = Resolved::new(decoder, stored, options)?;
    let devices: Vec<Device> = (budgets.iter().zip(&free))
        .map(|((id, bytes), free)| device(id, (*bytes).min(*free), options, &resolved))
        .collect();
    let strategy = load_config.device_map.clone().unwrap_or(Strategy::Auto);
    let search = Search { decoder, stored, strategy, devices, free };
    let placed = match search.plan(&search.workload(&resolved), |device| device.budget_bytes) {
        Ok(placed) => Ok(placed),
        // Too small is an answer; a map or a budget that means nothing is bad input.
        Err(error @ (PlacementError::DoesNotFit { .. } | PlacementError::OverBudget { .. })) => Err(error),
        Err(error) => return Err(error.into()),
    };
    // Where it does not fit, what it would take if it did.
    let shown = match &placed {
        Ok(placed) => placed.clone(),
        Err(_) => search.beyond(&search.workload(&resolved))?,
    };
    let report = estimate::sized(decoder, stored, options, &resolved);
    let mut report = search.terms(report, &shown, options, &resolved);
    assume(&mut report, load_config, options, &search.devices);
    if judged {
        report.fit = search.fit(&resolved, &report, placed.as_ref());
        report.fit.warnings.extend(search.not_run(&shown));
    }
    let (placement, placement_error) = match placed {
        Ok(placed) => (Some(placed), None),
        Err(error) => (None, Some(error)),
    };
    Ok(Estimated { report, placement, placement_error })
}

/// A map over several devices without budgets: what each would need, and no verdict.
pub(super) fn without(
    decoder: &Decoder,
    stored: Option<&StoredTensors>,
    options: &Options,
    load_config: &LoadConfig,
    targets: &[&DeviceId],
) -> Result<Estimated, EstimateError> {
    let options = &driven(options, targets.iter().copied());
    let resolved = Resolved::new(decoder, stored, options)?;
    let devices: Vec<Device> = targets.iter().map(|id| device(id, u64::MAX, options, &resolved)).collect();
    let strategy = load_config.device_map.clone().unwrap_or(Strategy::Auto);
    let search = Search { decoder, stored, strategy, free: vec![u64::MAX; devices.len()], devices };
    let workload = search.workload(&resolved);
    let roomy = search.plan(&workload, |device| device.budget_bytes)?;
    // Budgets of exactly what each needs: no number stands there that nobody gave.
    let need = |device: &Device| {
        roomy.devices.iter().find(|used| used.device == device.id).map_or(0, |used| used.total_bytes)
    };
    let mut placement = search.plan(&workload, need)?;
    placement.notes.push("no budgets are given: each is what lies on its device".to_owned());
    let report = estimate::sized(decoder, stored, options, &resolved);
    let mut report = search.terms(report, &placement, options, &resolved);
    assume(&mut report, load_config, options, &search.devices);
    let names: Vec<_> = targets.iter().map(ToString::to_string).collect();
    let reason = format!(
        "needs {}; device_map spreads the model over {}: give each a budget in max_memory for a verdict",
        each(&placement, |used| format!("{} on {}", format_bytes(used.total_bytes), used.device)),
        names.join(", ")
    );
    report.fit = fit::without_device(decoder, &resolved, report.weights_bytes, report.total_bytes, reason);
    report.fit.warnings.extend(search.not_run(&placement));
    Ok(Estimated { report, placement: Some(placement), placement_error: None })
}

/// Options with what drives the devices, where all are driven alike and nothing else is said.
pub(super) fn driven<'a>(options: &Options, devices: impl Iterator<Item = &'a DeviceId>) -> Options {
    let mut backends: Vec<Backend> = devices.map(DeviceId::backend).collect();
    backends.dedup();
    let one = match backends[..] {
        [one] if options.device.is_none() => Some(one),
        _ => None,
    };
    Options { backend: options.backend.or(one), ..options.clone() }
}

/// A device with the runtime of its kind: measured where it was measured, else assumed.
fn device(id: &DeviceId, budget_bytes: u64, options: &Options, resolved: &Resolved) -> Device {
    Device::new(id.clone(), budget_bytes).driven_by(backend(id, options, resolved), resolved)
}

/// What drives a device: of a GPU what the options say of it, else what its name tells.
fn backend(id: &DeviceId, options: &Options, resolved: &Resolved) -> Backend {
    let said = options.backend.is_some() || options.device.is_some();
    match id.backend() {
        Backend::Cpu => Backend::Cpu,
        _ if said && resolved.backend != Backend::Cpu => resolved.backend,
        named => named,
    }
}

impl Search<'_> {
    fn workload(&self, resolved: &Resolved) -> Workload {
        placement::workload(self.decoder, self.stored, resolved)
    }

    fn plan(
        &self,
        workload: &Workload,
        budget: impl Fn(&Device) -> u64,
    ) -> Result<Placement, PlacementError> {
        self.plan_by(&self.strategy, workload, budget)
    }

    fn plan_by(
        &self,
        strategy: &Strategy,
        workload: &Workload,
        budget: impl Fn(&Device) -> u64,
    ) -> Result<Placement, PlacementError> {
        let with = |device: &Device| Device { budget_bytes: budget(device), ..device.clone() };
        let devices = Devices::stated(self.devices.iter().map(with).collect())?;
        placement::plan(workload, &devices, strategy, Rules::Preflight)
    }

    /// The strategy, or where it leaves the choice one device after the other: whatever can be placed can be placed so,
    /// and that asks least of the last.
    fn in_turn(&self) -> Strategy {
        match &self.strategy {
            Strategy::Explicit(_) | Strategy::Single(_) => self.strategy.clone(),
            _ => Strategy::Sequential,
        }
    }

    /// Where modules would go if the last device took what the budgets leave over: what it would take.
    fn beyond(&self, workload: &Workload) -> Result<Placement, PlacementError> {
        let last = self.devices.last().map(|device| &device.id);
        let roomy = |device: &Device| if Some(&device.id) == last { u64::MAX } else { device.budget_bytes };
        self.plan_by(&self.in_turn(), workload, roomy).or_else(|_| self.plan(workload, |_| u64::MAX))
    }

    /// The need under some options, and whether it can be placed, also with a sixth of each budget kept free.
    fn need(&self, resolved: &Resolved) -> (u64, Verdict) {
        let workload = self.workload(resolved);
        match self.plan(&workload, |device| device.budget_bytes) {
            Ok(placed) => {
                // For one device this is 1.2 × total ≤ budget.
                let five_sixths = |device: &Device| (u128::from(device.budget_bytes) * 5 / 6) as u64;
                let roomy = self.plan(&workload, five_sixths).is_ok();
                (total(&placed), if roomy { Verdict::Fits } else { Verdict::Tight })
            }
            Err(_) => (self.beyond(&workload).map_or(u64::MAX, |placed| total(&placed)), Verdict::DoesNotFit),
        }
    }

    /// The report with its terms where they lie.
    fn terms(&self, report: Report, placed: &Placement, options: &Options, resolved: &Resolved) -> Report {
        let used: Vec<_> = placed.devices.iter().filter(|used| used.modules > 0).collect();
        // Of all on one device, the whole's own words hold.
        let part = |used: &DeviceUse| {
            let on = placed.modules.iter().filter(|module| module.device == used.device);
            let names: Vec<&str> = on.map(|module| module.name.as_str()).collect();
            let among = format!("{} of {} modules", names.len(), placed.modules.len());
            match names[..] {
                [first, .., last] => format!("{first} to {last}: {among}"),
                _ => format!("{}: {among}", names.concat()),
            }
        };
        let first = placed.modules.first().map(|module| &module.device);
        let has_first = |used: &DeviceUse| first == Some(&used.device);
        let term = |used: &DeviceUse, whole: &Term| {
            let others = if has_first(used) { resolved.other_bytes() } else { 0 };
            let (bytes, words) = match whole.name.as_str() {
                "weights" => (used.weights_bytes.saturating_sub(others), part(used)),
                "other_parts" => (others, format!("{}, with the embedding", whole.formula)),
                "kv_cache" => (used.kv_cache_bytes, "the share of the layers here".to_owned()),
                "activations" => (used.activation_bytes, "buffers of what computes here".to_owned()),
                _ => (used.overhead_bytes, String::new()),
            };
            let backend = backend(&used.device, options, resolved);
            let is_whole = placed.modules.len() == used.modules;
            let (badge, formula) = match whole.name.as_str() {
                "activations" if is_whole => {
                    (whole.badge, Workspace::on(backend, self.decoder, resolved).formula())
                }
                "overhead" => estimate::overhead_words(backend, resolved.calibration_of(backend)),
                _ if is_whole => (whole.badge, whole.formula.clone()),
                _ => (whole.badge, words),
            };
            Term { name: whole.name.clone(), bytes, badge, formula, device: used.device.to_string() }
        };
        let lies = |used: &DeviceUse, whole: &Term| whole.name != "other_parts" || has_first(used);
        let of_device = |used| {
            report.terms.iter().filter(move |whole| lies(used, whole)).map(move |whole| term(used, whole))
        };
        let terms: Vec<Term> = used.iter().copied().flat_map(of_device).collect();
        let sum = |bytes: fn(&DeviceUse) -> u64| {
            used.iter().fold(0u64, |sum, used| sum.saturating_add(bytes(used)))
        };
        let load_peaks = peaks(&report, &used, resolved);
        Report {
            weights_bytes: sum(|used| used.weights_bytes).saturating_sub(resolved.other_bytes()),
            kv_cache_bytes: sum(|used| used.kv_cache_bytes),
            activation_bytes: sum(|used| used.activation_bytes),
            overhead_bytes: sum(|used| used.overhead_bytes),
            total_bytes: sum(|used| used.total_bytes),
            terms,
            load_peaks,
            ..report
        }
    }

    fn fit(&self, resolved: &Resolved, report: &Report, placed: Result<&Placement, &PlacementError>) -> Fit {
        let available = self.devices.iter().fold(0u64, |sum, device| sum.saturating_add(device.budget_bytes));
        let need = |changed: &Resolved| self.need(changed);
        let case = fit::Case {
            decoder: self.decoder,
            stored: self.stored,
            resolved,
            weights_bytes: report.weights_bytes,
            available,
            need: &need,
            further: &|_| self.other_budgets(resolved),
        };
        let fit = fit::against(&case);
        let need = format_bytes(report.total_bytes);
        let allowed = format_bytes(available);
        let mut available_bytes = fit.available_bytes;
        let reason = match (placed, fit.verdict) {
            // Modules are not cut: what is left over in several places is room for none, and so not available.
            (Err(error), _) if report.total_bytes <= available => {
                available_bytes = Some(report.total_bytes - error.left_over_bytes().min(report.total_bytes));
                format!(
                    "needs {need}, max_memory allows {allowed} in all, in pieces that it does not fill: {error}"
                )
            }
            (Err(error), _) => format!("needs {need}, max_memory allows {allowed}: {error}"),
            (Ok(placed), verdict) => {
                let is_roomy =
                    |used: &DeviceUse| u128::from(used.total_bytes) * 6 <= u128::from(used.budget_bytes) * 5;
                let margin = match verdict {
                    Some(Verdict::Fits) if placed.devices.iter().all(is_roomy) => {
                        ", with a margin of 20 % and more"
                    }
                    Some(Verdict::Fits) => "; with a sixth of each budget kept free it can be placed too",
                    _ => "; there is no margin of 20 % on every device",
                };
                let used = |used: &DeviceUse| {
                    let bytes = [used.total_bytes, used.budget_bytes].map(format_bytes);
                    format!("{} of {} on {}", bytes[0], bytes[1], used.device)
                };
                format!("needs {}{margin}", each(placed, used))
            }
        };
        Fit { reason, available_bytes, ..fit }
    }

    /// Why no engine of this build would load what is placed so.
    fn not_run(&self, placed: &Placement) -> Option<String> {
        let used = placed.devices.iter().filter(|used| used.modules > 0);
        let names: Vec<String> = used.clone().map(|used| used.device.to_string()).collect();
        let used = used.filter_map(|used| self.devices.iter().find(|device| device.id == used.device));
        (self.decoder.family.runs() && names.len() > 1 && !stand_together(used)).then(|| {
            format!(
                "layers on {}: planned here, not run by this build, whose engines take CUDA devices with the CPU \
                 beside them, or the CPU alone",
                names.join(" and ")
            )
        })
    }

    /// One budget more, or one raised: the least that is enough.
    fn other_budgets(&self, resolved: &Resolved) -> Vec<Suggestion> {
        let workload = self.workload(resolved);
        let strategy = self.in_turn();
        let with = |devices: Vec<Device>, which: &DeviceId| -> Option<(u64, u64)> {
            let placed = Devices::stated(devices)
                .and_then(|devices| placement::plan(&workload, &devices, &strategy, Rules::Preflight));
            let placed = placed.ok()?;
            let used = placed.devices.iter().find(|used| used.device == *which)?;
            Some((used.total_bytes, total(&placed)))
        };
        let suggest = |id: &DeviceId, verb: &str, (bytes, total_bytes): (u64, u64)| {
            let key = budget_key(id);
            let label = format!("{verb} {id} a budget of {}", format_bytes_up(bytes));
            let new = Device::of(id.clone(), 0, resolved);
            let is_known = self.devices.iter().any(|device| device.id == *id);
            let devices = self.devices.iter().chain(Some(&new).filter(|_| !is_known));
            let runs = is_known && self.devices.len() == 1 || stand_together(devices);
            Suggestion::new(
                self.decoder,
                format!("max_memory.{key}={bytes}"),
                label,
                total_bytes,
                Verdict::Tight,
                runs,
            )
        };
        let mut found = Vec::new();
        let is_free_to_choose = strategy == Strategy::Sequential;
        if is_free_to_choose && self.devices.iter().all(|device| device.id != DeviceId::Cpu) {
            let host = Device::of(DeviceId::Cpu, u64::MAX, resolved);
            let more = [self.devices.clone(), vec![host]].concat();
            found.extend(with(more, &DeviceId::Cpu).map(|bytes| suggest(&DeviceId::Cpu, "also give", bytes)));
        }
        let raised = self.devices.iter().zip(&self.free).enumerate().filter_map(|(index, (device, free))| {
            let mut devices = self.devices.clone();
            devices[index].budget_bytes = *free;
            let bytes = with(devices, &device.id)?;
            let more = bytes.0.checked_sub(device.budget_bytes).filter(|more| *more > 0)?;
            Some((more, device, bytes))
        });
        let least = raised.min_by_key(|(more, ..)| *more);
        found.extend(least.map(|(_, device, bytes)| suggest(&device.id, "give", bytes)));
        found
    }
}

/// The peaks of a load whose weights are spread: of the fullest GPU, and of the host with the layers that stay there.
fn peaks(report: &Report, used: &[&DeviceUse], resolved: &Resolved) -> Vec<LoadPeak> {
    let (on_host, on_gpus): (Vec<&DeviceUse>, Vec<_>) =
        used.iter().copied().partition(|used| used.device.backend() == Backend::Cpu);
    let Some(fullest) = on_gpus.iter().map(|used| used.weights_bytes).max() else {
        return report.load_peaks.clone();
    };
    let whole = report.weights_bytes.saturating_add(resolved.other_bytes());
    let stay = on_host.iter().fold(0u64, |sum, used| sum.saturating_add(used.weights_bytes));
    let spread = |peak: &LoadPeak| LoadPeak {
        host_bytes_beside_gpu: peak.host_bytes_beside_gpu.saturating_add(stay),
        gpu_bytes: peak.gpu_bytes.saturating_sub(whole).saturating_add(fullest),
        formula: format!(
            "{}; of the weights {fullest} on the fullest GPU, {stay} stay on the host",
            peak.formula
        ),
        ..peak.clone()
    };
    report.load_peaks.iter().map(spread).collect()
}

/// Whether one engine computes on all of them: shares of the CPU, or CUDA devices with the CPU beside them.
fn stand_together<'a>(devices: impl Iterator<Item = &'a Device>) -> bool {
    let devices: Vec<&Device> = devices.collect();
    devices.iter().all(|device| device.backend == Backend::Cpu)
        || devices.iter().all(|device| device.backend == Backend::Cuda || device.id == DeviceId::Cpu)
}

fn total(placed: &Placement) -> u64 {
    placed.devices.iter().fold(0, |sum, used| sum.saturating_add(used.total_bytes))
}

/// A phrase for each device that something lies on.
fn each(placed: &Placement, phrase: impl Fn(&DeviceUse) -> String) -> String {
    let used = placed.devices.iter().filter(|used| used.modules > 0);
    used.map(phrase).collect::<Vec<_>>().join(", ")
}

/// What the answer rests on besides the options.
fn assume(report: &mut Report, load_config: &LoadConfig, options: &Options, devices: &[Device]) {
    let list = |phrase: &dyn Fn(&Device) -> String| devices.iter().map(phrase).collect::<Vec<_>>().join(", ");
    let bound = |device: &Device| {
        let bytes = format_bytes(device.budget_bytes);
        let stated = load_config.max_memory.get(&device.id).copied().unwrap_or(device.budget_bytes);
        match stated > device.budget_bytes {
            true => {
                format!("{} {bytes} (no more is free of the {} allowed)", device.id, format_bytes(stated))
            }
            false => format!("{} {bytes}", device.id),
        }
    };
    let overhead = |device: &Device| format!("{} on {}", format_bytes(device.overhead_bytes), device.id);
    report
        .assumptions
        .retain(|assumption| !["backend", "runtime_overhead"].contains(&assumption.name.as_str()));
    let mut assume = |name: &str, value: String, is_default: bool| {
        report.assumptions.push(Assumption { name: name.to_owned(), value, is_default });
    };
    assume("runtime_overhead", list(&overhead), options.calibration.is_empty());
    if !load_config.max_memory.is_empty() {
        assume("max_memory", list(&bound), false);
    }
    let map = load_config.device_map.as_ref().map(device_map::to_json);
    let is_default = map.is_none();
    assume("device_map", map.map_or_else(|| "auto".to_owned(), |map| map.to_string()), is_default);
}
