//! The [index](sstpulse_common::index) in maps, with its locks.

use core::ptr;

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_NOEXIST, bpf_spin_lock},
    btf_maps::{Array, HashMap},
    helpers::{bpf_spin_lock as lock, bpf_spin_unlock as unlock},
    macros::btf_map,
};
use sstpulse_common::{
    FlowKey,
    index::{Bucket, ENTRIES, Place},
};

use crate::{config, maps};

/// A cache line of the index.
#[repr(C)]
struct Line {
    lock: bpf_spin_lock,
    bucket: Bucket,
}

/// The buckets. Nobody maps them; that they can be lets them begin with a page, and each with a
/// cache line.
#[btf_map]
static INDEX: Array<Line, 1, { BPF_F_MMAPABLE as usize }> = Array::new();

/// Slots of flows that found their bucket full.
#[btf_map]
static SPILLED: HashMap<FlowKey, u32, 1> = HashMap::new();

/// What [`sstpulse_search`] says if it finds nothing.
const NOWHERE: u32 = u32::MAX;

/// Times that a flow tries to get into a bucket that others change meanwhile.
const TRIES: usize = 8;

#[inline(always)]
fn line(place: &Place) -> Option<*mut Line> {
    INDEX.get_ptr_mut(place.bucket)
}

#[inline(always)]
fn place(key: &FlowKey) -> Place {
    Place::of(key, config::multipliers(), config::geometry())
}

/// The slot of the flow that this CPU judges.
#[inline(always)]
pub fn find(key: &FlowKey) -> Option<u32> {
    let place = place(key);
    // SAFETY: array values never move; what others write meanwhile are whole words.
    let bucket = unsafe { &(*line(&place)?).bucket };
    if let Some(slot) = place.slot(bucket.entry(place.first()))
        && holds(slot, key)
    {
        return Some(slot);
    }
    let slot = sstpulse_search(place.bucket, place.tag);
    (slot != NOWHERE).then_some(slot)
}

/// Whether the record in a slot is this flow's.
#[inline(always)]
fn holds(slot: u32, key: &FlowKey) -> bool {
    maps::session(slot).is_some_and(|record| same(&record.head.key, key))
}

/// Whether two keys are the same: with five loads each, where byte by byte would be 36.
#[inline(always)]
#[expect(
    clippy::cast_ptr_alignment,
    reason = "they need not be aligned: see `Checked::read`"
)]
fn same(one: &FlowKey, other: &FlowKey) -> bool {
    const _: () = assert!(size_of::<FlowKey>() == 36);

    let (one, other) = (ptr::from_ref(one), ptr::from_ref(other));
    let mut differs = 0;
    for word in 0..4 {
        // SAFETY: within the 36 bytes.
        unsafe { differs |= *one.cast::<u64>().add(word) ^ *other.cast::<u64>().add(word) };
    }
    // SAFETY: the last four of them.
    unsafe { differs |= u64::from(*one.cast::<u32>().add(8) ^ *other.cast::<u32>().add(8)) };
    differs == 0
}

/// Looks for the flow that this CPU judges in all of its bucket, and among what was spilled.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sstpulse_search(bucket: u32, tag: u32) -> u32 {
    let place = Place {
        bucket,
        tag,
        slot_mask: config::geometry().slot_mask,
    };
    let (Some(parsed), Some(line)) = (maps::parsed(), line(&place)) else {
        return NOWHERE;
    };
    let key = &parsed.key;
    // SAFETY: as in `find`.
    let bucket = unsafe { &(*line).bucket };
    for index in 0..ENTRIES {
        if let Some(slot) = place.slot(bucket.entry(index))
            && holds(slot, key)
        {
            return slot;
        }
    }
    if bucket.has_spilled() {
        // SAFETY: the value is copied at once.
        return unsafe { SPILLED.get(key).copied() }.unwrap_or(NOWHERE);
    }
    NOWHERE
}

/// Lets the flow that this CPU judges lead to a slot; false if it leads somewhere already, or
/// if there is no room.
#[inline(always)]
pub fn publish(slot: u32) -> bool {
    sstpulse_publish(slot) != 0
}

/// [`publish`], in a function of its own.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sstpulse_publish(slot: u32) -> u32 {
    let Some(parsed) = maps::parsed() else {
        return 0;
    };
    let key = &parsed.key;
    let place = place(key);
    for _ in 0..TRIES {
        let Some(line) = line(&place) else {
            return 0;
        };
        // SAFETY: as in `find`; volatile, so that it is read before the search.
        let state = unsafe { (&raw const (*line).bucket).cast::<u32>().read_volatile() };
        if sstpulse_search(place.bucket, place.tag) != NOWHERE {
            return 0;
        }
        // SAFETY: a lock in a map's value, given back below. Between the two, this CPU alone
        // changes the bucket.
        let (unchanged, inserted, spilled) = unsafe {
            lock(&raw mut (*line).lock);
            let bucket = &mut (*line).bucket;
            let unchanged = bucket.state() == state;
            let inserted = unchanged && bucket.insert(&place, slot);
            let spilled = unchanged && !inserted && bucket.spill();
            unlock(&raw mut (*line).lock);
            (unchanged, inserted, spilled)
        };
        if inserted {
            return 1;
        }
        if spilled {
            let kept = SPILLED.insert(key, slot, u64::from(BPF_NOEXIST)).is_ok();
            if !kept {
                unspill(line);
            }
            return u32::from(kept);
        }
        if unchanged {
            return 0;
        }
    }
    0
}

/// Lets a flow lead to its slot no more, if it does.
#[inline(always)]
pub fn withdraw(key: &FlowKey, slot: u32) {
    let place = place(key);
    let Some(line) = line(&place) else {
        return;
    };
    // SAFETY: as in `sstpulse_publish`.
    let (removed, spilled) = unsafe {
        lock(&raw mut (*line).lock);
        let bucket = &mut (*line).bucket;
        let removed = bucket.remove(&place, slot);
        let spilled = bucket.has_spilled();
        unlock(&raw mut (*line).lock);
        (removed, spilled)
    };
    // SAFETY: the value is copied at once.
    let is_spilled = || unsafe { SPILLED.get(key).copied() } == Some(slot);
    if !removed && spilled && is_spilled() && SPILLED.remove(key).is_ok() {
        unspill(line);
    }
}

#[inline(always)]
fn unspill(line: *mut Line) {
    // SAFETY: as in `sstpulse_publish`.
    unsafe {
        lock(&raw mut (*line).lock);
        (*line).bucket.unspill();
        unlock(&raw mut (*line).lock);
    }
}
