//! The map as Hugging Face writes it: groups of modules on one device under their common name.

use serde_json::{Map, Value};

use super::DeviceId;

/// Groups what goes together, as `clean_device_map` does: `{"": 0}` where all is on one device.
pub(super) fn grouped(modules: &[(&str, &DeviceId)]) -> Map<String, Value> {
    let mut map = Map::new();
    group("", modules, &mut map);
    map
}

fn group(prefix: &str, modules: &[(&str, &DeviceId)], map: &mut Map<String, Value>) {
    match modules {
        [] => {}
        [(name, device)] => {
            map.insert((*name).to_owned(), device.to_value());
        }
        [(_, first), rest @ ..] if rest.iter().all(|(_, device)| device == first) => {
            map.insert(prefix.to_owned(), first.to_value());
        }
        _ => {
            let mut children: Vec<(&str, Vec<(&str, &DeviceId)>)> = Vec::new();
            for &(name, device) in modules {
                let child = child(prefix, name);
                match children.iter_mut().find(|(known, _)| *known == child) {
                    Some((_, members)) => members.push((name, device)),
                    None => children.push((child, vec![(name, device)])),
                }
            }
            children.iter().for_each(|(child, members)| group(child, members, map));
        }
    }
}

/// The part of a module's name that is one component longer than the prefix.
fn child<'a>(prefix: &str, name: &'a str) -> &'a str {
    let start = if prefix.is_empty() { 0 } else { (prefix.len() + 1).min(name.len()) };
    name[start..].find('.').map_or(name, |dot| &name[..start + dot])
}
