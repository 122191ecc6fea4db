//! The [index](sstpulse_common::index) in a map, with its locks.

use core::{hint::black_box, ptr};

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, bpf_spin_lock},
    btf_maps::Array,
    helpers::{bpf_spin_lock as lock, bpf_spin_unlock as unlock},
    macros::btf_map,
};
use sstpulse_common::{
    FlowKey,
    counters::Counter,
    index::{Home, PLACES, PROBES, State, Tag, WORDS, passes_first},
};

use crate::{config, maps};

/// What there is of a bucket: a cache line.
#[repr(C)]
struct Line {
    lock: bpf_spin_lock,
    state: State,
    /// Eight tags each.
    tags: [u64; WORDS],
}

/// The buckets. Nobody maps them; that they can be lets them begin with a page, and each with a
/// cache line.
#[btf_map]
static INDEX: Array<Line, 1, { BPF_F_MMAPABLE as usize }> = Array::new();

/// What the functions here say if there is no slot.
const NOWHERE: u32 = u32::MAX;

/// Times that a flow tries to be published while others of its bucket are.
const TRIES: usize = 8;

#[inline(always)]
fn line(bucket: u32) -> Option<*mut Line> {
    INDEX.get_ptr_mut(bucket)
}

#[inline(always)]
fn home(key: &FlowKey) -> Home {
    Home::of(key, config::multipliers(), config::geometry())
}

/// The tag at a place of a bucket, if it has so many.
#[inline(always)]
fn tag(line: *mut Line, place: u32) -> Option<*mut u8> {
    let place = config::forget(place as usize)?;
    if place >= PLACES as usize {
        return None;
    }
    // SAFETY: within the line, as just checked.
    let tag = unsafe { (&raw mut (*line).tags).cast::<u8>().add(place) };
    // Hidden from the compiler, which would put the place aside and add it later: old kernels
    // forget the bounds of a number that was put aside, and not those of a pointer.
    Some(black_box(tag))
}

/// The tag of a slot, and the line that it stands in.
#[inline(always)]
fn tag_of(slot: u32) -> Option<(*mut Line, *mut u8)> {
    let (bucket, place) = config::geometry().place_of(slot);
    let line = line(bucket)?;
    Some((line, tag(line, place)?))
}

/// The slot of the flow that this CPU judges.
#[inline(always)]
pub fn find(key: &FlowKey) -> Option<u32> {
    let home = home(key);
    // SAFETY: array values never move. Volatile: others write meanwhile, a byte at a time.
    let found = unsafe { tag(line(home.bucket)?, home.place)?.read_volatile() };
    // The slot does not depend on what was read, so a CPU that expects the flow here goes on.
    let slot = config::geometry().slot(home.bucket, home.place);
    if found == home.tag && holds(slot, key) {
        return Some(slot);
    }
    let slot = sstpulse_search(home.bucket, u32::from(home.tag));
    (slot != NOWHERE).then_some(slot)
}

/// Whether the record in a slot is this flow's.
#[inline(always)]
fn holds(slot: u32, key: &FlowKey) -> bool {
    maps::session(slot).is_some_and(|record| {
        // What follows reads these lines. Asked for now, they come together with the key's, and
        // not one after the other.
        fetch(&raw const record.from_client.segments);
        fetch(&raw const record.from_server.segments);
        same(&record.head.key, key)
    })
}

/// Begins to fetch the cache line of a word.
#[inline(always)]
fn fetch(word: *const u64) {
    // SAFETY: a word of a record; volatile, or the compiler would leave it out.
    let _ = unsafe { word.read_volatile() };
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

/// [`holds`], of the flow that this CPU judges.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sstpulse_holds(slot: u32) -> u32 {
    maps::parsed().map_or(0, |parsed| u32::from(holds(slot, &parsed.key)))
}

/// Looks for the flow that this CPU judges in its bucket, and in those that it may have gone to.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sstpulse_search(home: u32, wanted: u32) -> u32 {
    let geometry = config::geometry();
    let mut bucket = home;
    for probe in 0..PROBES {
        if probe >= geometry.buckets {
            break;
        }
        let slot = sstpulse_search_bucket(bucket, wanted);
        if slot != NOWHERE {
            return slot;
        }
        // SAFETY: as in `find`.
        let passed = line(bucket)
            .is_some_and(|line| unsafe { (&raw const (*line).state).read_volatile().is_passed() });
        if !passed {
            break;
        }
        bucket = geometry.next(bucket, home, wanted as u8);
    }
    NOWHERE
}

/// Looks for the flow that this CPU judges in one bucket.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sstpulse_search_bucket(bucket: u32, wanted: u32) -> u32 {
    let Some(line) = line(bucket) else {
        return NOWHERE;
    };
    for word in 0..WORDS {
        // SAFETY: as in `find`.
        let tags = unsafe { (&raw const (*line).tags[word]).read_volatile() };
        let mut matches = Tag::matches(tags, wanted as u8);
        for _ in 0..8 {
            if matches == 0 {
                break;
            }
            let place = word as u32 * 8 + Tag::first_of(matches);
            let slot = config::geometry().slot(bucket, place);
            if sstpulse_holds(slot) != 0 {
                return slot;
            }
            matches &= matches - 1;
        }
    }
    NOWHERE
}

/// Takes a free slot for the flow that this CPU judges.
#[inline(always)]
pub fn take(key: &FlowKey) -> Option<u32> {
    let home = home(key);
    let slot = sstpulse_take(home.bucket, home.place, u32::from(home.tag));
    (slot != NOWHERE).then_some(slot)
}

/// Takes a free slot: the one at a place of a bucket, or another one there, or one in the buckets
/// that a flow with this tag goes on to. Those that it passes count it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sstpulse_take(home: u32, first: u32, tag: u32) -> u32 {
    let geometry = config::geometry();
    if sstpulse_room(home, tag) == 0 {
        return NOWHERE;
    }
    let (mut bucket, mut passed) = (home, 0);
    let second = geometry.second(home, tag as u8);
    if passes_first(sstpulse_free_in(home), sstpulse_free_in(second)) {
        sstpulse_pass(home);
        (bucket, passed) = (second, 1);
    }
    for _ in 0..PROBES {
        if passed >= PROBES || passed >= geometry.buckets {
            break;
        }
        let place = sstpulse_take_in(bucket, first);
        if place != NOWHERE {
            return geometry.slot(bucket, place);
        }
        bucket = geometry.next(bucket, home, tag as u8);
        passed += 1;
    }
    sstpulse_unpass(home, tag, passed);
    NOWHERE
}

/// Whether a slot is free in the buckets that a flow can go to. Once none is, each segment without
/// a session asks, so nothing is written that others read.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sstpulse_room(home: u32, tag: u32) -> u32 {
    let geometry = config::geometry();
    let mut bucket = home;
    for probe in 0..PROBES {
        if probe >= geometry.buckets {
            break;
        }
        if sstpulse_free_in(bucket) > 0 {
            return 1;
        }
        bucket = geometry.next(bucket, home, tag as u8);
    }
    0
}

/// How many slots of a bucket are free.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sstpulse_free_in(bucket: u32) -> u32 {
    let Some(line) = line(bucket) else {
        return 0;
    };
    let mut free = 0;
    for word in 0..WORDS {
        // SAFETY: as in `find`.
        let tags = unsafe { (&raw const (*line).tags[word]).read_volatile() };
        free += Tag::count_of(Tag::matches(tags, Tag::FREE));
    }
    // Places that the table does not have look free.
    free.saturating_sub(PLACES.saturating_sub(config::geometry().places))
}

/// A flow passes a bucket that has room.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sstpulse_pass(bucket: u32) -> u32 {
    if let Some(line) = line(bucket) {
        // SAFETY: as in `sstpulse_take_in`.
        unsafe {
            lock(&raw mut (*line).lock);
            (*line).state = (*line).state.pass();
            unlock(&raw mut (*line).lock);
        }
    }
    0
}

/// Takes a place in a bucket, this one if it is free; if none is, a flow passes.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sstpulse_take_in(bucket: u32, first: u32) -> u32 {
    let places = config::geometry().places;
    let Some(line) = line(bucket) else {
        return NOWHERE;
    };
    let Some(first_tag) = tag(line, first) else {
        return NOWHERE;
    };
    // SAFETY: a lock in a map's value, given back below. Between the two, this CPU alone changes
    // the line. Nothing may be called meanwhile.
    unsafe {
        lock(&raw mut (*line).lock);
        let mut place = PLACES;
        if first_tag.read_volatile() == Tag::FREE {
            place = first;
        }
        for word in 0..WORDS {
            if place < places {
                break;
            }
            place = word as u32 * 8 + first_free((*line).tags[word]);
        }
        // The second half is for the verifier.
        let found = place < places && place < PLACES;
        if found {
            let tags = (&raw mut (*line).tags).cast::<u8>();
            tags.add(place as usize).write_volatile(Tag::TAKEN);
        } else {
            (*line).state = (*line).state.pass();
        }
        unlock(&raw mut (*line).lock);
        if found { place } else { NOWHERE }
    }
}

/// Which of eight tags is the first free one; if none is, no place is so high.
#[inline(always)]
fn first_free(tags: u64) -> u32 {
    match Tag::matches(tags, Tag::FREE) {
        0 => PLACES,
        free => Tag::first_of(free),
    }
}

/// Frees a slot that [`take`] gave for a flow, and that does not lead there.
#[inline(always)]
pub fn give_back(key: &FlowKey, slot: u32) {
    unpass(key, slot);
    free(slot);
}

/// Frees a slot that was [withdrawn](withdraw).
#[inline(always)]
pub fn free(slot: u32) {
    if let Some((line, tag)) = tag_of(slot) {
        // SAFETY: as in `sstpulse_take_in`. Under the lock, since whoever looks for a free slot
        // does so.
        unsafe {
            lock(&raw mut (*line).lock);
            tag.write_volatile(Tag::FREE);
            unlock(&raw mut (*line).lock);
        }
    }
}

/// The buckets that a flow passed on its way to a slot are passed by one less.
#[inline(always)]
fn unpass(key: &FlowKey, slot: u32) {
    let geometry = config::geometry();
    let (bucket, _) = geometry.place_of(slot);
    let home = home(key);
    let passed = geometry.passed(bucket, home.bucket, home.tag);
    sstpulse_unpass(home.bucket, u32::from(home.tag), passed);
}

/// So many buckets from `home` on are passed by one flow with this tag less.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sstpulse_unpass(home: u32, tag: u32, count: u32) -> u32 {
    let mut bucket = home;
    for passed in 0..PROBES {
        if passed >= count {
            break;
        }
        let Some(line) = line(bucket) else {
            break;
        };
        // SAFETY: as in `sstpulse_take_in`.
        unsafe {
            lock(&raw mut (*line).lock);
            (*line).state = (*line).state.unpass();
            unlock(&raw mut (*line).lock);
        }
        bucket = config::geometry().next(bucket, home, tag as u8);
    }
    0
}

/// Lets the flow that this CPU judges lead to a slot; false if it leads somewhere already.
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
    let home = home(&parsed.key);
    for _ in 0..TRIES {
        let (Some(line), Some((_, tag))) = (line(home.bucket), tag_of(slot)) else {
            return 0;
        };
        // SAFETY: as in `find`; before the search, so that it tells of what comes after.
        let state = unsafe { (&raw const (*line).state).read_volatile() };
        if sstpulse_search(home.bucket, u32::from(home.tag)) != NOWHERE {
            return 0;
        }
        // SAFETY: as in `sstpulse_take_in`. The tag is of a slot that is this CPU's, and of its
        // line nothing else is written.
        let published = unsafe {
            lock(&raw mut (*line).lock);
            let unchanged = (*line).state.version() == state.version();
            if unchanged {
                (*line).state = (*line).state.publish();
                tag.write_volatile(home.tag);
            }
            unlock(&raw mut (*line).lock);
            unchanged
        };
        if published {
            return 1;
        }
    }
    maps::count(Counter::IndexRefused);
    0
}

/// Lets a flow lead to its slot no more, if it does. The slot stays taken.
#[inline(always)]
pub fn withdraw(key: &FlowKey, slot: u32) {
    let Some((line, tag)) = tag_of(slot) else {
        return;
    };
    // SAFETY: as in `sstpulse_take_in`.
    let led = unsafe {
        lock(&raw mut (*line).lock);
        let led = tag.read_volatile() > Tag::TAKEN;
        if led {
            tag.write_volatile(Tag::TAKEN);
        }
        unlock(&raw mut (*line).lock);
        led
    };
    if led {
        unpass(key, slot);
    }
}
