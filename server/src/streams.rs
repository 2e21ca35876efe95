//! Streams of one request on a loaded model.

use phi3::api::{ErrorObject, Generate, StreamEvent};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::loaded::unloaded;

/// What a worker's keeper is asked about streams.
#[derive(Debug)]
pub(crate) enum StreamCall {
    /// Begin one; its events go to `events`, each with `index`.
    Begin {
        /// Its id among all of the worker's.
        id: u64,
        /// Its place in the request.
        index: usize,
        asked: Box<Generate>,
        events: mpsc::UnboundedSender<(usize, StreamEvent)>,
    },
    /// End one: whoever asked has gone.
    Stop(u64),
}

/// The streams of a request. Dropping it ends those that still run, before their next token.
#[derive(Debug)]
pub struct Streams {
    // As many as tokens were asked for and no more: a slow reader holds up neither the worker nor anyone else.
    events: mpsc::UnboundedReceiver<(usize, StreamEvent)>,
    running: Vec<u64>,
    calls: mpsc::UnboundedSender<StreamCall>,
    /// Streams that have not ended.
    left: usize,
    /// Their places, no more than can run at once.
    places: OwnedSemaphorePermit,
}

impl Streams {
    pub(crate) fn begin(
        model: &str,
        first_id: u64,
        asked: Vec<Generate>,
        calls: mpsc::UnboundedSender<StreamCall>,
        places: OwnedSemaphorePermit,
    ) -> Result<Self, ErrorObject> {
        let (sender, events) = mpsc::unbounded_channel();
        let mut running = Vec::new();
        for (index, (id, mut asked)) in (first_id..).zip(asked).enumerate() {
            (asked.id, asked.request) = (id, first_id);
            let begin = StreamCall::Begin { id, index, asked: Box::new(asked), events: sender.clone() };
            calls.send(begin).map_err(|_closed| unloaded(model))?;
            running.push(id);
        }
        Ok(Self { events, left: running.len(), running, calls, places })
    }

    /// The next event of any of them; `None` where the model was unloaded.
    pub async fn next(&mut self) -> Option<(usize, StreamEvent)> {
        let event = self.events.recv().await?;
        if event.1.is_last() {
            self.left = self.left.saturating_sub(1);
            // Others need not wait for the slowest: each stream that ends leaves its place.
            drop(self.places.split(self.places.num_permits().saturating_sub(self.left)));
        }
        Some(event)
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        // The worker knows which of them have ended by themselves.
        for id in &self.running {
            self.calls.send(StreamCall::Stop(*id)).ok();
        }
    }
}
