//! The engines in their worker: the page's one handle to them.

use std::cell::RefCell;
use std::rc::Rc;

use js_sys::{Array, Object, Reflect};
use phi3::api::{BrowserEvent, BrowserRun, ErrorObject, KeptTask};
use serde::Serialize;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast as _, JsValue};
use web_sys::{Event, MessageEvent, Worker, WorkerOptions, WorkerType};

use super::files::Picked;

/// What starts them, beside the page.
const SCRIPT: &str = "engine-start.js";
/// What they say first, once they hear.
const READY: &str = "ready";

/// What waits for them, or word that they wait.
#[derive(Default)]
struct Waiting {
    is_ready: bool,
    /// A run, or until there is one, its rehearsal.
    asked: Option<JsValue>,
}

/// A worker with the engines in it, for one run. Dropping it ends the worker, whatever it is doing, and all its memory
/// is back.
pub struct Engines {
    worker: Worker,
    waiting: Rc<RefCell<Waiting>>,
    _heard: Closure<dyn FnMut(MessageEvent)>,
    _failed: Closure<dyn FnMut(Event)>,
}

impl Engines {
    /// Has them fetched and started; `heard` gets all that they say. Never call back into the handle's drop from it:
    /// it is what runs.
    ///
    /// # Errors
    /// A browser that has no workers.
    pub fn start(heard: impl Fn(BrowserEvent) + 'static) -> Result<Self, ErrorObject> {
        let options = WorkerOptions::new();
        options.set_type(WorkerType::Module);
        let worker = Worker::new_with_options(SCRIPT, &options)
            .map_err(|error| stopped(&format!("this browser starts no worker: {error:?}")))?;
        let waiting = Rc::new(RefCell::new(Waiting::default()));
        let heard = Rc::new(heard);
        let on_message = {
            let (worker, waiting, heard) = (worker.clone(), Rc::clone(&waiting), Rc::clone(&heard));
            Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
                let text = event.data().as_string().unwrap_or_default();
                if text == READY {
                    let asked = {
                        let mut waiting = waiting.borrow_mut();
                        waiting.is_ready = true;
                        waiting.asked.take()
                    };
                    if let Some(Err(error)) = asked.map(|asked| worker.post_message(&asked)) {
                        heard(failed(&format!("the files could not be handed over: {error:?}")));
                    }
                    return;
                }
                heard(serde_json::from_str(&text).unwrap_or_else(|error| {
                    // A page and a worker of two builds, where only one of them came from the cache.
                    failed(&format!("they said what this page does not understand ({error}): reload it"))
                }));
            })
        };
        let on_error = Closure::<dyn FnMut(Event)>::new(move |event: Event| {
            let said = Reflect::get(&event, &JsValue::from_str("message")).ok();
            let said = said.and_then(|text| text.as_string()).filter(|text| !text.is_empty());
            heard(failed(
                &said.unwrap_or_else(|| format!("{SCRIPT} beside this page could not be fetched or started")),
            ));
        });
        worker.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        worker.set_onerror(Some(on_error.as_ref().unchecked_ref()));
        Ok(Self { worker, waiting, _heard: on_message, _failed: on_error })
    }

    /// Has them run, at once or as soon as they hear. `files` are the person's; only handles go over, no bytes.
    ///
    /// # Errors
    /// What the browser refuses to hand over.
    pub fn run(&self, run: &BrowserRun, files: &[Picked]) -> Result<(), ErrorObject> {
        self.ask(&[("run", json(run)), ("files", handles(files))])
    }

    /// Has them copy or verify a model that this browser keeps; `files` are those to be copied.
    ///
    /// # Errors
    /// What the browser refuses to hand over.
    pub fn keep(&self, task: &KeptTask, files: &[Picked]) -> Result<(), ErrorObject> {
        self.ask(&[("kept", json(task)), ("files", handles(files))])
    }

    /// Has them rehearse a run of files that need no person, so that it starts faster when it is asked for.
    ///
    /// # Errors
    /// What the browser refuses to hand over.
    pub fn rehearse(&self, run: &BrowserRun) -> Result<(), ErrorObject> {
        self.ask(&[("rehearse", json(run))])
    }

    fn ask(&self, parts: &[(&str, JsValue)]) -> Result<(), ErrorObject> {
        let refused = |error: JsValue| stopped(&format!("the files could not be handed over: {error:?}"));
        let message = Object::new();
        for (name, part) in parts {
            Reflect::set(&message, &JsValue::from_str(name), part).map_err(refused)?;
        }
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_ready {
            return self.worker.post_message(&message).map_err(refused);
        }
        waiting.asked = Some(message.into());
        Ok(())
    }
}

fn json(asked: &impl Serialize) -> JsValue {
    JsValue::from_str(&serde_json::to_string(asked).unwrap_or_default())
}

fn handles(files: &[Picked]) -> JsValue {
    files.iter().map(Picked::handle).collect::<Array>().into()
}

impl Drop for Engines {
    fn drop(&mut self) {
        self.worker.set_onmessage(None);
        self.worker.set_onerror(None);
        self.worker.terminate();
    }
}

fn stopped(why: &str) -> ErrorObject {
    ErrorObject::new("engine_stopped", why)
}

fn failed(why: &str) -> BrowserEvent {
    BrowserEvent::Failed { error: stopped(why) }
}
