//! The hub that `/api/events` reads from: numbered events, a ring to replay from, readers that may be slow.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use phi3::api::{Event, EventKind};
use tokio::sync::broadcast;

/// Events kept for readers that come back; a validation of 16 tokens makes about thirty.
const RING: usize = 4096;

/// Most bytes of events that are kept, written as JSON; the newest is kept whatever its size.
const RING_BYTES: usize = 8 << 20;

/// Events that a reader may be behind before it is dropped; the publisher never waits.
const READER_BUFFER: usize = 1024;

/// An event with its JSON, which is written once, however many read it.
#[derive(Debug)]
pub struct Published {
    /// The event.
    pub event: Event,
    /// The same as it goes over the wire.
    pub json: String,
}

impl Published {
    /// Writes an event.
    #[must_use]
    pub fn new(id: u64, kind: EventKind) -> Arc<Self> {
        let event = Event { id, kind };
        let json = serde_json::to_string(&event).unwrap_or_default();
        Arc::new(Self { event, json })
    }
}

/// Publishes events to any number of readers.
#[derive(Debug)]
pub struct Hub {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    next_id: u64,
    ring: VecDeque<Arc<Published>>,
    ring_bytes: usize,
    /// `None` after the shutdown event: streams end.
    sender: Option<broadcast::Sender<Arc<Published>>>,
}

/// What a reader gets: first what it missed, then what comes.
#[derive(Debug)]
pub struct Subscription {
    /// Events to send at once; a single `reset` where those missed are not kept any more.
    pub missed: Vec<Arc<Published>>,
    /// Events to come; closed after `shutdown`.
    pub live: broadcast::Receiver<Arc<Published>>,
}

impl Hub {
    /// A hub whose ids start above those of any server that ended before now.
    #[must_use]
    pub fn new() -> Self {
        // Microseconds since 1970 stay below 2^53 and grow faster than events come, so that an id remembered
        // from an earlier server is never mistaken for one of this.
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::starting_at(u64::try_from(since_1970.as_micros()).unwrap_or(1))
    }

    fn starting_at(next_id: u64) -> Self {
        let (sender, _) = broadcast::channel(READER_BUFFER);
        Self {
            inner: Mutex::new(Inner { next_id, ring: VecDeque::new(), ring_bytes: 0, sender: Some(sender) }),
        }
    }

    /// Publishes an event to everyone; nothing after the shutdown event.
    pub fn publish(&self, kind: EventKind) {
        let mut inner = self.lock();
        let Some(sender) = inner.sender.clone() else { return };
        let is_last = matches!(kind, EventKind::Shutdown);
        let event = Published::new(inner.next_id, kind);
        inner.next_id += 1;
        inner.ring_bytes += event.json.len();
        inner.ring.push_back(Arc::clone(&event));
        while inner.ring.len() > RING || (inner.ring_bytes > RING_BYTES && inner.ring.len() > 1) {
            let dropped = inner.ring.pop_front().map_or(0, |event| event.json.len());
            inner.ring_bytes -= dropped;
        }
        // Nobody listening is no error.
        sender.send(event).ok();
        if is_last {
            inner.sender = None;
        }
    }

    /// Joins; `last_id` is the last event that the reader has seen, `None` for a fresh one.
    #[must_use]
    pub fn subscribe(&self, last_id: Option<u64>) -> Subscription {
        let inner = self.lock();
        let live = match &inner.sender {
            Some(sender) => sender.subscribe(),
            // A receiver whose sender is gone: the stream ends at once.
            None => broadcast::channel(1).1,
        };
        let first_kept = inner.next_id - inner.ring.len() as u64;
        let missed = match last_id {
            None => Vec::new(),
            Some(last) if (first_kept..=inner.next_id).contains(&last.saturating_add(1)) => {
                inner.ring.iter().filter(|published| published.event.id > last).cloned().collect()
            }
            Some(_) => vec![inner.reset()],
        };
        Subscription { missed, live }
    }

    /// Readers that are there now.
    #[must_use]
    pub fn readers(&self) -> usize {
        self.lock().sender.as_ref().map_or(0, broadcast::Sender::receiver_count)
    }

    /// The event that tells a reader to fetch everything anew; resuming after it misses nothing.
    #[must_use]
    pub fn reset(&self) -> Arc<Published> {
        self.lock().reset()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Every change is complete before anything in here can panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn reset(&self) -> Arc<Published> {
        Published::new(self.next_id - 1, EventKind::Reset)
    }
}

impl Default for Hub {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(token: u32) -> EventKind {
        EventKind::Token { attempt_id: 1, token, text: String::new() }
    }

    fn ids(subscription: &Subscription) -> Vec<u64> {
        subscription.missed.iter().map(|published| published.event.id).collect()
    }

    #[test]
    fn a_reader_that_comes_back_misses_nothing() {
        let hub = Hub::starting_at(100);
        for i in 0..5 {
            hub.publish(token(i));
        }
        assert_eq!(ids(&hub.subscribe(Some(101))), [102, 103, 104]);
        assert_eq!(ids(&hub.subscribe(Some(99))), [100, 101, 102, 103, 104]);
        assert!(hub.subscribe(Some(104)).missed.is_empty());
        assert!(hub.subscribe(None).missed.is_empty());
        let mut subscription = hub.subscribe(Some(104));
        hub.publish(token(9));
        assert_eq!(subscription.live.try_recv().expect("published").event.id, 105);
    }

    #[test]
    fn an_id_that_is_not_kept_resets() {
        let hub = Hub::starting_at(100);
        for i in 0..RING as u32 + 10 {
            hub.publish(token(i));
        }
        for foreign in [0, 50, 108, 1_000_000, u64::MAX - 1] {
            let subscription = hub.subscribe(Some(foreign));
            assert_eq!(subscription.missed.len(), 1, "{foreign}");
            assert_eq!(subscription.missed[0].event.kind, EventKind::Reset);
            // Resuming after the reset continues without another.
            assert!(hub.subscribe(Some(subscription.missed[0].event.id)).missed.is_empty());
        }
        assert_eq!(hub.subscribe(Some(109)).missed.len(), RING);
    }

    #[test]
    fn large_events_are_kept_by_their_bytes() {
        let hub = Hub::starting_at(1);
        let text = "x".repeat(RING_BYTES / 4);
        for _ in 0..10 {
            hub.publish(EventKind::Token { attempt_id: 1, token: 1, text: text.clone() });
        }
        let kept = hub.lock().ring.len();
        assert_eq!(kept, 3);
        assert_eq!(ids(&hub.subscribe(Some(7))), [8, 9, 10]);
        assert_eq!(hub.subscribe(Some(5)).missed[0].event.kind, EventKind::Reset);
    }

    #[test]
    fn a_slow_reader_lags_and_the_publisher_does_not_wait() {
        let hub = Hub::starting_at(1);
        let mut slow = hub.subscribe(None).live;
        for i in 0..READER_BUFFER as u32 + 1 {
            hub.publish(token(i));
        }
        assert!(matches!(slow.try_recv(), Err(broadcast::error::TryRecvError::Lagged(1))));
    }

    #[test]
    fn shutdown_is_the_last_event() {
        let hub = Hub::starting_at(1);
        let mut live = hub.subscribe(None).live;
        hub.publish(EventKind::Shutdown);
        hub.publish(token(1));
        assert_eq!(live.try_recv().expect("published").event.kind, EventKind::Shutdown);
        assert!(matches!(live.try_recv(), Err(broadcast::error::TryRecvError::Closed)));
        let mut late = hub.subscribe(None).live;
        assert!(matches!(late.try_recv(), Err(broadcast::error::TryRecvError::Closed)));
    }
}
