//! Calls of the operating system: allocator settings, stop signals, the width of the terminal.
//!
//! The only module with `unsafe` code.

use std::sync::atomic::{AtomicBool, Ordering};

static STOP: AtomicBool = AtomicBool::new(false);

/// Tells glibc to keep large blocks instead of returning each one to the system: networks allocate and free tensors
/// of the same sizes in every step, and fresh pages cost more than the arithmetic between them.
pub fn tune_allocator() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let settings = [
            (libc::M_MMAP_THRESHOLD, 1 << 30),
            (libc::M_TRIM_THRESHOLD, libc::c_int::MAX),
            (libc::M_TOP_PAD, 64 << 20),
        ];
        for (parameter, value) in settings {
            // SAFETY: `mallopt` takes two integers and changes settings of the allocator only; it runs first in `main`,
            // before any other thread exists. A refused setting leaves the default, so its result does not matter.
            unsafe { libc::mallopt(parameter, value) };
        }
    }
}

/// Installs handlers: the first Ctrl-C (or SIGTERM) requests a stop, see [`stop_requested`]; the second ends the
/// program.
pub fn watch_for_stop() {
    #[cfg(unix)]
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: `sigaction` is all zeros but for the handler and flags, which is a valid value of it. The handler is
        // async-signal-safe: it stores to an atomic. SA_RESETHAND restores the default action for the next signal, and
        // SA_RESTART lets interrupted reads and writes go on.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as *const () as libc::sighandler_t;
            action.sa_flags = libc::SA_RESETHAND | libc::SA_RESTART;
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
}

/// Whether the user asked to stop.
pub fn stop_requested() -> bool {
    STOP.load(Ordering::Relaxed)
}

/// Width in columns of the terminal on standard output, if it is one and states its width.
pub fn terminal_columns() -> Option<usize> {
    #[cfg(unix)]
    {
        let mut size = libc::winsize {
            ws_row: 0,
            ws_col: 0,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // SAFETY: TIOCGWINSZ writes one `winsize`, to which the pointer is valid for the call.
        let answer = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
        (answer == 0 && size.ws_col > 0).then_some(usize::from(size.ws_col))
    }
    #[cfg(not(unix))]
    None
}

#[cfg(unix)]
extern "C" fn on_signal(_signal: libc::c_int) {
    STOP.store(true, Ordering::Relaxed);
}
