//! An answer's body as it comes, and the end of a request before its answer's.

use js_sys::Reflect;
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortController, AbortSignal, ReadableStream, ReadableStreamDefaultReader};

/// The body of an answer, piece by piece.
pub struct Body {
    reader: ReadableStreamDefaultReader,
}

impl Body {
    /// A body that nobody reads yet; `None` where another reader has it.
    #[must_use]
    pub fn new(stream: &ReadableStream) -> Option<Self> {
        Some(Self { reader: ReadableStreamDefaultReader::new(stream).ok()? })
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// Why the connection broke, in the browser's words.
    pub async fn next(&self) -> Result<Option<Vec<u8>>, String> {
        let why = |error: JsValue| {
            let message = Reflect::get(&error, &JsValue::from_str("message")).ok();
            message.and_then(|m| m.as_string()).unwrap_or_else(|| "the connection broke".to_owned())
        };
        let piece = JsFuture::from(self.reader.read()).await.map_err(why)?;
        let value = Reflect::get(&piece, &JsValue::from_str("value")).map_err(why)?;
        Ok(value.dyn_into::<js_sys::Uint8Array>().ok().map(|bytes| bytes.to_vec()))
    }
}

/// Ends a request: the server sees its client leave.
#[derive(Clone)]
pub struct Abort {
    controller: AbortController,
}

impl Abort {
    /// For one request; `None` where the browser has no such thing.
    #[must_use]
    pub fn new() -> Option<Self> {
        Some(Self { controller: AbortController::new().ok()? })
    }

    /// What the request is sent with.
    #[must_use]
    pub fn signal(&self) -> AbortSignal {
        self.controller.signal()
    }

    /// Ends it.
    pub fn abort(&self) {
        self.controller.abort();
    }

    /// Whether it was ended.
    #[must_use]
    pub fn is_aborted(&self) -> bool {
        self.controller.signal().aborted()
    }
}
