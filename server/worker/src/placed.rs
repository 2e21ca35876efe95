//! Where a load goes: one device, or layers on several, within their budgets.

use phi3::api::ErrorObject;
use phi3::api::worker::Load;
use phi3::engine::{DeviceInfo, Split};
use phi3::estimate::{Backend as On, Resolved};
use phi3::load_config::LoadConfig;
use phi3::placement::{self, Device, DeviceId, Devices, Placement, PlacementError, Rules, Strategy};
use phi3::tensors::{self, Role};
use phi3::units::format_bytes;

use crate::backend::{Backend, all, choose};
use crate::plan::Planned;

/// Decides the devices of a load and hands out their engine. Above the load config stands the device of the request.
///
/// # Errors
/// A device that is not there, devices of two engines, a placement that does not work out, a budget that is too small.
pub(crate) fn place<'a>(
    backends: &'a [Backend],
    load: &Load,
    overrides: &LoadConfig,
    planned: &mut Planned,
) -> Result<&'a Backend, ErrorObject> {
    planned.budgets = overrides.max_memory.clone();
    let strategy = match &load.device {
        Some(name) if name != "auto" => {
            let (backend, info) = choose(backends, name)?;
            return alone(backend, info, planned);
        }
        _ => overrides.device_map.clone().unwrap_or(Strategy::Auto),
    };
    let named: Vec<DeviceId> = match &strategy {
        Strategy::Single(id) => vec![id.clone()],
        Strategy::Explicit(_) => overrides.devices().into_iter().cloned().collect(),
        // As for Hugging Face, the loader chooses among the devices that have a budget, or where it is asked to choose and
        // none has one, among all.
        _ if overrides.max_memory.is_empty() && overrides.device_map.is_some() => all(backends),
        _ => overrides.max_memory.keys().cloned().collect(),
    };
    match named.as_slice() {
        [] => {
            let (backend, info) = choose(backends, "auto")?;
            alone(backend, info, planned)
        }
        [one] => {
            let (backend, info) = choose(backends, &one.to_string())?;
            alone(backend, info, planned)
        }
        several => apart(backends, several, &strategy, planned),
    }
}

/// All on one device.
fn alone<'a>(
    backend: &'a Backend,
    info: DeviceInfo,
    planned: &mut Planned,
) -> Result<&'a Backend, ErrorObject> {
    planned.resolved.backend = info.device.backend();
    let budget = planned.budgets.get(&info.device).copied();
    if let Some(budget) = budget {
        // Said in one sentence here; the engine would say it allocation by allocation.
        let needed = planned.predicted().total_bytes;
        if needed > budget {
            let message = format!(
                "needs {}, max_memory allows {} on {}: raise it, or shorten the context",
                format_bytes(needed),
                format_bytes(budget),
                info.device
            );
            let error = ErrorObject::new("oom", message).at(format!("max_memory.{}", info.device));
            return Err(error.short(needed, budget));
        }
    }
    planned.let_in(&info.device);
    planned.plan.device = info.device;
    bind(planned);
    Ok(backend)
}

/// Layers on several devices.
fn apart<'a>(
    backends: &'a [Backend],
    named: &[DeviceId],
    strategy: &Strategy,
    planned: &mut Planned,
) -> Result<&'a Backend, ErrorObject> {
    let mut devices = Vec::new();
    let mut engine: Option<&Backend> = None;
    for id in named {
        let (backend, info) = choose(backends, &id.to_string())?;
        engine = Some(match engine {
            None => backend,
            Some(other) => other.with(backend).ok_or_else(|| {
                let message = format!(
                    "layers on {} and on {}: no engine of this build computes on both",
                    other.name(),
                    backend.name()
                );
                ErrorObject::new("unsupported_load_config", message).at("device_map")
            })?,
        });
        let free = info.free_bytes.unwrap_or(u64::MAX);
        let budget = planned.budgets.get(id).map_or(free, |stated| *stated);
        devices.push(Device::of(id.clone(), budget, &planned.resolved));
    }
    let gpu = named.iter().map(DeviceId::backend).find(|backend| *backend != On::Cpu);
    planned.resolved.backend = gpu.unwrap_or_default();
    let decoder = planned.plan.config.decoder();
    let mut workload = placement::workload(&decoder, None, &planned.resolved);
    // The place kept for a validation computes in the same buffers, which may be larger for it.
    let kept = Resolved { batch: planned.plan.batch as u64, ..planned.resolved.clone() };
    workload.workspaces = placement::workload(&decoder, None, &kept).workspaces;
    let devices = if planned.budgets.is_empty() { Devices::free(devices) } else { Devices::stated(devices) };
    let placed = devices.and_then(|devices| placement::plan(&workload, &devices, strategy, Rules::Preflight));
    let placed = placed.map_err(|error| {
        let path = match error {
            PlacementError::DoesNotFit { .. } | PlacementError::OverBudget { .. } => "max_memory",
            _ => "device_map",
        };
        ErrorObject::new(error.code(), error.to_string()).at(path)
    })?;
    let split = split(&placed, planned)?;
    if let [one] = split.devices().as_slice() {
        // Its own engine, which need not be the one for all of them.
        let (backend, info) = choose(backends, &one.to_string())?;
        return alone(backend, info, planned);
    }
    planned.plan.device = split.embedding.clone();
    planned.plan.split = Some(split);
    planned.placement = Some(placed);
    bind(planned);
    engine.ok_or_else(|| ErrorObject::new("device_absent", "no device is named").at("device_map"))
}

/// A placement in an engine's words.
fn split(placed: &Placement, planned: &Planned) -> Result<Split, ErrorObject> {
    let decoder = planned.plan.config.decoder();
    let of = |role, layer| {
        let name = tensors::module(&decoder, role, layer);
        let module = placed.modules.iter().find(|module| module.name == name);
        let missing = || ErrorObject::new("internal", format!("{name} has no place"));
        module.map(|module| module.device.clone()).ok_or_else(missing)
    };
    let layers = 0..planned.plan.config.num_hidden_layers;
    Ok(Split {
        embedding: of(Role::Embedding, None)?,
        layers: layers.map(|layer| of(Role::InputNorm, Some(layer))).collect::<Result<_, _>>()?,
        norm: of(Role::FinalNorm, None)?,
        head: of(Role::LmHead, None)?,
    })
}

/// Leaves the engine what budgets allow beside the runtime, which it does not count.
fn bind(planned: &mut Planned) {
    let beside_runtime = |(id, bytes): (&DeviceId, &u64)| {
        let Device { id, budget_bytes, overhead_bytes, .. } =
            Device::of(id.clone(), *bytes, &planned.resolved);
        (id, budget_bytes.saturating_sub(overhead_bytes))
    };
    planned.plan.budgets = planned.budgets.iter().map(beside_runtime).collect();
}
