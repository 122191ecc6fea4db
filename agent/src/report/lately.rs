//! What came lately, by key: no more than there is room for. Whatever came longest ago gives
//! its place to what is new, so that making room takes no look at the others; and nothing ever
//! grows or is put in order anew, which would take a look at all of them.

use std::{
    hash::{BuildHasher as _, Hash},
    num::NonZeroU32,
};

use foldhash::fast::RandomState;

/// The place of an entry; the first is 1.
type Place = NonZeroU32;

/// Values by key, in the order in which the keys came last.
pub(super) struct Lately<K, V> {
    most: usize,
    hasher: RandomState,
    /// One entry of each bucket, if there is one: keys are in buckets by their hash.
    buckets: Vec<Option<Place>>,
    entries: Vec<Entry<K, V>>,
    /// What came last.
    newest: Option<Place>,
    /// What came longest ago.
    oldest: Option<Place>,
}

struct Entry<K, V> {
    key: K,
    value: V,
    /// Another one of its bucket.
    next: Option<Place>,
    /// What came after it.
    newer: Option<Place>,
    /// What came before it.
    older: Option<Place>,
}

impl<K: Eq + Hash, V: Default> Lately<K, V> {
    /// Nothing yet, and room for so many.
    pub(super) fn new(most: u32) -> Self {
        let most = most as usize;
        Self {
            most,
            hasher: RandomState::default(),
            // What is not used takes no memory: the allocator has zeros.
            buckets: vec![None; most.next_power_of_two()],
            entries: Vec::with_capacity(most),
            newest: None,
            oldest: None,
        }
    }

    /// The value of a key, if it is remembered.
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        let place = self.find(key)?;
        Some(&self.entries[index(place)].value)
    }

    /// The same, to change it.
    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let place = self.find(key)?;
        Some(&mut self.entries[index(place)].value)
    }

    /// The value of a key that comes: the default if it is not remembered.
    pub(super) fn come(&mut self, key: K) -> &mut V {
        let place = match (self.find(&key), self.oldest) {
            (Some(place), _) => {
                self.unlink(place);
                place
            }
            (None, Some(oldest)) if self.entries.len() >= self.most => {
                self.replace(oldest, key);
                oldest
            }
            (None, _) => self.add(key),
        };
        self.link_as_newest(place);
        &mut self.entries[index(place)].value
    }

    fn bucket(&self, key: &K) -> usize {
        let hash = self.hasher.hash_one(key) >> 32;
        // There are a power of two of them.
        usize::try_from(hash).unwrap_or_default() & (self.buckets.len() - 1)
    }

    fn find(&self, key: &K) -> Option<Place> {
        let mut next = self.buckets[self.bucket(key)];
        while let Some(place) = next {
            let entry = &self.entries[index(place)];
            if entry.key == *key {
                return Some(place);
            }
            next = entry.next;
        }
        None
    }

    /// Adds an entry, which is not linked yet.
    fn add(&mut self, key: K) -> Place {
        let before = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let place = Place::MIN.saturating_add(before);
        let bucket = self.bucket(&key);
        self.entries.push(Entry {
            key,
            value: V::default(),
            next: self.buckets[bucket].replace(place),
            newer: None,
            older: None,
        });
        place
    }

    /// Gives the place of an entry to another key. It is not linked any more.
    fn replace(&mut self, place: Place, key: K) {
        self.unlink(place);
        self.take_from_bucket(place);
        let bucket = self.bucket(&key);
        let next = self.buckets[bucket].replace(place);
        let entry = &mut self.entries[index(place)];
        (entry.key, entry.value, entry.next) = (key, V::default(), next);
    }

    fn take_from_bucket(&mut self, place: Place) {
        let after = self.entries[index(place)].next;
        let bucket = self.bucket(&self.entries[index(place)].key);
        let mut at = &mut self.buckets[bucket];
        while let Some(other) = *at {
            if other == place {
                *at = after;
                return;
            }
            at = &mut self.entries[index(other)].next;
        }
    }

    fn unlink(&mut self, place: Place) {
        let entry = &mut self.entries[index(place)];
        let (newer, older) = (entry.newer.take(), entry.older.take());
        match newer {
            Some(newer) => self.entries[index(newer)].older = older,
            None => self.newest = older,
        }
        match older {
            Some(older) => self.entries[index(older)].newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link_as_newest(&mut self, place: Place) {
        let older = self.newest.replace(place);
        self.entries[index(place)].older = older;
        match older {
            Some(older) => self.entries[index(older)].newer = Some(place),
            None => self.oldest = Some(place),
        }
    }
}

const fn index(place: Place) -> usize {
    place.get() as usize - 1
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, hash::Hasher};

    use super::*;

    thread_local! {
        /// Keys that were hashed or compared.
        static LOOKS: Cell<u64> = const { Cell::new(0) };
    }

    /// A key that counts how often it is looked at.
    #[derive(Clone, Copy, Debug, Eq)]
    struct Key(u32);

    impl PartialEq for Key {
        fn eq(&self, other: &Self) -> bool {
            LOOKS.set(LOOKS.get() + 1);
            self.0 == other.0
        }
    }

    impl Hash for Key {
        fn hash<H: Hasher>(&self, state: &mut H) {
            LOOKS.set(LOOKS.get() + 1);
            self.0.hash(state);
        }
    }

    fn remembered(lately: &Lately<u32, u32>, keys: &[u32]) -> Vec<u32> {
        let remembered = keys.iter().copied().filter(|key| lately.get(key).is_some());
        remembered.collect()
    }

    #[test]
    fn what_came_longest_ago_goes_first() {
        let mut lately = Lately::new(3);
        for key in [1, 2, 3] {
            *lately.come(key) = key * 10;
        }
        // Only to come again counts, not to be asked for.
        *lately.come(1) += 1;
        assert_eq!(lately.get(&2), Some(&20));
        *lately.get_mut(&3).unwrap() += 5;
        lately.come(4);
        assert_eq!(remembered(&lately, &[1, 2, 3, 4]), [1, 3, 4]);
        lately.come(5);
        assert_eq!(remembered(&lately, &[1, 2, 3, 4, 5]), [1, 4, 5]);
        assert_eq!(lately.get(&1), Some(&11));
        assert_eq!(*lately.come(2), 0, "it is new again");
        assert_eq!(remembered(&lately, &[1, 2, 3, 4, 5]), [2, 4, 5]);
    }

    #[test]
    fn there_may_be_room_for_one() {
        let mut lately = Lately::new(1);
        for key in [1, 1, 2, 2, 1] {
            *lately.come(key) += 1;
        }
        assert_eq!((lately.get(&1), lately.get(&2)), (Some(&1), None));
    }

    #[test]
    fn making_room_takes_few_looks_however_many_there_are() {
        const MOST: u32 = 10_000;
        let mut lately: Lately<Key, u32> = Lately::new(MOST);
        for key in 0..MOST {
            lately.come(Key(key));
        }
        for key in MOST..4 * MOST {
            LOOKS.set(0);
            lately.come(Key(key));
            // It is hashed twice, what goes once; and compared with the few of its bucket.
            assert!(LOOKS.get() <= 24, "{} looks", LOOKS.get());
            assert!(lately.get(&Key(key - MOST)).is_none());
        }
        assert_eq!(lately.entries.len(), MOST as usize);
    }
}
