//! Entries of a hash map, many with one system call (`BPF_MAP_LOOKUP_BATCH`, Linux 5.6).

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use zerocopy::{FromBytes, IntoBytes};

/// Entries that are asked for at once where all are wanted: enough that the system call
/// doesn't count.
const MOST: usize = 4_096;

/// `BPF_MAP_LOOKUP_BATCH` of `enum bpf_cmd`.
const LOOKUP_BATCH: libc::c_long = 24;

/// What the kernel takes for a batch: the `batch` of `union bpf_attr`.
#[derive(Default)]
#[repr(C)]
struct Attributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Calls `take` with every entry of a hash map. One that comes or goes meanwhile may be among
/// them or not. `K` and `V` must be what the map holds.
pub(super) fn for_each<K, V>(map: BorrowedFd<'_>, mut take: impl FnMut(&K, &V)) -> io::Result<()>
where
    K: FromBytes + IntoBytes + Clone,
    V: FromBytes + IntoBytes + Clone,
{
    let mut place = None;
    loop {
        place = some(map, place, MOST, &mut take)?;
        if place.is_none() {
            return Ok(());
        }
    }
}

/// The same with `most` of the entries, or as many as are in one bucket if those are more: from
/// a place on, or from the first one. Where the next begin, unless these were the last.
pub(super) fn some<K, V>(
    map: BorrowedFd<'_>,
    place: Option<u32>,
    most: usize,
    mut take: impl FnMut(&K, &V),
) -> io::Result<Option<u32>>
where
    K: FromBytes + IntoBytes + Clone,
    V: FromBytes + IntoBytes + Clone,
{
    // A bucket with more entries than there is room for takes a larger buffer.
    let mut room = most;
    loop {
        let mut keys = vec![K::new_zeroed(); room];
        let mut values = vec![V::new_zeroed(); room];
        match lookup(map, place, &mut keys, &mut values) {
            Ok((count, next)) => {
                for (key, value) in keys.iter().zip(&values).take(count) {
                    take(key, value);
                }
                return Ok(next);
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => room *= 2,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Fills `keys` and `values` from a place in the map, its beginning if there is none. How many
/// there are, and where the next begin, unless these were the last.
#[expect(unsafe_code, reason = "aya has no batches")]
fn lookup<K, V>(
    map: BorrowedFd<'_>,
    place: Option<u32>,
    keys: &mut [K],
    values: &mut [V],
) -> io::Result<(usize, Option<u32>)> {
    let mut next = 0_u32;
    let mut attributes = Attributes {
        in_batch: place.as_ref().map_or(0, |place| (&raw const *place) as u64),
        out_batch: (&raw mut next) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: u32::try_from(keys.len().min(values.len())).unwrap_or(u32::MAX),
        map_fd: map.as_raw_fd().cast_unsigned(),
        ..Attributes::default()
    };
    // SAFETY: all pointers are to memory that lives until the call returns, with room for
    // `count` entries of the sizes that the map has.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            LOOKUP_BATCH,
            &raw mut attributes,
            size_of::<Attributes>(),
        )
    };
    let count = attributes.count as usize;
    if result == 0 {
        return Ok((count, Some(next)));
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::ENOENT) {
        return Ok((count, None));
    }
    Err(error)
}
