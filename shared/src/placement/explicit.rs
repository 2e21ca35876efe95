//! Maps that somebody wrote: every name must be known, every module covered.

use std::collections::BTreeSet;

use super::{DeviceId, Devices, PlacementError, Workload};

/// The device of each module, by place in the list of devices, and why.
pub(super) fn assign(
    workload: &Workload,
    devices: &Devices,
    map: &[(String, DeviceId)],
) -> Result<Vec<(usize, String)>, PlacementError> {
    let modules = &workload.modules;
    for (key, device) in map {
        check_name(workload, key)?;
        devices.position(device)?;
    }
    let named = |name: &str| {
        let covers = map.iter().filter(|(key, _)| covers(key, name));
        covers.max_by_key(|(key, _)| key.len())
    };
    let mut missing = Vec::new();
    let mut placed: Vec<(usize, String)> = Vec::new();
    for (index, module) in modules.iter().enumerate() {
        let twin = modules.iter().find(|other| {
            module.tied_with.as_ref() == Some(&other.name) || other.tied_with.as_ref() == Some(&module.name)
        });
        let own = named(&module.name);
        let of_twin = twin.and_then(|twin| named(&twin.name));
        if let (Some((_, device)), Some(twin), Some((_, twin_device))) = (own, twin, of_twin)
            && device != twin_device
        {
            return Err(PlacementError::SplitsTied {
                module: module.name.clone(),
                device: device.clone(),
                twin: twin.name.clone(),
                twin_device: twin_device.clone(),
            });
        }
        if let Some((key, device)) = own {
            let whole = if key.is_empty() { "everything".to_owned() } else { format!("`{key}`") };
            placed.push((devices.position(device)?, format!("the map sends {whole} here")));
        } else if let (Some((_, device)), Some(twin)) = (of_twin, twin) {
            placed.push((devices.position(device)?, format!("shares weights with {}", twin.name)));
        } else if let (0, Some((device, _))) = (module.weight_bytes, placed.last()) {
            placed.push((*device, format!("has no weights: goes with {}", modules[index - 1].name)));
        } else {
            missing.push(module.name.clone());
            placed.push((0, String::new()));
        }
    }
    if missing.is_empty() { Ok(placed) } else { Err(PlacementError::MissingModules { modules: missing }) }
}

/// Whether a name is that of the module or of a group around it.
pub(crate) fn covers(key: &str, name: &str) -> bool {
    key.is_empty() || name.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn check_name(workload: &Workload, key: &str) -> Result<(), PlacementError> {
    let names = || workload.modules.iter().map(|module| module.name.as_str());
    if names().any(|name| covers(key, name)) {
        return Ok(());
    }
    if let Some(module) = names().find(|name| covers(name, key)) {
        return Err(PlacementError::SplitsModule { key: key.to_owned(), module: module.to_owned() });
    }
    let groups = names().flat_map(|name| name.match_indices('.').map(|(dot, _)| &name[..dot]));
    let known: BTreeSet<&str> = names().chain(groups).collect();
    let nearest = known.into_iter().min_by_key(|known| strsim::damerau_levenshtein(key, known));
    Err(PlacementError::UnknownModule {
        key: key.to_owned(),
        nearest: nearest.unwrap_or_default().to_owned(),
    })
}
