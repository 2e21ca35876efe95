//! The two directions: a thread that listens, a thread that gives signs of life, and a lock to speak through.

use std::fs::File;
use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use phi3::api::ErrorObject;
use phi3::api::worker::{self, FrameError, Message, PROTOCOL_VERSION, Request};

const HEARTBEAT: Duration = Duration::from_secs(1);

/// The link to whoever started this worker.
pub(crate) struct Link {
    messages: Arc<Mutex<File>>,
    requests: Receiver<Request>,
    cancelled: Arc<AtomicBool>,
}

impl Link {
    /// Greets, and starts to listen.
    ///
    /// # Errors
    /// Nobody is there.
    pub(crate) fn open(messages: File) -> io::Result<Self> {
        let messages = Arc::new(Mutex::new(messages));
        let cancelled = Arc::new(AtomicBool::new(false));
        let hello =
            Message::Hello { protocol: PROTOCOL_VERSION, build: env!("CARGO_PKG_VERSION").to_owned() };
        write(&messages, &hello)?;

        let alive = Arc::clone(&messages);
        thread::Builder::new().name("heartbeat".to_owned()).spawn(move || {
            loop {
                thread::sleep(HEARTBEAT);
                if write(&alive, &Message::Heartbeat).is_err() {
                    process::exit(0);
                }
            }
        })?;

        let (sender, requests) = channel();
        let flag = Arc::clone(&cancelled);
        thread::Builder::new().name("listen".to_owned()).spawn(move || {
            let mut stdin = io::stdin().lock();
            loop {
                match worker::read(&mut stdin) {
                    Ok(Some(Request::Cancel)) => flag.store(true, Ordering::Relaxed),
                    // Nothing is kept that would have to be put away first.
                    Ok(Some(Request::Shutdown) | None) => process::exit(0),
                    Ok(Some(request)) => {
                        if sender.send(request).is_err() {
                            process::exit(0);
                        }
                    }
                    Err(error) => {
                        writeln!(io::stderr(), "a request cannot be read: {error}").ok();
                        process::exit(2);
                    }
                }
            }
        })?;
        Ok(Self { messages, requests, cancelled })
    }

    /// The next request; `None` where there will be none.
    pub(crate) fn next(&self) -> Option<Request> {
        let request = self.requests.recv().ok();
        // A cancel that came too late was meant for the request before.
        self.cancelled.store(false, Ordering::Relaxed);
        request
    }

    /// A request that has come already.
    pub(crate) fn poll(&self) -> Option<Request> {
        let request = self.requests.try_recv().ok()?;
        self.cancelled.store(false, Ordering::Relaxed);
        Some(request)
    }

    /// Says something. One that nobody hears ends the process.
    pub(crate) fn say(&self, message: &Message) {
        if write(&self.messages, message).is_err() {
            process::exit(0);
        }
    }

    /// Whether to go on.
    pub(crate) fn flow(&self) -> ControlFlow<()> {
        if self.cancelled.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

fn write(messages: &Mutex<File>, message: &Message) -> io::Result<()> {
    let frame = match worker::encode(message) {
        Ok(frame) => frame,
        Err(FrameError::Io(error)) => return Err(error),
        // Too large to be said: that is the answer then.
        Err(error) => {
            let error = Message::Error(ErrorObject::new("internal", error.to_string()));
            worker::encode(&error).map_err(io::Error::other)?
        }
    };
    messages.lock().unwrap_or_else(PoisonError::into_inner).write_all(&frame)
}
