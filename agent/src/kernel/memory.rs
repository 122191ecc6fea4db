//! How the allocator deals with memory.

/// Has each large piece mapped by itself, and all others in one heap. By itself the C library
/// makes "large" larger with each such piece that is freed, and a heap for each thread: what is
/// freed in one is not used by another, and a table that grows leaves holes in its wake. With a
/// million sessions that is 6 MB.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the C library's, and no crate's")]
pub fn keep_together() {
    /// What it is anyway at first (`DEFAULT_MMAP_THRESHOLD_MIN`, malloc.c).
    const LARGE: libc::c_int = 128 << 10;

    // SAFETY: it takes the allocator's own locks, and touches nothing that is in use. It fails
    // only for values out of range.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives memory back that the allocator keeps for later. It does so by itself only at the end
/// of its heap, where something small may hold up all that is free before it. Takes the longer
/// the more there is to give back: a millisecond for some 10 MB.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the C library's, and no crate's")]
pub fn give_back() {
    // SAFETY: it touches nothing that is in use, and takes the allocator's own locks.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators have no such knobs.
#[cfg(not(target_env = "gnu"))]
pub const fn keep_together() {}

/// Other allocators give back what they can by themselves.
#[cfg(not(target_env = "gnu"))]
pub const fn give_back() {}
