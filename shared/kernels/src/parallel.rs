//! Work on several threads: candle's rayon pool.
//!
//! Whoever waits takes parts itself and waits only for parts that another thread has begun, so that on a busy
//! machine a thread that is not scheduled costs its help and nothing more.

use std::ops::Range;
use std::sync::OnceLock;

use candle_core::utils::{get_num_threads, with_threadpool};
use rayon::prelude::*;

/// Threads that compute, this one included.
pub fn threads() -> usize {
    // Asked once: each time, candle would read and parse the system's list of processors.
    static THREADS: OnceLock<usize> = OnceLock::new();
    // Tests play instances that have one.
    #[cfg(test)]
    if rayon::current_num_threads() == 1 {
        return 1;
    }
    *THREADS.get_or_init(get_num_threads)
}

/// Runs `work` on a thread of the pool, so that it need not be woken for each step.
pub fn on_pool<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    if threads() == 1 { work() } else { with_threadpool(work) }
}

/// Does `work` on each part once; on this thread alone where there is only one part.
pub fn for_each<T: Send>(parts: Vec<T>, work: impl Fn(T) + Sync + Send) {
    if parts.len() < 2 || threads() == 1 {
        parts.into_iter().for_each(work);
    } else {
        parts.into_par_iter().with_max_len(1).for_each(work);
    }
}

/// Cuts `0..len` into ranges of length `step`, the last one shorter.
pub fn blocks(len: usize, step: usize) -> impl Iterator<Item = Range<usize>> {
    let step = step.max(1);
    (0..len).step_by(step).map(move |start| start..len.min(start + step))
}

/// Cuts `0..len` into at most `most` ranges of equal length, the last one shorter.
pub fn split(len: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    blocks(len, len.div_ceil(most.max(1)))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

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
