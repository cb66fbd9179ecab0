//! The allocator settings of the program.

#![allow(unsafe_code)]

/// Keeps large freed blocks in the process: a forward pass frees and asks for the same ones again and again, and glibc's
/// defaults would give each back to the system and clear it anew. Nothing to do elsewhere.
pub fn keep_large_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (option, value) in [
        (libc::M_MMAP_THRESHOLD, 1 << 30),
        (libc::M_TRIM_THRESHOLD, libc::c_int::MAX),
        (libc::M_TOP_PAD, 64 << 20),
    ] {
        // SAFETY: mallopt takes two integers and touches the allocator's own settings alone; main calls this before any
        // other thread exists. An unknown option is refused with a return value that changes nothing here.
        unsafe {
            libc::mallopt(option, value);
        }
    }
}
