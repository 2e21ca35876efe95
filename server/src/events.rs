//! The hub that `/api/events` reads from: numbered events, a ring to replay from, readers that may be slow.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{SystemTime, UNIX_EPOCH};

use phi3::api::{Event, EventKind};
use tokio::sync::watch;
use tokio_stream::Stream;
use tokio_stream::wrappers::WatchStream;

/// Events kept for readers that come back or are slow; a validation of 16 tokens makes about thirty. One that is further
/// behind is dropped: the publisher never waits.
const RING: usize = 4096;

/// Most bytes of events that are kept, written as JSON, however many readers are slow; the newest is kept whatever its size.
const RING_BYTES: usize = 8 << 20;

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
    /// Wakes readers; `None` after the shutdown event: streams end.
    news: Option<watch::Sender<()>>,
}

/// The events after the last that a reader has seen, as they come; ends after `shutdown`. A reader that is too slow for
/// the ring gets a `reset` as its last: it holds no event itself, so that many of them cost nothing.
#[derive(Debug)]
pub struct Subscription {
    hub: Arc<Hub>,
    seen: u64,
    news: WatchStream<()>,
    /// Events that it has seen are not kept any more, from the beginning on.
    is_reset: bool,
    is_over: bool,
}

impl Subscription {
    /// The `reset` of a reader whose events are not kept any more; what comes then is what was published after it.
    #[must_use]
    pub fn reset(&self) -> Option<Arc<Published>> {
        self.is_reset.then(|| Published::new(self.seen, EventKind::Reset))
    }
}

impl Stream for Subscription {
    type Item = Arc<Published>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while !self.is_over {
            let after = self.hub.lock().after(self.seen);
            match after {
                After::Next(event) => {
                    self.seen = event.event.id;
                    return Poll::Ready(Some(event));
                }
                After::Dropped(reset) => {
                    self.is_over = true;
                    return Poll::Ready(Some(reset));
                }
                After::Nothing => {}
            }
            // What is published since the look has woken it already.
            if ready!(Pin::new(&mut self.news).poll_next(context)).is_none() {
                self.is_over = true;
            }
        }
        Poll::Ready(None)
    }
}

/// What comes after an event.
enum After {
    Next(Arc<Published>),
    /// It is not kept any more.
    Dropped(Arc<Published>),
    Nothing,
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
        let news = Some(watch::Sender::new(()));
        Self { inner: Mutex::new(Inner { next_id, ring: VecDeque::new(), ring_bytes: 0, news }) }
    }

    /// Publishes an event to everyone; nothing after the shutdown event.
    pub fn publish(&self, kind: EventKind) {
        let mut inner = self.lock();
        if inner.news.is_none() {
            return;
        }
        let is_last = matches!(kind, EventKind::Shutdown);
        let event = Published::new(inner.next_id, kind);
        inner.next_id += 1;
        inner.ring_bytes += event.json.len();
        inner.ring.push_back(event);
        while inner.ring.len() > RING || (inner.ring_bytes > RING_BYTES && inner.ring.len() > 1) {
            let dropped = inner.ring.pop_front().map_or(0, |event| event.json.len());
            inner.ring_bytes -= dropped;
        }
        if let Some(news) = &inner.news {
            // Nobody listening is no error.
            news.send(()).ok();
        }
        if is_last {
            inner.news = None;
        }
    }

    /// Joins; `last_id` is the last event that the reader has seen, `None` for a fresh one.
    #[must_use]
    pub fn subscribe(self: &Arc<Self>, last_id: Option<u64>) -> Subscription {
        let inner = self.lock();
        let news = match &inner.news {
            Some(news) => news.subscribe(),
            // A receiver whose sender is gone: the stream ends with what is kept.
            None => watch::channel(()).1,
        };
        // Who comes when all is over is told so.
        let newest = inner.next_id - 1 - u64::from(inner.news.is_none());
        let is_kept = |last: &u64| (inner.first_kept()..=inner.next_id).contains(&last.saturating_add(1));
        let seen = last_id.filter(is_kept);
        Subscription {
            hub: Arc::clone(self),
            seen: seen.unwrap_or(newest),
            news: WatchStream::from_changes(news),
            is_reset: seen != last_id,
            is_over: false,
        }
    }

    /// Readers that are there now.
    #[must_use]
    pub fn readers(&self) -> usize {
        self.lock().news.as_ref().map_or(0, watch::Sender::receiver_count)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Every change is complete before anything in here can panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn first_kept(&self) -> u64 {
        self.next_id - self.ring.len() as u64
    }

    fn after(&self, seen: u64) -> After {
        match (seen + 1).checked_sub(self.first_kept()) {
            Some(at) => match usize::try_from(at).ok().and_then(|at| self.ring.get(at)) {
                Some(event) => After::Next(Arc::clone(event)),
                None => After::Nothing,
            },
            // Resuming after the reset misses nothing more.
            None => After::Dropped(Published::new(self.next_id - 1, EventKind::Reset)),
        }
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

    /// What a reader gets without waiting; whether its stream has ended then.
    fn read(subscription: &mut Subscription) -> (Vec<Arc<Published>>, bool) {
        let mut read: Vec<_> = subscription.reset().into_iter().collect();
        let mut context = Context::from_waker(std::task::Waker::noop());
        loop {
            match Pin::new(&mut *subscription).poll_next(&mut context) {
                Poll::Ready(Some(published)) => read.push(published),
                Poll::Ready(None) => return (read, true),
                Poll::Pending => return (read, false),
            }
        }
    }

    fn ids(hub: &Arc<Hub>, last_id: Option<u64>) -> Vec<u64> {
        read(&mut hub.subscribe(last_id)).0.iter().map(|published| published.event.id).collect()
    }

    #[test]
    fn a_reader_that_comes_back_misses_nothing() {
        let hub = Arc::new(Hub::starting_at(100));
        for i in 0..5 {
            hub.publish(token(i));
        }
        assert_eq!(ids(&hub, Some(101)), [102, 103, 104]);
        assert_eq!(ids(&hub, Some(99)), [100, 101, 102, 103, 104]);
        assert!(ids(&hub, Some(104)).is_empty());
        assert!(ids(&hub, None).is_empty());
        let mut subscription = hub.subscribe(Some(104));
        assert_eq!(hub.readers(), 1);
        hub.publish(token(9));
        let (read, is_over) = read(&mut subscription);
        assert_eq!((read.len(), read[0].event.id, is_over), (1, 105, false));
        drop(subscription);
        assert_eq!(hub.readers(), 0);
    }

    /// Whoever waits is woken, also by what came between its look and its wait.
    #[tokio::test]
    async fn a_reader_that_waits_is_woken() {
        use tokio_stream::StreamExt as _;
        let hub = Arc::new(Hub::starting_at(1));
        let mut subscription = hub.subscribe(None);
        let publisher = Arc::clone(&hub);
        let published = tokio::task::spawn_blocking(move || {
            for i in 0..2000 {
                publisher.publish(token(i));
            }
            publisher.publish(EventKind::Shutdown);
        });
        let mut seen = 0;
        while let Some(published) = subscription.next().await {
            assert_eq!(published.event.id, seen + 1);
            seen += 1;
        }
        assert_eq!(seen, 2001);
        published.await.expect("no panic");
    }

    #[test]
    fn an_id_that_is_not_kept_resets() {
        let hub = Arc::new(Hub::starting_at(100));
        for i in 0..RING as u32 + 10 {
            hub.publish(token(i));
        }
        for foreign in [0, 50, 108, 1_000_000, u64::MAX - 1, u64::MAX] {
            let (read, is_over) = read(&mut hub.subscribe(Some(foreign)));
            assert_eq!((read.len(), is_over), (1, false), "{foreign}");
            assert_eq!(read[0].event.kind, EventKind::Reset);
            // Resuming after the reset continues without another.
            assert!(ids(&hub, Some(read[0].event.id)).is_empty());
        }
        assert_eq!(ids(&hub, Some(109)).len(), RING);
    }

    #[test]
    fn large_events_are_kept_by_their_bytes() {
        let hub = Arc::new(Hub::starting_at(1));
        let text = "x".repeat(RING_BYTES / 4);
        for _ in 0..10 {
            hub.publish(EventKind::Token { attempt_id: 1, token: 1, text: text.clone() });
        }
        let kept = hub.lock().ring.len();
        assert_eq!(kept, 3);
        assert_eq!(ids(&hub, Some(7)), [8, 9, 10]);
        let (reset, _) = read(&mut hub.subscribe(Some(5)));
        assert_eq!(reset[0].event.kind, EventKind::Reset);
    }

    /// It is told so and dropped, and what it has not read is not kept for it.
    #[test]
    fn a_slow_reader_lags_and_the_publisher_does_not_wait() {
        let hub = Arc::new(Hub::starting_at(1));
        let mut slow = hub.subscribe(None);
        hub.publish(token(0));
        let first = Arc::downgrade(&hub.lock().ring[0]);
        for i in 1..=RING as u32 {
            hub.publish(token(i));
        }
        assert!(first.upgrade().is_none());
        let (told, is_over) = read(&mut slow);
        assert_eq!((told.len(), is_over), (1, true));
        assert_eq!((told[0].event.id, &told[0].event.kind), (RING as u64 + 1, &EventKind::Reset));
        // It goes on from there.
        hub.publish(token(7));
        assert_eq!(ids(&hub, Some(told[0].event.id)), [RING as u64 + 2]);
    }

    #[test]
    fn shutdown_is_the_last_event() {
        let hub = Arc::new(Hub::starting_at(1));
        let mut live = hub.subscribe(None);
        hub.publish(EventKind::Shutdown);
        hub.publish(token(1));
        let (told, is_over) = read(&mut live);
        assert_eq!((told.len(), is_over), (1, true));
        assert_eq!(told[0].event.kind, EventKind::Shutdown);
        // Who comes later is told so too, and who comes back after it hears it no second time.
        assert_eq!((ids(&hub, None), read(&mut hub.subscribe(None)).1), (vec![1], true));
        assert!(ids(&hub, Some(1)).is_empty());
    }
}
