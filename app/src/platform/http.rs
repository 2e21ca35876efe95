//! Requests, as `fetch` makes them: to addresses relative to the page.

use js_sys::{Object, Promise, Reflect};
use leptos::prelude::window;
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{RequestInit, Response};

use super::body::{Abort, Body};

/// An answer whose body is still to come.
pub struct Answer(Response);

impl Answer {
    /// Its status code.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.0.status()
    }

    /// Its whole body; `None` where the connection broke off.
    pub async fn text(self) -> Option<String> {
        JsFuture::from(self.0.text().ok()?).await.ok()?.as_string()
    }

    /// Its body as it comes.
    #[must_use]
    pub fn body(&self) -> Option<Body> {
        Body::new(&self.0.body()?)
    }
}

/// Asks for something; `None` where nobody answers: a browser tells no page why.
pub async fn get(path: &str) -> Option<Answer> {
    answer(window().fetch_with_str(path)).await
}

/// Sends something, JSON where there is any, until it is ended.
pub async fn send(method: &str, path: &str, json: Option<&str>, until: Option<&Abort>) -> Option<Answer> {
    let request = RequestInit::new();
    request.set_method(method);
    if let Some(json) = json {
        let headers = Object::new();
        Reflect::set(&headers, &JsValue::from_str("content-type"), &JsValue::from_str("application/json"))
            .ok()?;
        request.set_headers(&headers);
        request.set_body(&JsValue::from_str(json));
    }
    request.set_signal(until.map(Abort::signal).as_ref());
    answer(window().fetch_with_str_and_init(path, &request)).await
}

async fn answer(asked: Promise) -> Option<Answer> {
    JsFuture::from(asked).await.ok()?.dyn_into().ok().map(Answer)
}
