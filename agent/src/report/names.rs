//! Names of servers, each kept once: a million sessions ask for a few of them.

use std::{collections::HashMap, num::NonZeroU16};

/// Names that are kept at most, none of which is forgotten.
const MOST: usize = 1_024;

/// Names of servers.
#[derive(Debug, Default)]
pub(super) struct Names {
    names: Vec<Box<str>>,
    places: HashMap<Box<str>, NameId>,
}

/// A name that is kept: the first is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NameId(NonZeroU16);

impl Names {
    /// Keeps a name, unless there are too many.
    pub(super) fn keep(&mut self, name: &str) -> Option<NameId> {
        if let Some(id) = self.places.get(name) {
            return Some(*id);
        }
        if self.names.len() >= MOST {
            return None;
        }
        self.names.push(name.into());
        let number = u16::try_from(self.names.len()).ok()?;
        let id = NameId(NonZeroU16::new(number)?);
        self.places.insert(name.into(), id);
        Some(id)
    }

    /// A name that was kept.
    pub(super) fn get(&self, id: NameId) -> &str {
        &self.names[usize::from(id.0.get()) - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_once_and_no_more_than_there_is_room_for() {
        let mut names = Names::default();
        let ids: Vec<_> = (0..=MOST)
            .map(|number| names.keep(&format!("vpn{number}.example")))
            .collect();
        assert_eq!(ids.iter().flatten().count(), MOST);
        assert_eq!(names.keep("vpn7.example"), ids[7]);
        assert_eq!(ids[7].map(|id| names.get(id)), Some("vpn7.example"));
    }
}
