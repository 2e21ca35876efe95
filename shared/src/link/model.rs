//! A model in a link: a preset's name, the difference to one, or a config whole.

use serde_json::{Map, Value, json};

use super::difference::Difference;
use super::state::{Part, invalid, wrong_keys};
use super::{LinkError, LinkedModel};
use crate::config::{Fields, Preset};
use crate::units::one_line;

/// The shortest form of a model: whole where there are no presets to be near to.
///
/// A config that is a preset's has a checksum and no difference.
pub(super) fn to_json(model: &LinkedModel, presets: &[Preset]) -> Value {
    let config = match model {
        LinkedModel::Preset(name) => return json!({ "preset": name }),
        LinkedModel::Own => return json!("own"),
        LinkedModel::Config { config, .. } => config,
    };
    let forms = presets.iter().filter_map(|preset| {
        let difference = Difference::between(&base(preset)?, config);
        let mut form = json!({ "preset": preset.name, "sum": checksum(config) });
        if !difference.set.is_empty() {
            form["set"] = Value::Object(difference.set);
        }
        if !difference.drop.is_empty() {
            form["drop"] = difference.drop.into();
        }
        Some(form)
    });
    let whole = json!({ "config": config });
    // Of equals the first: the order of presets and forms is fixed.
    let length = |form: &Value| form.to_string().len();
    forms.chain([whole.clone()]).min_by_key(length).unwrap_or(whole)
}

/// Reads a model in any form.
pub(super) fn from_json(part: &mut Part<'_>, presets: &[Preset]) -> Result<LinkedModel, LinkError> {
    let keys = part.keys();
    let (preset, config) = (part.text("preset")?, part.object("config")?);
    let config = match (preset, config) {
        (None, Some(config)) => config,
        (Some(name), None) => {
            let preset = find(&name, presets)?;
            let Some(sum) = part.text("sum")? else { return Ok(LinkedModel::Preset(name)) };
            let difference = read_difference(part)?;
            let changed = || LinkError::PresetChanged { name: name.clone() };
            let mut config = base(preset).ok_or_else(changed)?;
            difference.apply(&mut config).map_err(|_nowhere| changed())?;
            if checksum(&config) != sum {
                return Err(changed());
            }
            config
        }
        _ => return Err(wrong_keys("model", keys, "one of `preset` and `config`")),
    };
    Ok(LinkedModel::Config { config, generation_config: part.object("generation_config")? })
}

/// The preset of a name.
pub(super) fn find<'a>(name: &str, presets: &'a [Preset]) -> Result<&'a Preset, LinkError> {
    presets.iter().find(|preset| preset.name == name).ok_or_else(|| LinkError::UnknownPreset {
        name: one_line(name),
        known: presets.iter().map(|preset| preset.name).collect::<Vec<_>>().join(", "),
    })
}

fn base(preset: &Preset) -> Option<Map<String, Value>> {
    Fields::parse(preset.config.as_bytes()).ok().map(|fields| fields.map().clone())
}

fn read_difference(part: &mut Part<'_>) -> Result<Difference, LinkError> {
    let set = part.object("set")?.unwrap_or_default();
    let drop = match part.take("drop") {
        None => Vec::new(),
        Some(list) => serde_json::from_value(list.clone())
            .map_err(|_other| invalid(&part.path("drop"), &list, "a list of JSON pointers"))?,
    };
    Ok(Difference { set, drop })
}

/// Of a config as the link's maker saw it: tells that a preset has changed since, which a difference alone would not.
fn checksum(config: &Map<String, Value>) -> String {
    // FNV-1a: against change, not against intent.
    let mut config = Value::Object(config.clone());
    config.sort_all_objects();
    let text = config.to_string();
    let hash =
        text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{hash:08x}")
}
