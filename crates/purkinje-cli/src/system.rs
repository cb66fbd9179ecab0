//! Calls of the operating system: allocator settings, stop signals, the width of the terminal.
//!
//! The only module with `unsafe` code.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
#[cfg(unix)]
use std::time::{Duration, Instant};

/// The signal that asked to stop; 0 if none did.
static STOP: AtomicI32 = AtomicI32::new(0);
static KEEPING: AtomicBool = AtomicBool::new(false);
/// Where the handler writes to wake [`end_in_time`].
#[cfg(unix)]
static WAKE: AtomicI32 = AtomicI32::new(-1);

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

/// Time from a request to stop until a program that keeps nothing ends, whatever it is doing.
#[cfg(unix)]
const GRACE: Duration = Duration::from_millis(600);

/// Installs handlers and a thread that sees to it that Ctrl-C and SIGTERM are answered within a second.
///
/// The first requests a stop, see [`stop_requested`]: most work ends by itself, with an error that says what is kept. What
/// does not notice in time is ended, unless it is keeping what it has done ([`set_keeping`]), which the user is told. The second
/// signal ends the program.
pub fn watch_for_stop() {
    #[cfg(unix)]
    {
        let mut pipe = [0; 2];
        // SAFETY: `pipe` writes two descriptors, for which there is room.
        if unsafe { libc::pipe(pipe.as_mut_ptr()) } == 0 {
            let [read, write] = pipe;
            for descriptor in pipe {
                // SAFETY: the descriptor is open; programs that are started must not inherit it.
                unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
            }
            WAKE.store(write, Ordering::Relaxed);
            std::thread::spawn(move || end_in_time(read));
        }
        for signal in [libc::SIGINT, libc::SIGTERM] {
            // SAFETY: `sigaction` is all zeros but for the handler and flags, which is a valid value of it. The handler is
            // async-signal-safe: it stores to an atomic and writes to a pipe. SA_RESETHAND restores the default action for the
            // next signal, and SA_RESTART lets interrupted reads and writes go on.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = on_signal as *const () as libc::sighandler_t;
                action.sa_flags = libc::SA_RESETHAND | libc::SA_RESTART;
                libc::sigaction(signal, &action, std::ptr::null_mut());
            }
        }
    }
}

/// Waits for a signal, and then ends the program if it does not end by itself.
#[cfg(unix)]
fn end_in_time(pipe: libc::c_int) {
    let mut byte = 0u8;
    // SAFETY: one byte is read into a buffer of one byte, from a descriptor that stays open.
    while unsafe { libc::read(pipe, (&raw mut byte).cast(), 1) } != 1 {
        if std::io::Error::last_os_error().kind() != std::io::ErrorKind::Interrupted {
            return;
        }
    }
    let mut asked = Instant::now();
    let mut told = false;
    while asked.elapsed() < GRACE {
        std::thread::sleep(GRACE / 12);
        if KEEPING.load(Ordering::Relaxed) {
            if asked.elapsed() >= GRACE / 2 && !told {
                told = true;
                crate::progress::note(
                    "interrupted: the update in progress is finished and a checkpoint written; once more ends the program at once",
                );
            }
            if told {
                asked = Instant::now();
            }
        }
    }
    let line = match crate::output::json_errors() {
        true => crate::output::json_error("interrupted", "interrupted", &[], None),
        false => "error: interrupted".to_owned(),
    };
    crate::progress::suspended(|| eprintln!("{line}"));
    purkinje::base::unfinished::abandon();
    let code = stop_code().map_or(1, i32::from);
    // SAFETY: `_exit` ends the process; what must be whole on disk is, as `abandon` waited for it.
    unsafe { libc::_exit(code) }
}

/// Whether the user asked to stop.
pub fn stop_requested() -> bool {
    STOP.load(Ordering::Relaxed) != 0
}

/// The exit code of a program that was asked to stop, as shells have it: 128 and the signal.
pub fn stop_code() -> Option<u8> {
    let signal = STOP.load(Ordering::Relaxed);
    u8::try_from(signal)
        .ok()
        .filter(|signal| *signal != 0)
        .map(|signal| 128 + signal)
}

/// Whether the program needs time to keep what it has done when it is asked to stop.
pub fn set_keeping(now: bool) {
    KEEPING.store(now, Ordering::Relaxed);
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
extern "C" fn on_signal(signal: libc::c_int) {
    STOP.store(signal, Ordering::Relaxed);
    let pipe = WAKE.load(Ordering::Relaxed);
    if pipe >= 0 {
        // SAFETY: `write` is async-signal-safe; one byte is there. It finds room, so it does not change the last error.
        unsafe { libc::write(pipe, c"!".as_ptr().cast(), 1) };
    }
}
