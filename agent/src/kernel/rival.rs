//! What sstpulse does not do, to be measured beside what it does: records in a kernel's hash
//! map, read by batches.

use std::{io, os::fd::AsFd as _};

use aya::maps::{HashMap, MapData, MapFd, MapInfo, loaded_maps};
use sstpulse_common::{FlowKey, SessionRecord};

use super::{KernelError, abi::Abi, batch};

/// Records in a hash map.
pub struct HashedRecords {
    map: HashMap<MapData, Abi<FlowKey>, Abi<SessionRecord>>,
    fd: MapFd,
}

impl HashedRecords {
    /// An empty map with room for so many.
    pub fn new(capacity: u32) -> Result<Self, KernelError> {
        let fail = |error: &dyn std::error::Error| {
            KernelError::new("can't make a hash map of records", error)
        };
        let map = HashMap::create(capacity, 0).map_err(|error| fail(&error))?;
        // aya lends no descriptor of the map it has just made, but finds it again.
        let is_it = |size: u32| size as usize == size_of::<SessionRecord>();
        let newest = loaded_maps()
            .filter_map(Result::ok)
            .filter(|info| is_it(info.value_size()) && info.max_entries() == capacity)
            .max_by_key(MapInfo::id)
            .ok_or_else(|| fail(&io::Error::from(io::ErrorKind::NotFound)))?;
        let fd = newest.fd().map_err(|error| fail(&error))?;
        Ok(Self { map, fd })
    }

    /// Puts a record in.
    pub fn insert(&mut self, key: &FlowKey, record: &SessionRecord) -> Result<(), KernelError> {
        self.map
            .insert(Abi(*key), Abi(*record), 0)
            .map_err(|error| KernelError::new("can't fill a hash map", &error))
    }

    /// Calls `take` with every record.
    pub fn for_each(&self, take: impl FnMut(&FlowKey, &SessionRecord)) -> Result<(), KernelError> {
        batch::for_each(self.fd.as_fd(), take)
            .map_err(|error| KernelError::new("can't read a hash map by batches", &error))
    }
}
