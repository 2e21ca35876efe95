//! `GET /api/events`: what happens on the server, as it happens.

use phi3::api::Event;

use crate::platform::stream::{self, Stream};

/// SSE names of [`phi3::api::EventKind`].
const NAMES: [&str; 7] = ["attempt", "progress", "token", "report", "ladder", "reset", "shutdown"];

/// What a listener is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// The stream is open: from here on nothing is missed. Comes again after each reconnection.
    Open,
    /// Something happened.
    Event(Box<Event>),
    /// The connection broke; the browser tries again by itself and asks for what it missed.
    Broken,
}

/// An open stream of events; dropping it closes it.
pub struct Events {
    _stream: Stream,
}

impl Events {
    /// Opens the stream; `None` where the browser cannot.
    pub fn open(mut hear: impl FnMut(Heard) + 'static) -> Option<Self> {
        let stream = Stream::open("api/events", &NAMES, move |said| match said {
            stream::Said::Open => hear(Heard::Open),
            stream::Said::Broken => {
                super::doubt();
                hear(Heard::Broken);
            }
            // An event of a newer server that this page does not know is none of its business.
            stream::Said::Message(data) => {
                if let Ok(event) = serde_json::from_str(&data) {
                    hear(Heard::Event(Box::new(event)));
                }
            }
        })?;
        Some(Self { _stream: stream })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use phi3::api::EventKind;
    use wasm_bindgen_test::wasm_bindgen_test;

    /// A kind of event that is not listened to would be lost without a word.
    #[wasm_bindgen_test(unsupported = test)]
    fn every_kind_is_listened_to() {
        let kinds = [
            EventKind::Token { attempt_id: 1, token: 2, text: String::new() },
            EventKind::Reset,
            EventKind::Shutdown,
        ];
        assert!(kinds.iter().all(|kind| NAMES.contains(&kind.name())));
        let json = r#"{"id":7,"type":"token","attempt_id":1,"token":2,"text":"x"}"#;
        let event: Event = serde_json::from_str(json).expect("the server's words");
        assert_eq!(event.kind.name(), "token");
    }
}
