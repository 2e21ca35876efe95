//! Our own rules as properties of random workloads.

use proptest::strategy::Strategy as Generator;
use proptest::{arbitrary::any, collection, prop_assert, prop_assert_eq, proptest, sample};
use serde_json::json;

use super::*;

fn any_workload() -> impl Generator<Value = Workload> {
    let module = (0..1000u64, 0..100u64, collection::vec(0..4usize, 0..3));
    (collection::vec(module, 1..24), collection::vec(0..200u64, 0..4), any::<bool>()).prop_map(
        |(modules, workspaces, tied)| {
            let last = modules.len() - 1;
            let modules =
                modules.into_iter().enumerate().map(|(index, (weight_bytes, kv_bytes, workspaces))| Module {
                    name: format!("m.{index}"),
                    weight_bytes,
                    kv_bytes,
                    workspaces,
                    tied_with: (tied && index == last && last > 0).then(|| "m.0".to_owned()),
                    is_layer: index > 0 && index < last,
                    leaves: 1,
                    ..Module::default()
                });
            let workspaces = workspaces.into_iter().map(|bytes| Workspace { name: "w", bytes: [bytes; 5] });
            Workload { modules: modules.collect(), workspaces: workspaces.collect() }
        },
    )
}

fn any_budgets() -> impl Generator<Value = Vec<u64>> {
    collection::vec(0..12_000u64, 1..5)
}

fn any_strategy() -> impl Generator<Value = Strategy> {
    sample::select(vec![Strategy::Auto, Strategy::Balanced, Strategy::BalancedLow0, Strategy::Sequential])
}

/// The last budget is the CPU's where `with_cpu`. Runtimes differ, as real ones do.
fn listed(budgets: &[u64], with_cpu: bool) -> Vec<Device> {
    let id = |index: usize| match index + 1 == budgets.len() && with_cpu {
        true => DeviceId::Cpu,
        false => DeviceId::Gpu { backend: "cuda".to_owned(), index: index as u32 },
    };
    let device =
        |(index, bytes): (usize, &u64)| Device::new(id(index), *bytes).with_overhead(17 * index as u64);
    budgets.iter().enumerate().map(device).collect()
}

proptest! {
    #[test]
    fn plans_are_sound(workload in any_workload(), budgets in any_budgets(), cpu: bool, strategy in any_strategy()) {
        let list = listed(&budgets, cpu);
        let devices = Devices::stated(list.clone()).expect("distinct");
        let backwards = Devices::stated(list.into_iter().rev().collect()).expect("distinct");
        for rules in [Rules::Preflight, Rules::Accelerate, Rules::Transformers] {
            let placed = plan(&workload, &devices, &strategy, rules);
            prop_assert_eq!(&placed, &plan(&workload, &backwards, &strategy, rules));
            let Ok(placed) = placed else { continue };
            let names: Vec<_> = placed.modules.iter().map(|module| &module.name).collect();
            prop_assert_eq!(names, workload.modules.iter().map(|module| &module.name).collect::<Vec<_>>());
            prop_assert_eq!(placed.devices.iter().map(|d| d.modules).sum::<usize>(), workload.modules.len());
            prop_assert_eq!(
                placed.devices.iter().map(|d| d.weights_bytes + d.kv_cache_bytes).sum::<u64>(),
                workload.modules.iter().map(|m| m.weight_bytes + m.kv_bytes).sum::<u64>()
            );
            if workload.modules.last().is_some_and(|module| module.tied_with.is_some()) {
                let twin = placed.modules.last().map(|module| &module.device);
                prop_assert_eq!(Some(&placed.modules[0].device), twin);
            }
            for device in &placed.devices {
                let total = device.weights_bytes + device.kv_cache_bytes + device.activation_bytes + device.overhead_bytes;
                prop_assert_eq!(total, device.total_bytes);
                prop_assert!(rules != Rules::Preflight || device.total_bytes <= device.budget_bytes);
            }
            // The map means the same as the list.
            let again = Strategy::parse(&json!(placed.device_map)).expect("our own map");
            let again = plan(&workload, &devices, &again, Rules::Accelerate).expect("our own map");
            let place = |p: &Placement| p.modules.iter().map(|m| m.device.clone()).collect::<Vec<_>>();
            prop_assert_eq!(place(&again), place(&placed));
        }
    }

    #[test]
    fn more_memory_never_hurts(
        workload in any_workload(), budgets in any_budgets(), cpu: bool, strategy in any_strategy(),
        which: sample::Index, more in 0..5_000u64,
    ) {
        let mut richer = budgets.clone();
        richer[which.index(budgets.len())] += more;
        let fits = |budgets: &[u64]| {
            let devices = Devices::stated(listed(budgets, cpu)).expect("distinct");
            plan(&workload, &devices, &strategy, Rules::Preflight)
        };
        if let Ok(before) = fits(&budgets) {
            let after = fits(&richer);
            prop_assert!(after.is_ok(), "{after:?}");
            prop_assert!(after.is_ok_and(|after| after.offloaded.len() <= before.offloaded.len()));
        }
    }

    #[test]
    fn balanced_offloads_no_more_than_sequential_and_peaks_no_higher(
        workload in any_workload(), budgets in any_budgets(), cpu: bool,
    ) {
        let devices = Devices::stated(listed(&budgets, cpu)).expect("distinct");
        let [sequential, balanced, low_0] = [Strategy::Sequential, Strategy::Balanced, Strategy::BalancedLow0]
            .map(|strategy| plan(&workload, &devices, &strategy, Rules::Preflight));
        prop_assert_eq!(sequential.is_ok(), balanced.is_ok());
        prop_assert_eq!(sequential.is_ok(), low_0.is_ok());
        let (Ok(sequential), Ok(balanced), Ok(low_0)) = (sequential, balanced, low_0) else { return Ok(()) };
        let gpus = |placed: &Placement| -> Vec<u64> {
            placed.devices.iter().filter(|d| d.device != DeviceId::Cpu).map(|d| d.total_bytes).collect()
        };
        let peak = |placed: &Placement| gpus(placed).into_iter().max();
        prop_assert!(peak(&balanced) <= peak(&sequential));
        prop_assert_eq!(&balanced.offloaded, &sequential.offloaded);
        prop_assert_eq!(&low_0.offloaded, &sequential.offloaded);
        prop_assert!(gpus(&low_0).first() <= gpus(&balanced).first());
    }

    #[test]
    fn sizes_do_not_overflow(bytes in sample::select(vec![u64::MAX, u64::MAX / 2, 1]), strategy in any_strategy()) {
        let module = |index: usize| Module {
            name: format!("m.{index}"), weight_bytes: bytes, kv_bytes: bytes, buffer_bytes: bytes, leaves: u64::MAX,
            workspaces: vec![0, 99], is_layer: true, ..Module::default()
        };
        let workload = Workload {
            modules: (0..5).map(module).collect(),
            workspaces: vec![Workspace { name: "w", bytes: [bytes; 5] }],
        };
        let list = listed(&[u64::MAX, u64::MAX - 1, u64::MAX], true);
        let list = list.into_iter().map(|device| device.with_overhead(bytes)).collect();
        let devices = Devices::free(list).expect("distinct");
        for rules in [Rules::Preflight, Rules::Accelerate, Rules::Transformers] {
            let _ = plan(&workload, &devices, &strategy, rules);
        }
    }
}
