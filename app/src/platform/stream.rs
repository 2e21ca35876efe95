//! Server-sent events.

use std::cell::RefCell;
use std::rc::Rc;

use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{EventSource, MessageEvent};

/// What a stream says.
pub enum Said {
    /// It is open.
    Open,
    /// The data of a message.
    Message(String),
    /// The connection broke; the browser tries again.
    Broken,
}

/// An open stream; dropping it closes it.
pub struct Stream {
    source: EventSource,
    // The browser calls these as long as the stream lives.
    _on_open: Closure<dyn FnMut(JsValue)>,
    _on_error: Closure<dyn FnMut(JsValue)>,
    _on_message: Closure<dyn FnMut(MessageEvent)>,
}

impl Stream {
    /// Opens `url` and listens to messages of these names; `None` where the browser cannot.
    pub fn open(url: &str, names: &[&str], hear: impl FnMut(Said) + 'static) -> Option<Self> {
        let source = EventSource::new(url).ok()?;
        let hear = Rc::new(RefCell::new(hear));
        let tell = |said: fn() -> Said| {
            let hear = Rc::clone(&hear);
            Closure::<dyn FnMut(JsValue)>::new(move |_| (hear.borrow_mut())(said()))
        };
        let on_open = tell(|| Said::Open);
        let on_error = tell(|| Said::Broken);
        let on_message = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
            (hear.borrow_mut())(Said::Message(event.data().as_string().unwrap_or_default()));
        });
        source.set_onopen(Some(on_open.as_ref().unchecked_ref()));
        source.set_onerror(Some(on_error.as_ref().unchecked_ref()));
        for name in names {
            source.add_event_listener_with_callback(name, on_message.as_ref().unchecked_ref()).ok()?;
        }
        Some(Self { source, _on_open: on_open, _on_error: on_error, _on_message: on_message })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.source.close();
    }
}
