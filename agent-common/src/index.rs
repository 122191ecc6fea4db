//! From a flow to its slot: a hash table whose buckets are cache lines.
//!
//! An entry is one word: the slot's number, and above it as much of the flow's hash as there
//! is room for. So a lookup touches one line here, and the record that it leads to, whose key
//! tells whether it is the right one.
//!
//! Where an entry goes first is part of the hash as well, and most lookups find it there. A
//! bucket that is full spills into a table of the caller's, and says so.
//!
//! Whoever changes a bucket holds its lock and moves its version on; whoever reads one takes no
//! lock. A reader may miss an entry that is being made, and never finds another flow's.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::FlowKey;

/// Entries of a bucket: with its lock and its state, one cache line.
pub const ENTRIES: usize = 14;

/// Sessions for each bucket if all slots are taken, at most. Of a thousand sessions, four find
/// their bucket full then.
pub const LOAD: u32 = 8;

/// Places where an entry may go first: a power of two.
const FIRST_PLACES: u32 = 8;

/// A bucket, but for its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Bucket {
    /// In its low byte, how many flows it has spilled; above it, a version.
    state: u32,
    /// Zero, or a [`Place::entry`].
    entries: [u32; ENTRIES],
}

/// Random numbers that hash flows, one for each word of a key. Nobody who does not know them
/// can tell which flows meet in a bucket (a multilinear hash is strongly universal: Lemire and
/// Kaser, "Strongly universal string hashing is fast", 2014).
pub type Multipliers = [u64; 9];

/// How large the index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Buckets less one; they are a power of two.
    pub bucket_mask: u32,
    /// The bits of an entry that hold the slot's number.
    pub slot_mask: u32,
}

impl Geometry {
    /// The index of so many sessions.
    pub const fn of(sessions: u32) -> Self {
        Self {
            bucket_mask: sessions.div_ceil(LOAD).next_power_of_two() - 1,
            slot_mask: sessions.next_power_of_two() - 1,
        }
    }

    /// How many buckets there are.
    pub const fn buckets(self) -> u32 {
        self.bucket_mask + 1
    }
}

/// Where a flow belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the bucket.
    pub bucket: u32,
    /// The entry, as it is with slot 0.
    pub tag: u32,
    /// The bits of the entry that hold the slot's number.
    pub slot_mask: u32,
}

/// Set in all entries, which so differ from an empty one.
const USED: u32 = 1 << 31;

impl Place {
    /// Where the flow belongs.
    #[inline(always)]
    pub fn of(key: &FlowKey, multipliers: &Multipliers, geometry: Geometry) -> Self {
        let [c0, c1, c2, c3, s0, s1, s2, s3, ports] = *multipliers;
        let FlowKey {
            client,
            server,
            client_port,
            server_port,
        } = key;
        let both = u64::from(*client_port) << 16 | u64::from(*server_port);
        let term = |word: u32, multiplier: u64| u64::from(word).wrapping_mul(multiplier);
        let mut hash = term(client.0[3], c3)
            .wrapping_add(term(server.0[3], s3))
            .wrapping_add(both.wrapping_mul(ports));
        // Of IPv4 addresses, the other words are always the same.
        if !key.is_ipv4() {
            hash = hash
                .wrapping_add(term(client.0[0], c0))
                .wrapping_add(term(client.0[1], c1))
                .wrapping_add(term(client.0[2], c2))
                .wrapping_add(term(server.0[0], s0))
                .wrapping_add(term(server.0[1], s1))
                .wrapping_add(term(server.0[2], s2));
        }
        let hash = (hash >> 32) as u32;
        Self {
            bucket: hash & geometry.bucket_mask,
            tag: (hash | USED) & !geometry.slot_mask,
            slot_mask: geometry.slot_mask,
        }
    }

    /// Where in its bucket the entry goes, if there is room.
    #[inline(always)]
    pub const fn first(&self) -> usize {
        // The bits right below the one that all entries share.
        (self.tag >> 28 & (FIRST_PLACES - 1)) as usize
    }

    /// The entry that leads to a slot.
    #[inline(always)]
    pub const fn entry(&self, slot: u32) -> u32 {
        self.tag | slot & self.slot_mask
    }

    /// The slot that an entry leads to, if it can be this flow's.
    #[inline(always)]
    pub const fn slot(&self, entry: u32) -> Option<u32> {
        if entry & !self.slot_mask == self.tag {
            Some(entry & self.slot_mask)
        } else {
            None
        }
    }
}

impl Bucket {
    /// No entry.
    pub const EMPTY: Self = Self {
        state: 0,
        entries: [0; ENTRIES],
    };

    const SPILLED: u32 = 0xff;
    const VERSION: u32 = Self::SPILLED + 1;

    /// The entry at an index below [`ENTRIES`].
    #[inline(always)]
    pub const fn entry(&self, index: usize) -> u32 {
        self.entries[index]
    }

    /// Changes whenever the bucket does.
    #[inline(always)]
    pub const fn state(&self) -> u32 {
        self.state
    }

    /// Whether flows of this bucket may be in the caller's table.
    #[inline(always)]
    pub const fn has_spilled(&self) -> bool {
        self.state & Self::SPILLED != 0
    }

    /// Takes an entry in; false if there is no room. Under the lock.
    #[inline(always)]
    pub fn insert(&mut self, place: &Place, slot: u32) -> bool {
        self.state = self.state.wrapping_add(Self::VERSION);
        let entry = place.entry(slot);
        // A power of two of places, so that the kernel's verifier sees the bound.
        let first = &mut self.entries[place.first() & (FIRST_PLACES as usize - 1)];
        if *first == 0 {
            *first = entry;
            return true;
        }
        for other in &mut self.entries {
            if *other == 0 {
                *other = entry;
                return true;
            }
        }
        false
    }

    /// Takes an entry out; false if it is not there. Under the lock.
    #[inline(always)]
    pub fn remove(&mut self, place: &Place, slot: u32) -> bool {
        self.state = self.state.wrapping_add(Self::VERSION);
        let entry = place.entry(slot);
        for other in &mut self.entries {
            if *other == entry {
                *other = 0;
                return true;
            }
        }
        false
    }

    /// Takes note of a flow that found no room; false if there are too many of them. Under the
    /// lock.
    #[inline(always)]
    pub const fn spill(&mut self) -> bool {
        let room = self.state & Self::SPILLED != Self::SPILLED;
        if room {
            self.state += 1;
        }
        room
    }

    /// Takes note that such a flow is gone. Under the lock.
    #[inline(always)]
    pub const fn unspill(&mut self) {
        if self.has_spilled() {
            self.state -= 1;
        }
    }
}

const _: () = assert!(size_of::<Bucket>() == 60);

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
    use std::{collections::HashMap, hash::BuildHasher as _, vec, vec::Vec};

    use super::*;

    fn multipliers() -> Multipliers {
        let random = std::hash::RandomState::new();
        core::array::from_fn(|index| random.hash_one(index))
    }

    fn key(number: u32, version: u32) -> FlowKey {
        let server: SocketAddr = "192.0.2.1:443".parse().unwrap();
        let client: IpAddr = if version == 4 {
            Ipv4Addr::from((10 << 24) + number).into()
        } else {
            Ipv6Addr::from((0x2001_0db8_u128 << 96) + u128::from(number)).into()
        };
        FlowKey::new((client, 40_000).into(), server)
    }

    #[test]
    fn few_flows_find_no_room_when_all_slots_are_taken() {
        for version in [4, 6] {
            let sessions = 1 << 16;
            let (multipliers, geometry) = (multipliers(), Geometry::of(sessions));
            let mut buckets = vec![Bucket::EMPTY; geometry.buckets() as usize];
            let mut spilled = 0;
            for slot in 0..sessions {
                let place = Place::of(&key(slot, version), &multipliers, geometry);
                let bucket = &mut buckets[place.bucket as usize];
                spilled += u32::from(!bucket.insert(&place, slot));
            }
            assert!(spilled < sessions / 100, "IPv{version}: {spilled}");
        }
    }

    #[test]
    fn entries_come_and_go() {
        let (multipliers, geometry) = (multipliers(), Geometry::of(64));
        let mut buckets = vec![Bucket::EMPTY; geometry.buckets() as usize];
        let mut model = HashMap::new();
        let find = |buckets: &[Bucket], place: &Place| -> Vec<u32> {
            let bucket = &buckets[place.bucket as usize];
            (0..ENTRIES)
                .filter_map(|index| place.slot(bucket.entry(index)))
                .collect()
        };
        for slot in 0..64 {
            let place = Place::of(&key(slot * 77, 4), &multipliers, geometry);
            if buckets[place.bucket as usize].insert(&place, slot) {
                model.insert(slot, place);
            }
        }
        assert!(model.len() > 50);
        for (slot, place) in &model {
            assert!(find(&buckets, place).contains(slot));
        }
        for (slot, place) in &model {
            let before = buckets[place.bucket as usize].state();
            assert!(buckets[place.bucket as usize].remove(place, *slot));
            assert!(!buckets[place.bucket as usize].remove(place, *slot));
            assert_ne!(buckets[place.bucket as usize].state(), before);
            assert!(!find(&buckets, place).contains(slot));
        }
        assert!(buckets.iter().all(|bucket| bucket.entries == [0; ENTRIES]));
    }

    #[test]
    fn a_bucket_counts_what_it_spills() {
        let mut bucket = Bucket::EMPTY;
        for _ in 0..255 {
            assert!(bucket.spill());
        }
        assert!(!bucket.spill());
        for _ in 0..255 {
            assert!(bucket.has_spilled());
            bucket.unspill();
        }
        assert!(!bucket.has_spilled());
    }

    #[test]
    fn geometry_holds_all_slots() {
        for (sessions, buckets, slot_mask) in [
            (1, 1, 0),
            (8, 1, 7),
            (9, 2, 15),
            (1 << 20, 1 << 17, (1 << 20) - 1),
        ] {
            let geometry = Geometry::of(sessions);
            assert_eq!(
                (geometry.buckets(), geometry.slot_mask),
                (buckets, slot_mask)
            );
        }
    }
}
