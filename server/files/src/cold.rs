//! Large pieces of a file that lie in no cache: read past the page cache where that brings them sooner.
//!
//! Past the cache (`O_DIRECT`) the kernel neither looks for pages nor makes any, which fast disks gain much from, and
//! others not at all; and what came that way comes from the disk again the next time. So the first cold pieces of a
//! file are read directly, the next through the cache, and the others directly only where that was clearly faster.

use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, IoSliceMut};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags};

/// Smaller reads are of headers, and what the cache reads ahead serves them.
const LEAST_BYTES: usize = 1 << 20;
/// Bytes of one direct read; as many are kept for each thread that reads.
const READ_BYTES: usize = 1 << 20;
/// Positions, lengths and memory of direct reads are multiples of this, as every disk and file system wants it.
const ALIGNMENT: usize = 4096;
/// Pieces that go each way before one is chosen. All of those through the cache count, those that it had read ahead
/// too.
const TRIALS: u32 = 16;
/// How many times as fast direct reads must be to be worth a cache that stays empty.
const WORTH: f64 = 1.25;

/// The second opening of a file, and what is known about its disk.
#[derive(Debug)]
pub(crate) struct Cold {
    direct: File,
    chosen: OnceLock<Way>,
    trial: Mutex<Trial>,
    spare: Mutex<Vec<Aligned>>,
    /// Where a piece is looked at; another place each time, since looking brings a page into the cache.
    place: RandomState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Cached,
    Direct,
}

impl Cold {
    /// Opens it once more; `None` where the file system has no direct reads, or another file has its name now.
    pub(crate) fn open(path: &Path, cached: &File) -> Option<Self> {
        // A FIFO that has taken its place must not be waited for.
        let flags = OFlags::RDONLY | OFlags::DIRECT | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let direct = File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
        let [a, b] = [cached.metadata().ok()?, direct.metadata().ok()?];
        ((a.dev(), a.ino()) == (b.dev(), b.ino())).then(|| Self {
            direct,
            chosen: OnceLock::new(),
            trial: Mutex::default(),
            spare: Mutex::default(),
            place: RandomState::new(),
        })
    }

    /// Fills `buffer` with the bytes from `offset` on, from where they come soonest.
    ///
    /// # Errors
    /// As `read_exact_at` of the file itself: a direct read that fails is done again through the cache.
    pub(crate) fn read_exact_at(&self, cached: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if buffer.len() < LEAST_BYTES || self.chosen.get() == Some(&Way::Cached) {
            return cached.read_exact_at(buffer, offset);
        }
        let is_tried = self.chosen.get().is_none() && lock(&self.trial).direct_begun >= TRIALS;
        if !is_tried && self.is_cached(cached, offset, buffer.len()) {
            return cached.read_exact_at(buffer, offset);
        }
        let way = self.chosen.get().copied().unwrap_or_else(|| lock(&self.trial).next());
        let begun = Instant::now();
        if way == Way::Cached {
            cached.read_exact_at(buffer, offset)?;
        } else if self.read_directly(buffer, offset).is_err() {
            self.chosen.set(Way::Cached).ok();
            return cached.read_exact_at(buffer, offset);
        }
        if self.chosen.get().is_none()
            && let Some(faster) = lock(&self.trial).took(way, buffer.len(), begun.elapsed())
        {
            self.chosen.set(faster).ok();
        }
        Ok(())
    }

    /// Whether one byte of a piece can be had without waiting for the disk.
    fn is_cached(&self, cached: &File, offset: u64, bytes: usize) -> bool {
        let at = offset.saturating_add(self.place.hash_one(offset) % bytes as u64);
        let mut byte = [0];
        match rustix::io::preadv2(cached, &mut [IoSliceMut::new(&mut byte)], at, ReadWriteFlags::NOWAIT) {
            Ok(_) => true,
            Err(Errno::AGAIN) => false,
            // It cannot be told here, and what cannot be told is left to the cache.
            Err(_) => {
                self.chosen.set(Way::Cached).ok();
                true
            }
        }
    }

    fn read_directly(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut aligned = lock(&self.spare).pop().unwrap_or_else(Aligned::new);
        let read = aligned.fill(&self.direct, buffer, offset);
        lock(&self.spare).push(aligned);
        read
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Memory that direct reads may go to.
#[derive(Debug)]
struct Aligned(Vec<u8>);

impl Aligned {
    fn new() -> Self {
        Self(vec![0; READ_BYTES + ALIGNMENT])
    }

    /// Fills `buffer` with the bytes from `offset` on.
    fn fill(&mut self, file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        let start = self.0.as_ptr().align_offset(ALIGNMENT);
        let memory = &mut self.0[start..start + READ_BYTES];
        while !buffer.is_empty() {
            let before = (offset % ALIGNMENT as u64) as usize;
            let wanted = (before + buffer.len()).next_multiple_of(ALIGNMENT).min(READ_BYTES);
            let read = file.read_at(&mut memory[..wanted], offset - before as u64)?;
            // Less than was wanted is the end of the file, and nothing of use is no progress.
            let found = memory[..read].get(before..).filter(|found| !found.is_empty());
            let found = found.ok_or(io::ErrorKind::UnexpectedEof)?;
            let (filled, rest) = buffer.split_at_mut(found.len().min(buffer.len()));
            filled.copy_from_slice(&found[..filled.len()]);
            offset += filled.len() as u64;
            buffer = rest;
        }
        Ok(())
    }
}

/// How long pieces took each way.
#[derive(Debug, Default)]
struct Trial {
    direct_begun: u32,
    cached: Pace,
    direct: Pace,
}

#[derive(Debug, Default)]
struct Pace {
    pieces: u32,
    bytes: f64,
    seconds: f64,
}

impl Trial {
    /// The way of the next piece.
    fn next(&mut self) -> Way {
        if self.direct_begun >= TRIALS {
            return Way::Cached;
        }
        self.direct_begun += 1;
        Way::Direct
    }

    /// Counts a piece; the way of all others as soon as each has been tried enough.
    fn took(&mut self, way: Way, bytes: usize, time: Duration) -> Option<Way> {
        let pace = match way {
            Way::Cached => &mut self.cached,
            Way::Direct => &mut self.direct,
        };
        pace.pieces += 1;
        pace.bytes += bytes as f64;
        pace.seconds += time.as_secs_f64();
        let [cached, direct] = [&self.cached, &self.direct];
        (cached.pieces.min(direct.pieces) >= TRIALS).then(|| {
            let is_worth = direct.bytes * cached.seconds >= WORTH * cached.bytes * direct.seconds;
            if is_worth { Way::Direct } else { Way::Cached }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: usize = 24 << 20;

    /// A file of no repetition, on the disk and in no cache.
    fn file() -> (tempfile::TempDir, std::path::PathBuf, Vec<u8>) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("weights");
        let mut state = 1_u32;
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(BYTES + 777)
        .collect();
        std::fs::write(&path, &bytes).expect("written");
        forget(&path);
        (dir, path, bytes)
    }

    /// Drops the file from the cache.
    fn forget(path: &Path) {
        let file = File::open(path).expect("opens");
        file.sync_all().expect("on the disk");
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("advice");
    }

    /// `None`, said aloud, where the temporary directory has no direct reads; where CI wants all of them, a failure.
    fn opened(path: &Path) -> Option<(File, Cold)> {
        let cached = File::open(path).expect("opens");
        let cold = Cold::open(path, &cached);
        if cold.is_none() {
            let reason = format!("no O_DIRECT on the file system of {}", path.display());
            assert!(std::env::var_os("PREFLIGHT_REQUIRE_TOOLS").is_none(), "{reason}");
            eprintln!("skipped: {reason}");
        }
        Some((cached, cold?))
    }

    #[test]
    fn direct_reads_give_the_bytes_of_any_range() {
        let (_dir, path, bytes) = file();
        let Some((cached, cold)) = opened(&path) else { return };
        cold.chosen.set(Way::Direct).expect("nothing chosen yet");
        for (offset, len) in [
            (0, LEAST_BYTES),
            (1, LEAST_BYTES),
            (4095, 3 * READ_BYTES + 2),
            (4096, READ_BYTES),
            (123_457, 5_000_001),
            (bytes.len() - LEAST_BYTES, LEAST_BYTES),
        ] {
            let mut buffer = vec![0xa5; len];
            cold.read_directly(&mut buffer, offset as u64).expect("reads");
            assert!(buffer == bytes[offset..offset + len], "{len} bytes from {offset}");
        }
        // Whole, as a loader would, whichever way each piece takes.
        forget(&path);
        let mut buffer = vec![0xa5; bytes.len()];
        for (at, piece) in buffer.chunks_mut(LEAST_BYTES + 13).enumerate() {
            cold.read_exact_at(&cached, piece, (at * (LEAST_BYTES + 13)) as u64).expect("reads");
        }
        assert!(buffer == bytes);
        assert_eq!(cold.chosen.get(), Some(&Way::Direct), "no direct read failed");
    }

    #[test]
    fn cold_pieces_try_both_ways_and_warm_ones_none() {
        let (_dir, path, bytes) = file();
        let Some((cached, cold)) = opened(&path) else { return };
        let mut buffer = vec![0; LEAST_BYTES];
        // The system keeps some pages when told to drop them, and looking for one brings its neighbours.
        for _lap in 0..20 {
            forget(&path);
            for (offset, expected) in (0..).step_by(LEAST_BYTES).zip(bytes.chunks_exact(LEAST_BYTES)) {
                cold.read_exact_at(&cached, &mut buffer, offset).expect("reads");
                assert!(buffer == expected);
            }
            if cold.chosen.get().is_some() {
                break;
            }
        }
        assert_eq!(lock(&cold.trial).direct_begun, TRIALS);
        assert!(cold.chosen.get().is_some(), "one way is chosen");

        let (cached, cold) = opened(&path).expect("as before");
        std::fs::read(&path).expect("all of it in the cache");
        for _ in 0..2 * TRIALS {
            cold.read_exact_at(&cached, &mut buffer, 5).expect("reads");
            assert!(buffer == bytes[5..5 + LEAST_BYTES]);
        }
        assert_eq!((cold.chosen.get(), lock(&cold.trial).direct_begun), (None, 0));
    }

    #[test]
    fn direct_reads_are_chosen_where_they_are_clearly_faster() {
        let chosen = |direct_ms: u64| {
            let mut trial = Trial::default();
            let mut chosen = None;
            for _ in 0..2 * TRIALS {
                assert_eq!(chosen, None, "before each was tried enough");
                let way = trial.next();
                let ms = if way == Way::Direct { direct_ms } else { 100 };
                chosen = trial.took(way, LEAST_BYTES, Duration::from_millis(ms));
            }
            chosen
        };
        assert_eq!([30, 79].map(chosen), [Some(Way::Direct); 2]);
        assert_eq!([81, 100, 300].map(chosen), [Some(Way::Cached); 3]);
    }

    #[test]
    fn a_file_that_shrinks_ends_direct_reads_too() {
        let (_dir, path, _) = file();
        let Some((cached, cold)) = opened(&path) else { return };
        cold.chosen.set(Way::Direct).expect("nothing chosen yet");
        File::options().write(true).open(&path).and_then(|file| file.set_len(5000)).expect("cut");
        let mut buffer = vec![0; LEAST_BYTES];
        for read in [cold.read_directly(&mut buffer, 0), cold.read_exact_at(&cached, &mut buffer, 0)] {
            assert_eq!(read.expect_err("shorter now").kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[test]
    fn another_file_of_the_same_name_is_not_read() {
        let (dir, path, _) = file();
        let cached = File::open(&path).expect("opens");
        std::fs::write(dir.path().join("new"), [1; 10]).expect("written");
        std::fs::rename(dir.path().join("new"), &path).expect("renamed");
        assert!(Cold::open(&path, &cached).is_none());
    }
}
