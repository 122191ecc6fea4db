//! Failures, grouped by what they have in common.

use std::{net::SocketAddr, num::NonZeroUsize};

use foldhash::fast::RandomState;
use lru::LruCache;

use super::{
    Change, Finding,
    group::{Group, Measure},
    live::Live,
    sign::{Failure, SAME_MS, Server, Sign},
};
use crate::{
    diagnosis::{ClusterLimits, Thresholds},
    event::{AnomalyState, ClusterCode, Scope, ScopeKind},
    report::{nanoseconds, prefix::Prefix},
};

/// Groups that are remembered: each is a kind of failure of a server or prefix.
const MOST: NonZeroUsize = NonZeroUsize::new(1_024).unwrap();

/// Clients of a prefix that are cut off within this time belong together; so do attempts.
const CUT_OFF_NS: u64 = 600_000_000_000;

/// What is of so many prefixes that it takes half of a server's sessions is the server's.
const WHOLE_PERCENT: f32 = 50.0;

/// Sessions lost after the same idleness within this time belong together.
const SHARED_NS: u64 = 86_400_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    code: ClusterCode,
    whose: Whose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Whose {
    Server(Server),
    Prefix(Prefix),
    /// A server, and an idleness in units of [`SAME_MS`].
    Idle(Server, u64),
}

impl Key {
    const fn is_by_prefix(code: ClusterCode) -> bool {
        matches!(
            code,
            ClusterCode::ClientsCutOff | ClusterCode::ClientsReset | ClusterCode::PathsDead
        )
    }

    /// The same failures, of all prefixes.
    const fn of_all(self, server: Server) -> Self {
        Self {
            code: self.code,
            whose: Whose::Server(server),
        }
    }

    /// Whether it is the server's of what else is of prefixes.
    const fn is_of_prefixes(&self) -> bool {
        Self::is_by_prefix(self.code) && matches!(self.whose, Whose::Server(_))
    }
}

/// Failures, grouped by what they have in common.
pub(super) struct Groups {
    remembered: LruCache<Key, Group, RandomState>,
    /// Pushed out before it was told that they are over.
    pushed_out: Vec<(Key, Group)>,
    displaced: u64,
    rules: Rules,
}

/// Where lines are drawn.
struct Rules {
    together_ns: u64,
    hello_ns: u64,
    alike: u32,
    limits: ClusterLimits,
}

/// How many sessions are open.
#[derive(Default)]
pub(super) struct Open {
    pub(super) servers: Live<Server>,
    pub(super) prefixes: Live<Prefix>,
}

impl Open {
    fn of(&self, key: &Key) -> u32 {
        match &key.whose {
            Whose::Server(server) | Whose::Idle(server, _) => self.servers.of(server),
            Whose::Prefix(prefix) => self.prefixes.of(prefix),
        }
    }
}

impl Groups {
    pub(super) fn new(thresholds: &Thresholds, limits: ClusterLimits) -> Self {
        Self {
            remembered: LruCache::with_hasher(MOST, RandomState::default()),
            pushed_out: Vec::new(),
            displaced: 0,
            rules: Rules {
                together_ns: nanoseconds(thresholds.together),
                hello_ns: nanoseconds(thresholds.hello),
                alike: thresholds.alike,
                limits,
            },
        }
    }

    /// Failures forgotten for newer ones before it was clear whether they are a cluster.
    pub(super) const fn displaced(&self) -> u64 {
        self.displaced
    }

    pub(super) fn take(&mut self, sign: &Sign, open: &Open) {
        let key = self.key(sign);
        self.add(key, sign, open);
        if let Whose::Prefix(_) = key.whose {
            self.add(key.of_all(sign.server), sign, open);
        }
    }

    fn add(&mut self, key: Key, sign: &Sign, open: &Open) {
        let (measure, still_open) = (self.rules.measure(&key), open.of(&key));
        if let Some(group) = self.remembered.get_mut(&key) {
            return group.add(sign, &measure, still_open);
        }
        let group = Group::new(sign, &measure, still_open);
        let Some((key, group)) = self.remembered.push(key, group) else {
            return;
        };
        if group.is_told() {
            self.pushed_out.push((key, group));
        } else if group.may_grow(&self.rules.measure(&key), sign.time_ns) {
            self.displaced += 1;
        }
    }

    fn key(&self, sign: &Sign) -> Key {
        let code = sign.code;
        let whose = match sign.failure {
            Failure::Idle { idle_ms, .. } => self.idle(sign.server, idle_ms),
            _ if Key::is_by_prefix(code) => Whose::Prefix(sign.prefix),
            _ => Whose::Server(sign.server),
        };
        Key { code, whose }
    }

    /// Those of the same idleness, which may be counted in the unit before or after.
    fn idle(&self, server: Server, idle_ms: u64) -> Whose {
        let unit = idle_ms / SAME_MS;
        let is_same = |whose: &Whose| {
            let key = Key {
                code: ClusterCode::SharedIdleTimeout,
                whose: *whose,
            };
            let group = self.remembered.peek(&key).map(|group| group.failure);
            matches!(group, Some(Failure::Idle { idle_ms: other, .. })
                if idle_ms.abs_diff(other) <= SAME_MS)
        };
        let units = [unit, unit.saturating_sub(1), unit.saturating_add(1)];
        let mut known = units.into_iter().map(|unit| Whose::Idle(server, unit));
        known.find(is_same).unwrap_or(Whose::Idle(server, unit))
    }

    /// Tells which begin, and which are over. At the `last` look nothing more is waited for.
    pub(super) fn look(&mut self, open: &Open, now: u64, last: bool) -> Vec<Finding> {
        let mut found: Vec<_> = std::mem::take(&mut self.pushed_out)
            .into_iter()
            .map(|(key, group)| finding(&key, group.change(AnomalyState::Cleared), open))
            .collect();
        // What is told of a server need not be told of each prefix.
        let mut of_servers = Vec::new();
        for (key, group) in &mut self.remembered {
            if !key.is_of_prefixes() {
                continue;
            }
            // If most are of one prefix, it is that prefix.
            let told = !group.is_mostly_of_one_prefix();
            found.extend(self.rules.look(key, group, told, open, now, last));
            if group.is_told() {
                of_servers.push(key.code);
            }
        }
        for (key, group) in &mut self.remembered {
            if !key.is_of_prefixes() {
                let told = !of_servers.contains(&key.code);
                found.extend(self.rules.look(key, group, told, open, now, last));
            }
        }
        found
    }
}

impl Rules {
    /// When failures of a kind are a cluster.
    fn measure(&self, key: &Key) -> Measure {
        let share_percent = if key.is_of_prefixes() {
            self.limits.share_percent.max(WHOLE_PERCENT)
        } else {
            self.limits.share_percent
        };
        let (window_ns, least, share_percent) = match key.code {
            ClusterCode::ServerRestart | ClusterCode::ClientsReset => {
                (self.together_ns, self.alike, share_percent)
            }
            // Whoever is idle sends nothing for up to a hello before the path dies.
            ClusterCode::PathsDead => (self.hello_ns.saturating_mul(2), self.alike, share_percent),
            // A few scans of a quiet server look like this.
            ClusterCode::ClientsCutOff if key.is_of_prefixes() => {
                (CUT_OFF_NS, self.limits.least, share_percent)
            }
            ClusterCode::ClientsCutOff => (CUT_OFF_NS, self.alike, 0.0),
            ClusterCode::SharedIdleTimeout => (SHARED_NS, self.alike, 0.0),
            _ => (CUT_OFF_NS, self.limits.least, 0.0),
        };
        Measure {
            window_ns,
            least,
            share_percent,
            calm_ns: nanoseconds(self.limits.calm).max(window_ns),
        }
    }

    /// What there is to tell of a group, if it is to be `told` at all.
    fn look(
        &self,
        key: &Key,
        group: &mut Group,
        told: bool,
        open: &Open,
        now: u64,
        last: bool,
    ) -> Option<Finding> {
        let state = group.look(&self.measure(key), told, now, last)?;
        let found = finding(key, group.change(state), open);
        if state == AnomalyState::Cleared {
            group.forget();
        }
        Some(found)
    }
}

fn finding(key: &Key, mut change: Change, open: &Open) -> Finding {
    let scope = match key.whose {
        Whose::Server((address, port)) | Whose::Idle((address, port), _) => Scope {
            kind: ScopeKind::Server,
            value: Some(SocketAddr::new(address.into(), port).to_string()),
        },
        Whose::Prefix(prefix) => {
            change.evidence.client_prefix = None;
            Scope {
                kind: ScopeKind::ClientPrefix,
                value: Some(prefix.to_string()),
            }
        }
    };
    change.evidence.still_open = Some(u64::from(open.of(key)));
    Finding {
        code: key.code,
        scope,
        change,
    }
}
