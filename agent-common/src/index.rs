//! From a flow to its slot: a hash table of which a lookup touches one cache line.
//!
//! Slots lie in buckets. Of each slot there is a byte, its tag: whether it is free, and if not,
//! eight bits of its flow's hash. The tags of a bucket are a cache line, and where one stands
//! tells which slot it is of. So a lookup reads a line of tags, and the record that the matching
//! one belongs to, whose key tells whether it is the right one. The tags of a million sessions
//! are little more than a megabyte, which stays in the caches where the records do not.
//!
//! The hash tells the bucket, the place in it that a flow takes if it is free, and the tag. Half of
//! all lookups find their flow at its place if all slots are taken, and nearly all if few are; so a
//! CPU that guesses well fetches the record before the tags have come. A flow whose bucket is
//! [crowded](CROWDED) has a second one, and goes to the emptier of the two: so the buckets fill up
//! evenly, until hardly a slot is left (Mitzenmacher, "The power of two choices in randomized load
//! balancing", 2001). If both are full, it goes to the next one that is not, within [`PROBES`].
//! Each bucket that a flow passes counts it, so that a lookup knows when to go on (the overflow
//! counts of Bronson and Shi, "Open-sourcing F14", 2019).
//!
//! Whoever changes the tags of a bucket holds its lock; whoever reads them takes no lock. A
//! reader may miss a flow that is just being published, and never finds another one's.

use crate::FlowKey;

/// Slots of a bucket, at most: their tags, a lock, and the [`State`] fill a cache line.
pub const PLACES: u32 = 56;

/// Words of eight tags in a bucket.
pub const WORDS: usize = 7;

/// Buckets that are looked into for a flow, at most. That the slots of so many are all taken
/// happens only if nearly all slots are.
pub const PROBES: u32 = 16;

/// A bucket with fewer free slots is crowded. With more, more flows would be away from their
/// bucket; with fewer, some would find no slot while there is one.
pub const CROWDED: u32 = 10;

/// There are 100 slots for so many sessions: with fewer to spare, flows pass more buckets.
const SESSIONS_OF_100_SLOTS: u64 = 97;

/// What a slot's tag says.
pub struct Tag;

impl Tag {
    /// The slot is free.
    pub const FREE: u8 = 0;
    /// It is taken, and no flow leads to it: not yet, or no more.
    pub const TAKEN: u8 = 1;
    /// The least that stands for a flow.
    const FIRST: u8 = 2;

    /// The tags among eight that are this one: the highest bit of each of their bytes.
    #[inline(always)]
    pub const fn matches(tags: u64, tag: u8) -> u64 {
        const LOW: u64 = u64::from_ne_bytes([0x7f; 8]);
        let differing = tags ^ u64::from_ne_bytes([tag; 8]);
        // The highest bit of a byte is set if any of its others is; so it stays for a zero only.
        !((differing & LOW).wrapping_add(LOW) | differing | LOW)
    }

    /// How many of eight tags match.
    #[inline(always)]
    pub const fn count_of(matches: u64) -> u32 {
        const ONES: u64 = u64::from_ne_bytes([1; 8]);
        ((matches >> 7).wrapping_mul(ONES) >> 56) as u32
    }

    /// Which of eight tags is the first of those that match; 0 if none does.
    #[inline(always)]
    pub const fn first_of(matches: u64) -> u32 {
        // Byte n of this, from the top, is n.
        const NUMBERS: u64 = u64::from_be_bytes([0, 1, 2, 3, 4, 5, 6, 7]);
        let first = matches & matches.wrapping_neg();
        ((first >> 7).wrapping_mul(NUMBERS) >> 56) as u32
    }
}

/// What a bucket knows besides its tags: in its low byte, how many flows have passed it that are
/// in use; above it, a version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct State(u32);

impl State {
    const PASSED: u32 = 0xff;
    const VERSION: u32 = Self::PASSED + 1;

    /// Whether flows that belong here may be in the next bucket.
    #[inline(always)]
    pub const fn is_passed(self) -> bool {
        self.0 & Self::PASSED != 0
    }

    /// One more flow passes.
    #[inline(always)]
    #[must_use]
    pub const fn pass(self) -> Self {
        if self.0 & Self::PASSED == Self::PASSED {
            // Nobody knows how many more there are, so it stays.
            self
        } else {
            Self(self.0 + 1)
        }
    }

    /// A flow that has passed is gone.
    #[inline(always)]
    #[must_use]
    pub const fn unpass(self) -> Self {
        let passed = self.0 & Self::PASSED;
        if passed == 0 || passed == Self::PASSED {
            self
        } else {
            Self(self.0 - 1)
        }
    }

    /// Changes whenever a flow that belongs here is published.
    #[inline(always)]
    pub const fn version(self) -> u32 {
        self.0 & !Self::PASSED
    }

    /// A flow that belongs here is published.
    #[inline(always)]
    #[must_use]
    pub const fn publish(self) -> Self {
        Self(self.0.wrapping_add(Self::VERSION))
    }
}

/// Random numbers that hash flows, one for each word of a key. Nobody who does not know them
/// can tell which flows meet in a bucket (a multilinear hash is strongly universal: Lemire and
/// Kaser, "Strongly universal string hashing is fast", 2014).
pub type Multipliers = [u64; 9];

/// How large the table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// How many buckets there are, at least 1.
    pub buckets: u32,
    /// Slots of each of them: 1 to [`PLACES`].
    pub places: u32,
}

impl Geometry {
    /// The table for so many sessions. One that fits into a bucket has no slot to spare.
    #[expect(clippy::cast_possible_truncation, reason = "cut off at u32::MAX")]
    pub const fn of(sessions: u32) -> Self {
        let slots = if sessions <= PLACES {
            sessions as u64
        } else {
            (sessions as u64 * 100).div_ceil(SESSIONS_OF_100_SLOTS)
        };
        let most = u32::MAX as u64;
        let slots = if slots > most { most } else { slots } as u32;
        let buckets = if slots == 0 {
            1
        } else {
            slots.div_ceil(PLACES)
        };
        Self {
            buckets,
            places: slots.div_ceil(buckets),
        }
    }

    /// How many slots there are.
    pub const fn slots(self) -> u32 {
        self.buckets.saturating_mul(self.places)
    }

    /// The slot at a place of a bucket.
    #[inline(always)]
    pub const fn slot(self, bucket: u32, place: u32) -> u32 {
        bucket.wrapping_mul(self.places).wrapping_add(place)
    }

    /// The bucket and the place of a slot.
    #[inline(always)]
    pub const fn place_of(self, slot: u32) -> (u32, u32) {
        let places = if self.places == 0 { 1 } else { self.places };
        (slot / places, slot % places)
    }

    /// The second bucket of a flow with this tag, if `home` is its first.
    ///
    /// Some that are not far before its first one are never it, so that those after the second,
    /// as far as [`PROBES`] goes, do not lead back. With no more buckets than that it is the next
    /// one, so that all are looked into.
    #[inline(always)]
    pub const fn second(self, home: u32, tag: u8) -> u32 {
        /// 2^32 divided by the golden ratio: tags next to each other lead far apart.
        const SCATTER: u32 = 0x9e37_79b1;

        let others = self.buckets.saturating_sub(PROBES);
        let (offset, _) = digit((tag as u32).wrapping_mul(SCATTER), others);
        self.onward(home, 1 + offset)
    }

    /// The bucket that is looked into for a flow after this one.
    #[inline(always)]
    pub const fn next(self, bucket: u32, home: u32, tag: u8) -> u32 {
        if bucket == home {
            self.second(home, tag)
        } else {
            self.onward(bucket, 1)
        }
    }

    /// How many buckets are looked into for a flow before this one.
    #[inline(always)]
    pub const fn passed(self, bucket: u32, home: u32, tag: u8) -> u32 {
        if bucket == home {
            return 0;
        }
        let second = self.second(home, tag);
        if bucket >= second {
            1 + bucket - second
        } else {
            1 + self.buckets.wrapping_sub(second).wrapping_add(bucket)
        }
    }

    /// The bucket so many after this one, going round; at most once.
    #[inline(always)]
    const fn onward(self, bucket: u32, count: u32) -> u32 {
        let onward = bucket.wrapping_add(count);
        if onward < self.buckets {
            onward
        } else {
            onward.wrapping_sub(self.buckets)
        }
    }
}

/// Whether a flow passes its first bucket, by the free slots there and in its second one.
#[inline(always)]
pub const fn passes_first(free: u32, free_in_second: u32) -> bool {
    free < CROWDED && free < free_in_second
}

/// Where a flow belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home {
    /// The bucket.
    pub bucket: u32,
    /// The place in it that the flow takes if it is free.
    pub place: u32,
    /// The flow's tag.
    pub tag: u8,
}

impl Home {
    /// Where the flow belongs.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a tag is below 256")]
    pub fn of(key: &FlowKey, multipliers: &Multipliers, geometry: Geometry) -> Self {
        // Each takes what the one before has left of the hash.
        let (bucket, rest) = digit(hash(key, multipliers), geometry.buckets);
        let (place, rest) = digit(rest, geometry.places);
        let (tag, _) = digit(rest, 256 - u32::from(Tag::FIRST));
        Self {
            bucket,
            place,
            tag: tag as u8 + Tag::FIRST,
        }
    }
}

/// A number below `base`, by the highest bits of some, and the bits that are left.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a half of it each")]
const fn digit(bits: u32, base: u32) -> (u32, u32) {
    let product = bits as u64 * base as u64;
    ((product >> 32) as u32, product as u32)
}

/// The hash of a flow.
#[inline(always)]
fn hash(key: &FlowKey, multipliers: &Multipliers) -> u32 {
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
    // Sums of flows that come in an order, as addresses are given out, come in an order too, and
    // would crowd some buckets; mixed, they don't (the finalizer of MurmurHash3, its first half).
    hash ^= hash >> 33;
    (hash.wrapping_mul(0xff51_afd7_ed55_8ccd) >> 32) as u32
}

const _: () = assert!(PLACES as usize == WORDS * 8);

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
    use std::{hash::BuildHasher as _, vec};

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
    fn every_tag_is_found_among_eight() {
        for tag in 0..=255 {
            for place in 0..8 {
                // A neighbour that differs by one bit must not be taken for it.
                let mut tags = [tag ^ 1; 8];
                tags[place] = tag;
                let matches = Tag::matches(u64::from_le_bytes(tags), tag);
                assert_eq!(matches, 0x80 << (8 * place), "tag {tag} at {place}");
                assert_eq!(Tag::first_of(matches) as usize, place);
                assert_eq!(Tag::count_of(matches), 1);
            }
            assert_eq!(Tag::matches(u64::from_ne_bytes([!tag; 8]), tag), 0);
            let all = Tag::matches(u64::from_ne_bytes([tag; 8]), tag);
            assert_eq!(Tag::count_of(all), 8);
        }
    }

    #[test]
    fn a_bucket_counts_what_passes_it() {
        let mut state = State::default();
        for _ in 0..254 {
            state = state.pass();
        }
        for _ in 0..254 {
            assert!(state.is_passed());
            state = state.publish().unpass();
        }
        assert!(!state.is_passed());
    }

    #[test]
    fn what_too_many_have_passed_stays_so() {
        let mut state = State::default();
        for _ in 0..300 {
            state = state.pass();
        }
        for _ in 0..300 {
            state = state.unpass();
        }
        assert!(state.is_passed());
    }

    #[test]
    fn a_version_changes_with_each_flow() {
        let state = State::default().pass();
        assert_ne!(state.publish().version(), state.version());
        assert_eq!(state.pass().version(), state.version());
        assert!(state.publish().is_passed());
    }

    #[test]
    fn geometry_has_room_for_all() {
        for (sessions, buckets, places) in [
            (1, 1, 1),
            (56, 1, 56),
            (57, 2, 30),
            (1_000, 19, 55),
            (1 << 20, 19_304, 56),
        ] {
            let geometry = Geometry::of(sessions);
            assert_eq!((geometry.buckets, geometry.places), (buckets, places));
            assert!(geometry.slots() >= sessions);
        }
        assert!(Geometry::of(u32::MAX).slots() > u32::MAX / 100 * 99);
    }

    #[test]
    fn slots_and_places_are_the_same() {
        let geometry = Geometry::of(1_000);
        for slot in 0..geometry.slots() {
            let (bucket, place) = geometry.place_of(slot);
            assert!(bucket < geometry.buckets && place < geometry.places);
            assert_eq!(geometry.slot(bucket, place), slot);
        }
    }

    #[test]
    fn no_bucket_is_looked_into_twice_for_a_flow_and_of_few_each_is() {
        for sessions in [1, 57, 300, 900, 1_000, 1_100, 5_000, 1 << 20] {
            let geometry = Geometry::of(sessions);
            let probes = PROBES.min(geometry.buckets);
            let last = geometry.buckets - 1;
            for home in [0, last / 2, last] {
                for tag in 2..=255 {
                    let mut seen = vec![home];
                    for probe in 1..probes {
                        let bucket = geometry.next(seen[probe as usize - 1], home, tag);
                        assert!(bucket < geometry.buckets && !seen.contains(&bucket));
                        assert_eq!(geometry.passed(bucket, home, tag), probe);
                        seen.push(bucket);
                    }
                    assert_eq!(geometry.passed(home, home, tag), 0);
                }
            }
        }
    }

    /// How many flows pass 0, 1, 2 … buckets until they find a free slot, if as many come as
    /// there may be sessions.
    fn passed(sessions: u32, key: impl Fn(u32) -> FlowKey) -> [u32; PROBES as usize] {
        let (multipliers, geometry) = (multipliers(), Geometry::of(sessions));
        let mut free = vec![geometry.places; geometry.buckets as usize];
        let mut passed = [0; PROBES as usize];
        for number in 0..sessions {
            let Home { bucket, tag, .. } = Home::of(&key(number), &multipliers, geometry);
            let second = geometry.second(bucket, tag);
            let mut at = bucket;
            if passes_first(free[bucket as usize], free[second as usize]) {
                at = second;
            }
            while free[at as usize] == 0 {
                at = geometry.next(at, bucket, tag);
            }
            free[at as usize] -= 1;
            passed[geometry.passed(at, bucket, tag) as usize] += 1;
        }
        passed
    }

    /// A flow that has nothing in common with those of other numbers.
    fn stranger(number: u32) -> FlowKey {
        let [high, low] = [1, 2].map(|salt| {
            let mixed = (u64::from(number) << 2 | salt).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32
        });
        let client = Ipv4Addr::from(u32::try_from(high).unwrap());
        let port = u16::try_from(low >> 16).unwrap() | 1;
        FlowKey::new((client, port).into(), "192.0.2.1:443".parse().unwrap())
    }

    #[test]
    fn every_session_finds_a_slot_and_few_are_away_from_their_bucket() {
        for sessions in [57, 2_000, 1 << 16, 1 << 18] {
            // One that passed more buckets than it may would be out of bounds.
            for (what, passed) in [
                ("IPv4 in order", passed(sessions, |number| key(number, 4))),
                ("IPv6 in order", passed(sessions, |number| key(number, 6))),
                ("strangers", passed(sessions, stranger)),
            ] {
                let at_home = passed[0];
                assert!(at_home > sessions / 5 * 4, "{sessions} {what}: {passed:?}");
            }
        }
    }

    #[test]
    fn flows_are_spread_over_places_and_tags() {
        let (multipliers, geometry) = (multipliers(), Geometry::of(1 << 16));
        let mut places = [0_u32; PLACES as usize];
        let mut tags = [0_u32; 256];
        for number in 0..1 << 16 {
            let home = Home::of(&key(number, 4), &multipliers, geometry);
            places[home.place as usize] += 1;
            tags[usize::from(home.tag)] += 1;
        }
        let even = (1 << 16) / geometry.places;
        let used = &places[..geometry.places as usize];
        assert!(
            used.iter()
                .all(|count| (even / 2..even * 2).contains(count))
        );
        assert_eq!(tags[..2], [0; 2]);
        assert!(tags[2..].iter().all(|count| *count > 100));
    }
}
