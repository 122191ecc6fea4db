//! The session table: memory shared with the kernel, and the slots in it.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _},
    ptr::{self, NonNull},
    sync::atomic::{Ordering, fence},
};

use aya::maps::{HashMap, Map, MapData, MapError, Stack};
use sstpulse_common::{DirectionRecord, FlowKey, SessionRecord, record::SlotState};

use super::{abi::Abi, programs::KernelError};
use crate::report::Pulse;

/// The array of session records, mapped. Reading it takes no system call.
pub struct SessionTable {
    records: NonNull<SessionRecord>,
    capacity: u32,
    /// Keeps the map's file descriptor, and with it the memory.
    _map: Map,
}

// SAFETY: the memory belongs to the map and is valid in any thread; what the kernel
// writes meanwhile is read volatile, word by word.
#[expect(unsafe_code, reason = "a pointer is not Send by itself")]
unsafe impl Send for SessionTable {}

impl SessionTable {
    /// Maps the records of `map`, an mmapable array.
    #[expect(unsafe_code, reason = "mmap")]
    pub(super) fn map(map: Map) -> Result<Self, KernelError> {
        let Map::Array(data) = &map else {
            let error = io::Error::other("it is no array");
            return Err(KernelError::new("can't map the session table", &error));
        };
        let capacity = data
            .info()
            .map_err(|error| KernelError::new("can't ask about the session table", &error))?
            .max_entries();
        let length = capacity as usize * size_of::<SessionRecord>();
        // SAFETY: asks for new memory, so touches none that exists.
        let memory = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                data.fd().as_fd().as_raw_fd(),
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            let error = io::Error::last_os_error();
            return Err(KernelError::new("can't map the session table", &error));
        }
        let records = NonNull::new(memory.cast()).ok_or_else(|| {
            let error = io::Error::other("the kernel mapped it at address zero");
            KernelError::new("can't map the session table", &error)
        })?;
        Ok(Self {
            records,
            capacity,
            _map: map,
        })
    }

    /// How many slots there are.
    pub const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// What the slot holds: a constant of [`SlotState`].
    #[expect(unsafe_code, reason = "memory shared with the kernel")]
    pub fn state(&self, slot: u32) -> u8 {
        let record = self.pointer(slot);
        // SAFETY: `pointer` is within the mapping; any byte is a valid u8.
        unsafe { (&raw const (*record).head.state).read_volatile() }
    }

    /// What tells cheaply whether anything has happened in a slot.
    #[expect(unsafe_code, reason = "memory shared with the kernel")]
    pub fn pulse(&self, slot: u32) -> Pulse {
        let record = self.pointer(slot);
        // SAFETY: as in `state`.
        let (state, client, server, flags) = unsafe {
            (
                (&raw const (*record).head.state).read_volatile(),
                (&raw const (*record).from_client.segments).read_volatile(),
                (&raw const (*record).from_server.segments).read_volatile(),
                (&raw const (*record).from_client.flags).read_volatile()
                    | (&raw const (*record).from_server.flags).read_volatile(),
            )
        };
        Pulse {
            segments: client.wrapping_add(server),
            ended: flags & DirectionRecord::ENDED != 0 || state == SlotState::SUPERSEDED,
        }
    }

    /// A copy of the record. The kernel may write meanwhile; see the record's
    /// documentation for what that can and can't do.
    #[expect(unsafe_code, reason = "memory shared with the kernel")]
    pub fn read(&self, slot: u32) -> SessionRecord {
        let record = self.pointer(slot);
        fence(Ordering::Acquire);
        // SAFETY: as in `state`; any bytes are a valid record.
        unsafe { record.read_volatile() }
    }

    /// Sets what the programs tell of a session. They only read it.
    #[expect(unsafe_code, reason = "memory shared with the kernel")]
    pub fn attend(&mut self, slot: u32, attention: u8, small: u8) {
        let record = self.pointer(slot);
        // SAFETY: as in `state`; the programs write these bytes before the session is told of.
        unsafe {
            (&raw mut (*record).head.attention).write_volatile(attention);
            (&raw mut (*record).head.small).write_volatile(small);
        }
    }

    /// Marks a slot as free. Nothing leads to it any more.
    #[expect(unsafe_code, reason = "memory shared with the kernel")]
    fn clear(&mut self, slot: u32) {
        let record = self.pointer(slot);
        // SAFETY: as in `state`; the programs don't write a slot the index doesn't lead to.
        unsafe { (&raw mut (*record).head.state).write_volatile(SlotState::FREE) };
        fence(Ordering::Release);
    }

    #[expect(unsafe_code, reason = "memory shared with the kernel")]
    fn pointer(&self, slot: u32) -> *mut SessionRecord {
        assert!(slot < self.capacity, "slot {slot} is beyond the table");
        // SAFETY: within the mapping, as just checked.
        unsafe { self.records.as_ptr().add(slot as usize) }
    }
}

impl Drop for SessionTable {
    #[expect(unsafe_code, reason = "munmap")]
    fn drop(&mut self) {
        let length = self.capacity as usize * size_of::<SessionRecord>();
        // SAFETY: the mapping made in `map`, which nothing refers to any more.
        unsafe { libc::munmap(self.records.as_ptr().cast(), length) };
    }
}

/// Who may use which slot.
///
/// A slot goes back in two steps. [`Slots::retire`] makes the index lead nowhere; a
/// program that had found the slot just before may still write to it, for the few
/// microseconds it runs. [`Slots::release`], an interval later, makes it free.
pub struct Slots {
    index: HashMap<MapData, Abi<FlowKey>, u32>,
    free: Stack<MapData, u32>,
}

impl Slots {
    pub(super) fn new(
        index: HashMap<MapData, Abi<FlowKey>, u32>,
        free: Stack<MapData, u32>,
    ) -> Self {
        Self { index, free }
    }

    /// Lets the flow lead to the slot no more, if it still does.
    pub fn retire(&mut self, key: &FlowKey, slot: u32) -> Result<(), KernelError> {
        let fail =
            |error: MapError| KernelError::new("can't take a session from the index", &error);
        match self.index.get(&Abi(*key), 0) {
            Ok(found) if found == slot => match self.index.remove(&Abi(*key)) {
                // A new connection on the same ports has taken it off meanwhile.
                Err(error) if is_absent(&error) => Ok(()),
                result => result.map_err(fail),
            },
            Ok(_) => Ok(()),
            Err(error) if is_absent(&error) => Ok(()),
            Err(error) => Err(fail(error)),
        }
    }

    /// Gives a retired slot back for use.
    pub fn release(&mut self, table: &mut SessionTable, slot: u32) -> Result<(), KernelError> {
        table.clear(slot);
        self.push(slot)
    }

    /// The slot of a flow.
    pub fn find(&self, key: &FlowKey) -> Option<u32> {
        self.index.get(&Abi(*key), 0).ok()
    }

    fn push(&mut self, slot: u32) -> Result<(), KernelError> {
        self.free
            .push(slot, 0)
            .map_err(|error| KernelError::new("can't give a slot back", &error))
    }
}

/// Whether the kernel says that there is no such key.
fn is_absent(error: &MapError) -> bool {
    match error {
        MapError::KeyNotFound => true,
        MapError::SyscallError(error) => error.io_error.raw_os_error() == Some(libc::ENOENT),
        _ => false,
    }
}
