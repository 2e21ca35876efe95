//! Which device does what of a pass over CUDA devices and the host. Here, since it needs no driver to be tested.

use super::{EngineError, LoadPlan, Stretch};
use crate::placement::DeviceId;

/// Where something is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// On a GPU, by its index in [`Route::gpus`].
    Gpu(usize),
    Host,
}

/// A pass through a model, device by device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    /// The CUDA devices, in the order in which a pass first comes to them.
    pub(crate) gpus: Vec<DeviceId>,
    pub(crate) stretches: Vec<(Place, Stretch)>,
    pub(crate) norm: Place,
    pub(crate) head: Place,
}

impl Route {
    /// The route of a plan.
    ///
    /// # Errors
    /// Devices that this engine does not compute on.
    pub(crate) fn of(plan: &LoadPlan) -> Result<Self, EngineError> {
        let split = plan.places();
        let (given, layers) = (split.layers.len(), plan.config.num_hidden_layers);
        if given != layers {
            return Err(EngineError::Backend(format!("a split of {given} layers for a model of {layers}")));
        }
        let gpus: Vec<DeviceId> =
            split.devices().into_iter().filter(|device| **device != DeviceId::Cpu).cloned().collect();
        for device in &gpus {
            ordinal(device)?;
        }
        if gpus.is_empty() {
            return Err(not_cuda(&DeviceId::Cpu));
        }
        let place =
            |device: &DeviceId| gpus.iter().position(|gpu| gpu == device).map_or(Place::Host, Place::Gpu);
        let stretches =
            split.stretches().into_iter().map(|stretch| (place(&stretch.device), stretch)).collect();
        let (norm, head) = (place(&split.norm), place(&split.head));
        Ok(Self { gpus, stretches, norm, head })
    }

    /// Whether the host computes any of it.
    pub(crate) fn uses_host(&self) -> bool {
        let mut places = self.stretches.iter().map(|(place, _)| place).chain([&self.norm, &self.head]);
        places.any(|place| *place == Place::Host)
    }

    /// Where the last layer is.
    pub(crate) fn end(&self) -> Place {
        self.stretches.last().map_or(self.head, |(place, _)| *place)
    }

    /// The GPU that has the last layer, the norm and the head: it chooses ids by itself. Elsewhere the host does.
    pub(crate) fn tail(&self) -> Option<usize> {
        match (self.end(), self.norm, self.head) {
            (Place::Gpu(end), Place::Gpu(norm), Place::Gpu(head)) if end == norm && norm == head => Some(end),
            _ => None,
        }
    }

    /// Whether one GPU does everything: steps may be queued before their ids are known.
    pub(crate) fn is_alone(&self) -> bool {
        self.stretches.len() == 1 && self.tail().is_some()
    }
}

/// The driver's number of a device.
pub(crate) fn ordinal(device: &DeviceId) -> Result<usize, EngineError> {
    match device {
        DeviceId::Gpu { backend, index } if backend == "cuda" => Ok(*index as usize),
        other => Err(not_cuda(other)),
    }
}

fn not_cuda(device: &DeviceId) -> EngineError {
    EngineError::Unavailable {
        what: device.to_string(),
        reason: "this engine computes on CUDA devices, and on `cpu` beside them".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ModelConfig;
    use crate::dtype::DType;
    use crate::engine::Split;

    fn plan(names: [&str; 6]) -> LoadPlan {
        let json =
            br#"{"model_type": "phi3", "hidden_size": 96, "intermediate_size": 160, "num_hidden_layers": 3,
            "num_attention_heads": 6, "num_key_value_heads": 2, "vocab_size": 333}"#;
        let config = ModelConfig::parse(json).expect("a good config");
        let [embedding, a, b, c, norm, head] = names.map(|name| name.parse::<DeviceId>().expect("a device"));
        let split = Split { embedding: embedding.clone(), layers: vec![a, b, c], norm, head };
        LoadPlan { device: embedding, split: Some(split), ..LoadPlan::new(config, DType::F32, 64) }
    }

    fn route(names: [&str; 6]) -> Route {
        Route::of(&plan(names)).expect("a route")
    }

    #[test]
    fn one_gpu_is_alone() {
        let whole = LoadPlan { split: None, ..plan(["cuda:1"; 6]) };
        let route = Route::of(&whole).expect("a route");
        assert_eq!(route, self::route(["cuda:1"; 6]));
        assert!(route.is_alone() && !route.uses_host());
        assert_eq!((route.tail(), route.gpus.len()), (Some(0), 1));
    }

    #[test]
    fn two_gpus_and_the_host() {
        let two = route(["cuda:0", "cuda:0", "cuda:1", "cuda:1", "cuda:1", "cuda:1"]);
        assert_eq!((two.stretches.len(), two.tail(), two.is_alone()), (2, Some(1), false));
        // A head that is tied to the embedding stays with it.
        let tied = route(["cuda:1", "cuda:1", "cuda:0", "cuda:0", "cuda:0", "cuda:1"]);
        assert_eq!((tied.tail(), tied.head, tied.norm), (None, Place::Gpu(0), Place::Gpu(1)));
        let offloaded = route(["cuda:0", "cuda:0", "cuda:0", "cpu", "cpu", "cpu"]);
        assert!(offloaded.uses_host());
        assert_eq!((offloaded.end(), offloaded.tail()), (Place::Host, None));
        let head = route(["cuda:0", "cuda:0", "cuda:0", "cuda:0", "cuda:0", "cpu"]);
        assert!(head.uses_host() && !head.is_alone());
        assert_eq!((head.end(), head.tail()), (Place::Gpu(0), None));
    }

    #[test]
    fn devices_of_others_are_refused() {
        for (names, says) in [
            (["cpu"; 6], "cpu is not available"),
            (["cuda:0", "cuda:0", "cpu:1", "cpu:1", "cpu:1", "cpu:1"], "cpu:1 is not available"),
            (["wgpu:0"; 6], "wgpu:0 is not available"),
        ] {
            let error = Route::of(&plan(names)).expect_err("refused").to_string();
            assert!(error.starts_with(says), "{error}");
        }
        let mut short = plan(["cuda:0"; 6]);
        short.config.num_hidden_layers = 4;
        assert!(Route::of(&short).is_err());
    }
}
