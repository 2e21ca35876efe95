//! What a load needs under a load config: options, overrides, devices and budgets in one answer.

mod budgets;

use thiserror::Error;

use super::{LoadConfig, device_map};
use crate::decoder::Decoder;
use crate::devices;
use crate::estimate::{
    self, Assumption, Backend, Options, OptionsError, Report, Resolved, StoredTensors, fit,
};
use crate::placement::{self, Device, DeviceId, Devices, Placement, PlacementError, Rules, Strategy};
use crate::units::format_bytes;

/// The need, and where it lies.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimated {
    /// The need, term by term and device by device, and its verdict.
    pub report: Report,
    /// Where each module goes, where budgets or a map of several devices say so.
    pub placement: Option<Placement>,
    /// Why there is no placement within the budgets: the verdict is that it does not fit.
    pub placement_error: Option<PlacementError>,
}

/// What cannot be sized.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EstimateError {
    /// An option out of range.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// A map or a budget that means nothing for this model.
    #[error(transparent)]
    Placement(#[from] PlacementError),
}

/// Sizes a load of a model whose config has the overrides in it already ([`LoadConfig::overridden`]).
///
/// Without budgets the model lies on one device, the one that the options or `device_map` name. With `max_memory` it
/// is placed within the budgets, none of which is taken for more than the options say is free, and the verdict is
/// that of the placement: it fits where it can also be placed with a sixth of each budget kept free.
///
/// # Errors
/// An option out of range; a `device_map` that does not go with the model or with the budgets.
pub fn estimate(
    decoder: &Decoder,
    stored: Option<&StoredTensors>,
    options: &Options,
    load_config: &LoadConfig,
) -> Result<Estimated, EstimateError> {
    let mut estimated = answer(decoder, stored, options, load_config, true)?;
    let resolved = Resolved::new(decoder, stored, &load_config.options(options))?;
    let weights_bytes = estimated.report.weights_bytes;
    if let Some((held, bytes)) = fit::held_by_a_load(decoder, stored, &resolved, weights_bytes) {
        if estimated.placement.is_some() || estimated.placement_error.is_some() {
            let options = Options { dtype: Some(held), kv_dtype: Some(resolved.kv_dtype), ..options.clone() };
            let load = answer(decoder, stored, &options, load_config, true)?.report;
            let verdict = load.fit.verdict.filter(|_| load.fit.verdict != estimated.report.fit.verdict);
            let words = fit::held_words(resolved.format, held, bytes, load.total_bytes, verdict);
            estimated.report.fit.warnings.push(words);
        }
    } else if let Some(value) = in_one_format(decoder, stored, &resolved) {
        let name = "weights of a load".to_owned();
        estimated.report.assumptions.push(Assumption { name, value, is_default: true });
    }
    // What fits and is not loaded all the same.
    estimated.report.fit.warnings.extend(load_config.refusals().iter().map(ToString::to_string));
    // They changed the config before it came here.
    let said = load_config.to_map();
    for key in ["sliding_window", "rope_scaling", "use_cache"] {
        if let Some(value) = said.get(key) {
            let assumptions = &mut estimated.report.assumptions;
            match assumptions.iter_mut().find(|assumed| assumed.name == key) {
                // It is there with all that it means.
                Some(assumed) => assumed.is_default = false,
                None => {
                    let (name, value) = (key.to_owned(), value.to_string());
                    assumptions.push(Assumption { name, value, is_default: false });
                }
            }
        }
    }
    Ok(estimated)
}

/// The same but for the verdict: what a preview asks many times.
///
/// # Errors
/// As [`estimate`].
pub(super) fn sized(
    decoder: &Decoder,
    stored: Option<&StoredTensors>,
    options: &Options,
    load_config: &LoadConfig,
) -> Result<Report, EstimateError> {
    answer(decoder, stored, options, load_config, false).map(|estimated| estimated.report)
}

fn answer(
    decoder: &Decoder,
    stored: Option<&StoredTensors>,
    options: &Options,
    load_config: &LoadConfig,
    judged: bool,
) -> Result<Estimated, EstimateError> {
    let mut options = load_config.options(options);
    let named = options.device.as_deref().and_then(|name| devices::find(name).ok());
    let mut targets = load_config.device_map.as_ref().map(device_map::devices).unwrap_or_default();
    if !load_config.max_memory.is_empty() {
        let free = options.device_memory.map(|size| size.0).or(named.map(|device| device.usable_bytes()));
        return budgets::estimate(decoder, stored, &options, load_config, free, judged);
    }
    if let Some(map @ Strategy::Explicit(_)) = &load_config.device_map {
        let resolved = Resolved::new(decoder, stored, &options)?;
        let endless = targets.iter().map(|id| Device::of((*id).clone(), u64::MAX, &resolved)).collect();
        let workload = placement::workload(decoder, stored, &resolved);
        let placed = placement::plan(&workload, &Devices::stated(endless)?, map, Rules::Preflight)?;
        // What the map names and leaves empty has no share in the load.
        targets.retain(|id| placed.devices.iter().any(|used| used.device == **id && used.weights_bytes > 0));
        if let [_only] = targets[..] {
            options = budgets::driven(&options, targets.iter().copied());
        }
    }
    match targets.as_slice() {
        [DeviceId::Cpu] if named.is_some() && options.backend.is_none() => {
            options.backend = Some(Backend::Cpu);
            let resolved = Resolved::new(decoder, stored, &options)?;
            let report = estimate::sized(decoder, stored, &options, &resolved);
            let reason = format!(
                "needs {} on the CPU, whose memory is not given: device_map sends everything there and leaves {} \
                 empty; give max_memory.cpu, or take device_map out",
                format_bytes(report.total_bytes),
                named.map_or("the device", |device| device.name)
            );
            // Held against nothing.
            let fit =
                fit::without_device(decoder, &resolved, report.weights_bytes, report.total_bytes, reason);
            Ok(alone(Report { fit, ..report }))
        }
        [] | [_] if judged => {
            let resolved = Resolved::new(decoder, stored, &options)?;
            let mut report = estimate::estimate(decoder, stored, &options)?;
            report.load_peaks = estimate::load_peaks(decoder, stored, report.weights_bytes, &resolved);
            Ok(alone(report))
        }
        [] | [_] => {
            let resolved = Resolved::new(decoder, stored, &options)?;
            Ok(alone(estimate::sized(decoder, stored, &options, &resolved)))
        }
        _ => budgets::without(decoder, stored, &options, load_config, &targets),
    }
}

/// What a load makes of weights that are stored in several formats, each of which its engines could hold, where that is
/// nearly the same size: norms in f32 beside matrices in f16.
fn in_one_format(decoder: &Decoder, stored: Option<&StoredTensors>, resolved: &Resolved) -> Option<String> {
    let is_mixed = decoder.runs() && resolved.convert_to.is_none() && resolved.format.runs();
    let stored = estimate::stored_bytes(stored.filter(|_| is_mixed)?, None);
    let held = estimate::weights_bytes(decoder, resolved.format);
    (held != stored).then(|| {
        let format = resolved.format;
        format!(
            "most of them are stored in {format}: a load holds all of them in {format}, {}",
            format_bytes(held)
        )
    })
}

fn alone(report: Report) -> Estimated {
    Estimated { report, placement: None, placement_error: None }
}

#[cfg(test)]
mod tests;
