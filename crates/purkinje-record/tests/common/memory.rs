//! What a test allocates: a test binary that includes this module gets an allocator that counts, for each thread, the bytes that are
//! live and the most that ever were.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Starts to measure this thread's allocations; give the result to [`peak_since`].
pub fn start_measuring() -> isize {
    let live = LIVE.get();
    PEAK.set(live);
    live
}

/// The most bytes that this thread had allocated at a time since, beyond what it had then.
pub fn peak_since(before: isize) -> usize {
    usize::try_from(PEAK.get() - before).unwrap_or(0)
}

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

struct Count;

#[global_allocator]
static COUNT: Count = Count;

impl Count {
    fn add(size: usize) {
        let live = LIVE.get() + size as isize;
        LIVE.set(live);
        PEAK.set(PEAK.get().max(live));
    }
}

// SAFETY: everything is passed to the system's allocator unchanged; the counters allocate nothing and need no destructor.
unsafe impl GlobalAlloc for Count {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Count::add(layout.size());
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Count::add(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get() - layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}
