//! Memory that is given back to the kernel.

/// Gives memory back that the allocator keeps for later. It does so by itself only at the end
/// of its heap, where something small may hold up all that is free before it. Takes the longer
/// the more there is to give back: a millisecond for some 10 MB.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the C library's, and no crate's")]
pub fn give_back() {
    // SAFETY: it touches nothing that is in use, and takes the allocator's own locks.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators give back what they can by themselves.
#[cfg(not(target_env = "gnu"))]
pub const fn give_back() {}
