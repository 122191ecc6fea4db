//! How many sessions are open, by what they have in common.

use std::{collections::HashMap, hash::Hash};

use foldhash::fast::RandomState;

/// Servers, or prefixes, whose sessions are counted; those beyond count as if none were open.
const MOST: usize = 65_536;

/// How many sessions are open of each.
pub(super) struct Live<K>(HashMap<K, u32, RandomState>);

impl<K> Default for Live<K> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

impl<K: Eq + Hash> Live<K> {
    pub(super) fn opened(&mut self, whose: K) {
        if self.0.len() < MOST || self.0.contains_key(&whose) {
            *self.0.entry(whose).or_default() += 1;
        }
    }

    pub(super) fn closed(&mut self, whose: &K) {
        let Some(open) = self.0.get_mut(whose) else {
            return;
        };
        *open -= 1;
        if *open == 0 {
            self.0.remove(whose);
        }
    }

    pub(super) fn of(&self, whose: &K) -> u32 {
        self.0.get(whose).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_fills_it() {
        let mut live = Live::default();
        for whose in 0..2 * MOST {
            live.opened(whose);
            live.opened(whose);
        }
        assert_eq!(live.0.len(), MOST);
        assert_eq!((live.of(&0), live.of(&MOST)), (2, 0));
        for whose in (0..2 * MOST).chain(0..2 * MOST) {
            live.closed(&whose);
        }
        assert!(live.0.is_empty());
    }
}
