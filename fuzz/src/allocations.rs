//! An allocator that counts, so that a test can tell what reading a file costs.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Bytes that this thread holds, and the most it held.
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

/// The system's allocator, counting.
struct Counting;

fn count(bytes: isize) {
    // A thread that ends allocates after its counters are gone.
    let _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        held.set((now + bytes, most.max(now + bytes)));
    });
}

#[expect(unsafe_code, reason = "an allocator is unsafe by its trait; this one passes everything on")]
// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What opening weights may hold beside their bytes: twice the file, and, however small it is, what a reader's buffer
/// takes and the few thousand descriptions that any file may have.
pub(crate) fn twice(file_bytes: usize) -> usize {
    2 * file_bytes + (1 << 20)
}

/// What a config may come to beside twice its text, however it is written: it has no more than 16,384 values, and what
/// is explained and sized of it.
pub(crate) const SOME_VALUES: usize = 16 << 20;

/// Runs `read` and checks that it held no more than `allowed` bytes.
pub(crate) fn within<T>(allowed: usize, read: impl FnOnce() -> T) -> T {
    let before = HELD.with(|held| {
        let (now, _) = held.get();
        held.set((now, now));
        now
    });
    let result = read();
    let most = HELD.with(|held| held.get().1) - before;
    assert!(most as usize <= allowed, "{most} bytes held, {allowed} allowed");
    result
}
