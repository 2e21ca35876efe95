//! Hands: this very program in workers of its own, as threads of the CPU engine. They share no memory with it but a board.

use std::cell::RefCell;

use js_sys::{Int32Array, JsString, Object, Promise, SharedArrayBuffer, Uint8Array};
use phi3::candle_engine::team::{Board, lost};
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{MessageEvent, Worker, WorkerOptions, WorkerType};

use super::{READY, is_isolated, scope, set, words};

// Not as js-sys has them: these are called for every product of every token, and what they refuse here is a mistake.
#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = Atomics)]
    fn load(words: &Int32Array, index: u32) -> i32;
    #[wasm_bindgen(js_namespace = Atomics)]
    fn store(words: &Int32Array, index: u32, value: i32);
    #[wasm_bindgen(js_namespace = Atomics)]
    fn notify(words: &Int32Array, index: u32);
    #[wasm_bindgen(js_namespace = Atomics)]
    fn wait(words: &Int32Array, index: u32, value: i32, most_ms: f64) -> JsString;
}

thread_local! {
    /// The browser's objects of each board: a [`Board`] goes from thread to thread on the host, which they cannot.
    static BOARDS: RefCell<Vec<Option<Views>>> = const { RefCell::new(Vec::new()) };
}

struct Views {
    words: Int32Array,
    bytes: Uint8Array,
}

/// A board that lies in a `SharedArrayBuffer`. Its hands are idle once they are told so on it, and end with this worker.
pub(crate) struct SharedBoard {
    index: usize,
    size: usize,
}

impl SharedBoard {
    /// One that another worker made.
    pub(crate) fn new(buffer: &SharedArrayBuffer) -> Self {
        let (words, bytes) = (Int32Array::new(buffer), Uint8Array::new(buffer));
        let size = bytes.length() as usize;
        let views = Some(Views { words, bytes });
        BOARDS.with_borrow_mut(|boards| {
            boards.push(views);
            Self { index: boards.len() - 1, size }
        })
    }

    /// A board of `size` bytes at least, and so many hands that look at it.
    pub(crate) async fn start(size: usize, hands: usize) -> Result<Self, String> {
        if !is_isolated() {
            return Err("the page is not cross-origin isolated".to_owned());
        }
        // Whole words.
        let size = u32::try_from(size.next_multiple_of(8)).map_err(|error| error.to_string())?;
        let buffer = SharedArrayBuffer::new(size);
        let board = Self::new(&buffer);
        let options = WorkerOptions::new();
        options.set_type(WorkerType::Module);
        options.set_name("hand");
        let script = scope().location().href();
        // All of them at once, then each is waited for.
        let mut starting = Vec::new();
        for number in 1..=hands {
            let worker = Worker::new_with_options(&script, &options).map_err(|error| words(&error))?;
            let first = Promise::new(&mut |said, failed| {
                worker.set_onmessage(Some(&said));
                worker.set_onerror(Some(&failed));
            });
            starting.push((number, worker, first));
        }
        for (number, worker, first) in starting {
            let failed = |_| "the browser could not start a thread of the engine".to_owned();
            let first: MessageEvent = JsFuture::from(first).await.map_err(failed)?.unchecked_into();
            if first.data().as_string().as_deref() != Some(READY) {
                return Err(format!("a thread of the engine could not start: {:?}", first.data()));
            }
            // Where the start script writes should the program end: it does not say so itself.
            let (word, value) = lost(number);
            let message = Object::new();
            set(&message, "hand", &JsValue::from_f64(number as f64))?;
            set(&message, "board", &buffer)?;
            set(&message, "lost", &[word as f64, f64::from(value)].map(JsValue::from_f64).to_vec().into())?;
            worker.post_message(&message).map_err(|error| words(&error))?;
        }
        Ok(board)
    }

    fn with<R: Default>(&self, look: impl FnOnce(&Views) -> R) -> R {
        BOARDS.with_borrow(|boards| boards[self.index].as_ref().map(look).unwrap_or_default())
    }

    fn part(&self, at: usize, len: usize) -> Uint8Array {
        BOARDS.with_borrow(|boards| match &boards[self.index] {
            Some(views) => views.bytes.subarray(at as u32, (at + len) as u32),
            None => Uint8Array::new_with_length(0),
        })
    }
}

impl Drop for SharedBoard {
    fn drop(&mut self) {
        BOARDS.with_borrow_mut(|boards| boards[self.index] = None);
    }
}

impl Board for SharedBoard {
    fn size(&self) -> usize {
        self.size
    }

    fn load(&self, word: usize) -> i32 {
        self.with(|views| load(&views.words, word as u32))
    }

    fn store(&self, word: usize, value: i32) {
        self.with(|views| {
            store(&views.words, word as u32, value);
            notify(&views.words, word as u32);
        });
    }

    fn wait(&self, word: usize, value: i32, most_ms: f64) -> bool {
        self.with(|views| wait(&views.words, word as u32, value, most_ms) != "timed-out")
    }

    fn read(&self, at: usize, into: &mut [u8]) {
        self.part(at, into.len()).copy_to(into);
    }

    fn write(&self, at: usize, from: &[u8]) {
        self.part(at, from.len()).copy_from(from);
    }

    fn pages(&self) -> i32 {
        (super::memory_bytes() >> 16) as i32
    }
}
