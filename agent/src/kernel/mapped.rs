//! Maps of the kernel that are memory here, too.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _},
    ptr::{self, NonNull},
};

use aya::maps::Map;

use super::programs::KernelError;

/// An mmapable array of the kernel. Reading it takes no system call.
pub(super) struct Mapped<T> {
    first: NonNull<T>,
    length: u32,
    /// Keeps the map's file descriptor, and with it the memory.
    _map: Map,
}

// SAFETY: the memory belongs to the map and is valid in any thread; what the kernel
// writes meanwhile is read volatile, word by word.
#[expect(unsafe_code, reason = "a pointer is not Send by itself")]
unsafe impl<T> Send for Mapped<T> {}

impl<T> Mapped<T> {
    /// Maps an array whose values are `T`; `what` it is, for errors.
    #[expect(unsafe_code, reason = "mmap")]
    pub(super) fn new(map: Map, what: &str) -> Result<Self, KernelError> {
        let fail = |error: &dyn std::error::Error| {
            KernelError::new(format!("can't map the {what} of the kernel half"), error)
        };
        let Map::Array(data) = &map else {
            return Err(fail(&io::Error::other("it is no array")));
        };
        let length = data.info().map_err(|error| fail(&error))?.max_entries();
        // SAFETY: asks for new memory, so touches none that exists.
        let memory = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length as usize * size_of::<T>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                data.fd().as_fd().as_raw_fd(),
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(fail(&io::Error::last_os_error()));
        }
        let first = NonNull::new(memory.cast())
            .ok_or_else(|| fail(&io::Error::other("the kernel mapped it at address zero")))?;
        Ok(Self {
            first,
            length,
            _map: map,
        })
    }

    /// How many values there are.
    pub(super) const fn length(&self) -> u32 {
        self.length
    }

    /// Where the value with this index is. The kernel may write to it at any time.
    #[expect(unsafe_code, reason = "memory shared with the kernel")]
    pub(super) fn pointer(&self, index: u32) -> *mut T {
        assert!(index < self.length, "value {index} is beyond the map");
        // SAFETY: within the mapping, as just checked.
        unsafe { self.first.as_ptr().add(index as usize) }
    }
}

impl<T> Drop for Mapped<T> {
    #[expect(unsafe_code, reason = "munmap")]
    fn drop(&mut self) {
        let length = self.length as usize * size_of::<T>();
        // SAFETY: the mapping made in `new`, which nothing refers to any more.
        unsafe { libc::munmap(self.first.as_ptr().cast(), length) };
    }
}
