//! The devices of the server's machine with what is free on them now, as places for the load that is estimated.

use std::time::Duration;

use leptos::prelude::*;
use leptos::task::spawn_local;
use phi3::estimate::Backend;
use serde_json::Value;

use super::{Presence, ServerWatch};
use crate::api;
use crate::platform::page;

/// Pause between two questions.
const PAUSE: Duration = Duration::from_secs(5);
/// The same where the server tells nothing: each refusal stands on the browser's console.
const WHILE_REFUSED: Duration = Duration::from_secs(30);

/// A device that a load can be held against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// How it is asked for: `cuda:0`.
    pub device: String,
    /// What its maker calls it.
    pub name: String,
    /// What drives it.
    pub backend: Backend,
    /// Memory that can be had now.
    pub free_bytes: u64,
    /// Who told: `nvml`.
    pub source: String,
}

impl Place {
    /// Of a [`phi3::api::DeviceNow`] as it is told, one whose free memory somebody tells and whose backend is known. Five
    /// fields are all that the first program asks of it: reading the whole would be a hundredth of that program.
    fn new(now: &Value) -> Option<Self> {
        let text = |key: &str| now[key].as_str().map(str::to_owned);
        let device = text("device")?;
        let backend = device.split(':').next()?.parse().ok()?;
        let free_bytes = now["free_bytes"].as_u64()?;
        Some(Self { device, backend, free_bytes, name: text("name")?, source: text("source")? })
    }

    /// Its free memory as it stands in the field: in hundredths of a GiB, rounded down to what there is.
    #[must_use]
    pub fn memory(&self) -> String {
        let hundredths = (u128::from(self.free_bytes) * 100) >> 30;
        format!("{}.{:02} GiB", hundredths / 100, hundredths % 100)
    }
}

/// Devices that a load can be held against: GPUs first, as the server orders them.
fn places(devices: &[Value]) -> Vec<Place> {
    let mut places: Vec<_> = devices.iter().filter_map(Place::new).collect();
    places.sort_by_key(|place| place.backend == Backend::Cpu);
    places
}

/// Whether there is something to tell: other devices, or a hundredth more or less of what was free. The memory of a host
/// trembles all the time, and a list that is drawn anew closes under the hand that chooses from it.
fn is_news(before: &[Place], now: &[Place]) -> bool {
    let is_same = |(before, now): (&Place, &Place)| {
        before.device == now.device
            && before.name == now.name
            && before.free_bytes.abs_diff(now.free_bytes) <= before.free_bytes / 100
    };
    before.len() != now.len() || !before.iter().zip(now).all(is_same)
}

/// Handle to them.
#[derive(Clone, Copy)]
pub struct Live {
    /// As the server told them last; none where there is no server.
    pub places: RwSignal<Vec<Place>>,
    /// The one that was chosen, and what stood in the field of its memory then.
    pub chosen: RwSignal<Option<(String, String)>>,
    round: StoredValue<u32>,
}

impl Live {
    /// Asks a server that is there, again and again while the page is to be seen.
    #[must_use]
    pub fn follow(watch: ServerWatch) -> Self {
        let live = Self {
            places: RwSignal::new(Vec::new()),
            chosen: RwSignal::new(None),
            round: StoredValue::new(0),
        };
        Effect::new(move |_| match watch.presence.get() {
            Presence::Present => live.look(watch),
            Presence::Absent | Presence::Lost => live.places.set(Vec::new()),
            Presence::Checking => {}
        });
        live
    }

    /// The devices of this program.
    #[must_use]
    pub fn here() -> Self {
        expect_context()
    }

    fn look(self, watch: ServerWatch) {
        // Of two rounds, as after a server that was lost for a moment, the newer goes on.
        let round = self.round.with_value(|round| round + 1);
        self.round.set_value(round);
        self.ask(watch, round);
    }

    fn ask(self, watch: ServerWatch, round: u32) {
        spawn_local(async move {
            let mut pause = PAUSE;
            if !page::is_hidden() {
                // A server that asks for a token tells nothing, and the page goes without.
                let told = match api::device_list().await {
                    Ok(devices) => places(&devices),
                    Err(_refused) => {
                        pause = WHILE_REFUSED;
                        Vec::new()
                    }
                };
                match self.places.try_with_untracked(|before| is_news(before, &told)) {
                    None => return,
                    Some(true) => self.places.set(told),
                    Some(false) => {}
                }
            }
            let again = move || {
                if self.round.try_get_value() == Some(round)
                    && watch.presence.try_get_untracked() == Some(Presence::Present)
                {
                    self.ask(watch, round);
                }
            };
            set_timeout(again, pause);
        });
    }

    /// The device that was chosen, as long as the field of its memory says what it said then.
    #[must_use]
    pub fn shown(self, memory: &str) -> Option<String> {
        self.chosen.with(|chosen| {
            chosen.as_ref().filter(|(_, then)| then == memory).map(|(device, _)| device.clone())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use phi3::api::DeviceNow;
    use wasm_bindgen_test::wasm_bindgen_test;

    /// As the server writes it.
    fn told(device: &str, free_bytes: Option<u64>) -> Value {
        let now = DeviceNow {
            device: device.to_owned(),
            name: "A device".to_owned(),
            driver: None,
            total_bytes: None,
            free_bytes,
            used_bytes: None,
            holders: Vec::new(),
            source: "nvml".to_owned(),
            fault: None,
        };
        serde_json::to_value(now).expect("JSON")
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn places_have_free_memory_and_a_backend() {
        let devices = vec![
            told("cpu", Some(1 << 30)),
            told("wgpu:0", None),
            told("cuda:0", Some(0)),
            told("npu:0", Some(1)),
        ];
        let found: Vec<_> = places(&devices).into_iter().map(|place| (place.device, place.backend)).collect();
        assert_eq!(found, [("cuda:0".to_owned(), Backend::Cuda), ("cpu".to_owned(), Backend::Cpu)]);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_trembles_is_no_news() {
        let at = |free| places(&[told("cpu", Some(free))]);
        assert!(
            !is_news(&at(1000), &at(1010)) && is_news(&at(1000), &at(1011)) && is_news(&at(1000), &at(900))
        );
        assert!(is_news(&[], &at(1)) && is_news(&at(1), &[]) && !is_news(&[], &[]));
    }

    /// What the field says is never more than there is, and the field reads it.
    #[wasm_bindgen_test(unsupported = test)]
    fn memory_is_rounded_down_and_can_be_read() {
        for free in [0, 1, (1 << 30) - 1, 75_289_874_432, u64::MAX >> 1] {
            let place = Place::new(&told("cuda:1", Some(free))).expect("a place");
            let read = phi3::units::parse_size(&place.memory()).expect("a size");
            assert!(read <= free && free - read < 1 << 24, "{free}: {}", place.memory());
        }
    }
}
