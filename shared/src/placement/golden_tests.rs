//! Against Hugging Face: `tests/goldens/placement.json`, made by `make_placement.py` beside it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::*;
use crate::decoder::Decoder;
use crate::estimate::{Options, Resolved};

#[derive(Deserialize)]
struct Case {
    name: String,
    config: Value,
    strategy: String,
    stated: bool,
    memory: BTreeMap<String, u64>,
    sizes: BTreeMap<String, u64>,
    accelerate: Map<String, Value>,
    transformers: Option<Map<String, Value>>,
}

impl Case {
    fn all() -> Vec<Self> {
        serde_json::from_str(include_str!("../../../tests/goldens/placement.json"))
            .expect("the goldens parse")
    }

    fn workload(&self) -> Workload {
        let decoder = Decoder::parse(self.config.to_string().as_bytes()).expect(&self.name);
        let resolved = Resolved::new(&decoder, None, &Options::default()).expect("defaults");
        workload(&decoder, None, &resolved)
    }

    fn devices(&self) -> Devices {
        // Hugging Face knows of no runtime.
        let device = |(name, bytes): (&String, &u64)| {
            Device::new(name.parse().expect("a device"), *bytes).with_overhead(0)
        };
        let list = self.memory.iter().map(device).collect();
        if self.stated { Devices::stated(list) } else { Devices::free(list) }.expect("devices")
    }

    fn strategy(&self) -> Strategy {
        Strategy::parse(&Value::from(self.strategy.as_str())).expect("a strategy")
    }
}

#[test]
fn module_sizes_are_those_of_hugging_face() {
    for case in Case::all() {
        let workload = case.workload();
        let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
        for module in &workload.modules {
            let group = if module.is_layer { "model.layers" } else { &module.name };
            *sizes.entry(group.to_owned()).or_default() += module.weight_bytes + module.buffer_bytes;
        }
        assert_eq!(sizes, case.sizes, "{}", case.name);
    }
}

#[test]
fn maps_are_those_of_hugging_face() {
    let mut checked = [0, 0];
    for case in Case::all() {
        for (rules, expected) in [
            (Rules::Accelerate, &case.accelerate),
            (Rules::Transformers, case.transformers.as_ref().unwrap_or(&case.accelerate)),
        ] {
            let placed = plan(&case.workload(), &case.devices(), &case.strategy(), rules);
            if expected.values().any(|device| device == "disk") {
                let error = placed.expect_err(&case.name);
                let PlacementError::DoesNotFit { module, .. } = &error else {
                    panic!("{}: {error}", case.name)
                };
                let on_disk =
                    |name: &str| expected.iter().any(|(key, device)| device == "disk" && covers(key, name));
                assert!(on_disk(module), "{}: {module} is not on disk in {expected:?}", case.name);
                checked[1] += 1;
            } else {
                assert_eq!(&placed.expect(&case.name).device_map, expected, "{} by {rules:?}", case.name);
                checked[0] += 1;
            }
        }
    }
    assert!(checked[0] > 100 && checked[1] > 10, "{checked:?}");
}

fn covers(key: &str, name: &str) -> bool {
    key.is_empty() || name == key || name.starts_with(&format!("{key}."))
}

/// Where the rules agree: nothing but weights counted, `sequential`, nothing kept free and nothing left over.
#[test]
fn our_walk_is_theirs_where_the_rules_agree() {
    let mut agreed = 0;
    for case in Case::all().into_iter().filter(|case| case.stated) {
        let bare = case.workload().weights_only();
        let ours = plan(&bare, &case.devices(), &Strategy::Sequential, Rules::Preflight);
        let theirs = plan(&bare, &case.devices(), &Strategy::Sequential, Rules::Accelerate);
        match (ours, theirs) {
            (Ok(ours), Ok(theirs)) if ours.device_map == theirs.device_map => agreed += 1,
            // What they keep free on the first device moves modules on: never to an earlier one than ours.
            (Ok(ours), Ok(theirs)) => {
                for (ours, theirs) in ours.modules.iter().zip(&theirs.modules) {
                    assert!(ours.device <= theirs.device, "{}: {}", case.name, ours.name);
                }
            }
            (Err(ours), Ok(_)) => panic!("{}: theirs fits, ours does not: {ours}", case.name),
            (_, Err(_)) => {}
        }
    }
    assert!(agreed > 20, "{agreed}");
}
