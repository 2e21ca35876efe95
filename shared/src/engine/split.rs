//! A model on several devices.

use std::ops::Range;

use crate::placement::DeviceId;
use crate::tensors::Role;

/// Where the parts of a model go that is on several devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// The embedding.
    pub embedding: DeviceId,
    /// Each decoder layer, with its cache.
    pub layers: Vec<DeviceId>,
    /// The last norm.
    pub norm: DeviceId,
    /// The head.
    pub head: DeviceId,
}

/// What one device does of a pass before the residual stream goes to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// Which.
    pub device: DeviceId,
    /// Whether it begins with token ids.
    pub embeds: bool,
    /// Its decoder layers, none where it only embeds.
    pub layers: Range<usize>,
}

impl Split {
    /// All of a model on one device.
    #[must_use]
    pub fn whole(device: &DeviceId, layers: usize) -> Self {
        let [embedding, norm, head] = [(); 3].map(|()| device.clone());
        Self { embedding, layers: vec![device.clone(); layers], norm, head }
    }

    /// Every device that it names, each once, in the order of computation.
    #[must_use]
    pub fn devices(&self) -> Vec<&DeviceId> {
        let mut devices = Vec::new();
        for device in std::iter::once(&self.embedding).chain(&self.layers).chain([&self.norm, &self.head]) {
            if !devices.contains(&device) {
                devices.push(device);
            }
        }
        devices
    }

    /// The device of a tensor; `None` of a layer that the model lacks.
    #[must_use]
    pub fn device_of(&self, role: Role, layer: Option<usize>) -> Option<&DeviceId> {
        match (layer, role) {
            (Some(layer), _) => self.layers.get(layer),
            (None, Role::Embedding) => Some(&self.embedding),
            (None, Role::LmHead) => Some(&self.head),
            (None, _) => Some(&self.norm),
        }
    }

    /// From token ids to the residual stream behind the last layer, in order.
    #[must_use]
    pub fn stretches(&self) -> Vec<Stretch> {
        let mut stretches = vec![Stretch { device: self.embedding.clone(), embeds: true, layers: 0..0 }];
        for (layer, device) in self.layers.iter().enumerate() {
            match stretches.last_mut().filter(|last| last.device == *device) {
                Some(last) => last.layers.end = layer + 1,
                None => stretches.push(Stretch {
                    device: device.clone(),
                    embeds: false,
                    layers: layer..layer + 1,
                }),
            }
        }
        stretches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(names: [&str; 6]) -> Split {
        let [embedding, a, b, c, norm, head] = names.map(|name| name.parse().expect("a device"));
        Split { embedding, layers: vec![a, b, c], norm, head }
    }

    fn stretches(split: &Split) -> Vec<(String, bool, Range<usize>)> {
        let told = |stretch: Stretch| (stretch.device.to_string(), stretch.embeds, stretch.layers);
        split.stretches().into_iter().map(told).collect()
    }

    #[test]
    fn a_stretch_ends_where_the_device_changes() {
        let whole = Split::whole(&"cuda:0".parse().expect("a device"), 3);
        assert_eq!(stretches(&whole), [("cuda:0".to_owned(), true, 0..3)]);
        let two = split(["cuda:0", "cuda:0", "cuda:1", "cuda:1", "cuda:1", "cuda:1"]);
        assert_eq!(stretches(&two), [("cuda:0".to_owned(), true, 0..1), ("cuda:1".to_owned(), false, 1..3)]);
        let back = split(["cpu", "cuda:0", "cpu", "cuda:0", "cuda:0", "cpu"]);
        assert_eq!(
            stretches(&back),
            [
                ("cpu".to_owned(), true, 0..0),
                ("cuda:0".to_owned(), false, 0..1),
                ("cpu".to_owned(), false, 1..2),
                ("cuda:0".to_owned(), false, 2..3)
            ]
        );
    }

    #[test]
    fn devices_and_tensors() {
        let back = split(["cpu", "cuda:1", "cuda:0", "cuda:1", "cuda:0", "cpu"]);
        let names: Vec<String> = back.devices().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["cpu", "cuda:1", "cuda:0"]);
        let of = |role, layer| back.device_of(role, layer).map(ToString::to_string);
        assert_eq!(of(Role::Embedding, None).as_deref(), Some("cpu"));
        assert_eq!(of(Role::DownProj, Some(1)).as_deref(), Some("cuda:0"));
        assert_eq!(of(Role::FinalNorm, None).as_deref(), Some("cuda:0"));
        assert_eq!(of(Role::LmHead, None).as_deref(), Some("cpu"));
        assert_eq!(of(Role::InputNorm, Some(3)), None);
    }
}
