//! The C allocator's habits.

/// Keeps the allocator to two arenas: with one per flushing thread, memory that one thread frees is of no use to others.
pub fn few_arenas() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt only sets a number; called at start-up, before there are threads.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}
