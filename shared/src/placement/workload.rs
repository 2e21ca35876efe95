//! What is placed: modules with their bytes, in the order of computation.

use std::collections::BTreeSet;

use crate::estimate::Backend;

/// A part of the model that is placed whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Module {
    /// Its name in a `device_map`: `model.layers.14`.
    pub name: String,
    /// Bytes of its weights; 0 for a tied twin, whose weights its partner holds.
    pub weight_bytes: u64,
    /// Bytes of tensors that no checkpoint holds (rotary frequencies); part of a workspace in our engines.
    pub buffer_bytes: u64,
    /// Bytes of its share of the KV cache.
    pub kv_bytes: u64,
    /// The [`Workload::workspaces`] that it computes in, by index.
    pub workspaces: Vec<usize>,
    /// The module that it shares weights with: both go to one device.
    pub tied_with: Option<String>,
    /// Whether it is a decoder layer.
    pub is_layer: bool,
    /// Modules in it that own tensors, itself included; accelerate takes a mean over them.
    pub leaves: u64,
}

/// Memory that the modules on one device compute in by turns: there once on each device that needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    /// What it is for.
    pub name: &'static str,
    /// Bytes on a device of each backend, in the order of [`Backend::ALL`].
    pub bytes: [u64; Backend::ALL.len()],
}

impl Workspace {
    /// Bytes on a device of a backend.
    #[must_use]
    pub fn bytes_on(&self, backend: Backend) -> u64 {
        self.bytes[backend as usize]
    }
}

/// Everything that a load places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Workload {
    /// In the order of computation.
    pub modules: Vec<Module>,
    /// Activations by what needs them.
    pub workspaces: Vec<Workspace>,
}

impl Workload {
    /// Modules that must stay together, by index, in the order of their first: all but tied ones stand alone.
    pub(super) fn units(&self) -> Vec<Vec<usize>> {
        let mut units: Vec<Vec<usize>> = Vec::new();
        for (index, module) in self.modules.iter().enumerate() {
            let tied = |other: &usize| {
                let other = &self.modules[*other];
                module.tied_with.as_ref() == Some(&other.name)
                    || other.tied_with.as_ref() == Some(&module.name)
            };
            match units.iter_mut().find(|unit| unit.iter().any(tied)) {
                Some(unit) => unit.push(index),
                None => units.push(vec![index]),
            }
        }
        units
    }

    /// What Hugging Face sees of it: weights and buffers.
    pub(super) fn weights_only(&self) -> Self {
        let modules = self.modules.iter().map(|module| Module {
            weight_bytes: module.weight_bytes.saturating_add(module.buffer_bytes),
            kv_bytes: 0,
            workspaces: Vec::new(),
            ..module.clone()
        });
        Self { modules: modules.collect(), workspaces: Vec::new() }
    }
}

/// Bytes by term.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) weights: u64,
    pub(super) kv_cache: u64,
    pub(super) activations: u64,
    pub(super) overhead: u64,
}

impl Terms {
    pub(super) fn total(&self) -> u64 {
        self.weights
            .saturating_add(self.kv_cache)
            .saturating_add(self.activations)
            .saturating_add(self.overhead)
    }

    fn plus(self, other: Self) -> Self {
        Self {
            weights: self.weights.saturating_add(other.weights),
            kv_cache: self.kv_cache.saturating_add(other.kv_cache),
            activations: self.activations.saturating_add(other.activations),
            overhead: self.overhead.saturating_add(other.overhead),
        }
    }
}

/// What lies on one device so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Load {
    pub(super) used: Terms,
    workspaces: BTreeSet<usize>,
    /// The device's runtime, as long as nothing lies there.
    pending_overhead: u64,
    backend: Backend,
}

impl Load {
    /// Nothing yet, on a device of this backend whose runtime takes `overhead_bytes`.
    pub(super) fn on(backend: Backend, overhead_bytes: u64) -> Self {
        Self { pending_overhead: overhead_bytes, backend, ..Self::default() }
    }

    /// What a unit adds: workspaces that are here already cost nothing more, nor does the runtime.
    pub(super) fn added_by(&self, workload: &Workload, unit: &[usize]) -> Terms {
        let modules = || unit.iter().map(|index| &workload.modules[*index]);
        let sum =
            |bytes: fn(&Module) -> u64| modules().fold(0u64, |sum, module| sum.saturating_add(bytes(module)));
        let fresh: BTreeSet<usize> = modules()
            .flat_map(|module| &module.workspaces)
            .copied()
            .filter(|w| !self.workspaces.contains(w))
            .collect();
        Terms {
            weights: sum(|module| module.weight_bytes),
            kv_cache: sum(|module| module.kv_bytes),
            activations: fresh
                .iter()
                .filter_map(|index| workload.workspaces.get(*index))
                .fold(0, |sum, workspace| sum.saturating_add(workspace.bytes_on(self.backend))),
            overhead: self.pending_overhead,
        }
    }

    pub(super) fn add(&mut self, workload: &Workload, unit: &[usize]) {
        self.used = self.used.plus(self.added_by(workload, unit));
        self.workspaces
            .extend(unit.iter().flat_map(|index| workload.modules[*index].workspaces.iter().copied()));
        self.pending_overhead = 0;
    }
}
