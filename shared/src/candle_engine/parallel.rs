//! Work on several threads: candle's own pool, whose workers spin between the products of a token.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::utils::barrier_pool;

/// Threads that compute, this one included.
pub(super) fn threads() -> usize {
    barrier_pool().n_workers() + 1
}

/// Does `work` on each part once; on this thread alone where there is only one part.
pub(super) fn for_each<T: Send>(parts: Vec<T>, work: impl Fn(T) + Sync) {
    if parts.len() < 2 || threads() == 1 {
        return parts.into_iter().for_each(work);
    }
    let parts: Vec<_> = parts.into_iter().map(|part| Mutex::new(Some(part))).collect();
    let next = AtomicUsize::new(0);
    barrier_pool().execute(|_| {
        while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
            // A lock is poisoned only by a panic inside it, and nothing in it can panic.
            if let Some(part) = part.lock().ok().and_then(|mut part| part.take()) {
                work(part);
            }
        }
    });
}

/// Cuts `0..len` into ranges of length `step`, the last one shorter.
pub(super) fn blocks(len: usize, step: usize) -> impl Iterator<Item = Range<usize>> {
    let step = step.max(1);
    (0..len).step_by(step).map(move |start| start..len.min(start + step))
}

/// Cuts `0..len` into at most `most` ranges of equal length, the last one shorter.
pub(super) fn split(len: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    blocks(len, len.div_ceil(most.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_once() {
        for parts in [0, 1, 2, 7, 100] {
            let sum = AtomicUsize::new(0);
            for_each((1..=parts).collect(), |part: usize| {
                sum.fetch_add(part, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), parts * (parts + 1) / 2);
        }
    }

    #[test]
    fn ranges_cover_everything_once() {
        for (len, most) in [(0, 3), (1, 3), (10, 3), (9, 3), (5, 100), (5, 0)] {
            let ranges: Vec<_> = split(len, most).collect();
            assert!(ranges.len() <= most.max(1));
            assert_eq!(ranges.into_iter().flatten().collect::<Vec<_>>(), (0..len).collect::<Vec<_>>());
        }
    }
}
