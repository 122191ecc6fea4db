//! What counts must be, held against each other: equal, or different by a rule.

use lab::{DirectionFaults, Loss};

use super::{Row, measure::Measured};

/// Why two counts differ, and by how much.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) name: &'static str,
    /// What ours is.
    pub(super) formula: &'static str,
}

/// They count the same.
const EQUAL: Rule = Rule {
    name: "equal",
    formula: "theirs",
};

/// The server's SYN-ACK is sent before there is a socket that counts it.
const SYN_ACK: Rule = Rule {
    name: "SYN-ACK",
    formula: "theirs + 1",
};

/// The server's socket takes over how often its SYN-ACK was repeated.
const SYN_ACK_AGAIN: Rule = Rule {
    name: "SYN-ACK again",
    formula: "theirs - repeated SYN-ACKs",
};

/// A socket counts each byte received once; the wire, each time it passes.
const COPIES: Rule = Rule {
    name: "copies",
    formula: "theirs + bytes that the path delivered again",
};

/// The path stands between the client's socket and us, and it loses and duplicates.
const BEFORE_PATH: Rule = Rule {
    name: "before the path",
    formula: "theirs - lost + duplicated",
};

/// The same, the other way.
const BEHIND_PATH: Rule = Rule {
    name: "behind the path",
    formula: "theirs + lost - duplicated",
};

/// Both at once: received by a socket behind the path.
const COPIES_BEHIND_PATH: Rule = Rule {
    name: "copies, behind the path",
    formula: "theirs + bytes delivered again + lost - duplicated",
};

/// Nothing overtook: nothing is out of order.
const IN_ORDER: Rule = Rule {
    name: "in order",
    formula: "0",
};

/// Nothing was lost: what did not just come late was sent again, or duplicated.
const NOTHING_LOST: Rule = Rule {
    name: "nothing lost",
    formula: "theirs + duplicated",
};

/// Copies were needless if their data was acknowledged, or the client said so.
const NEEDLESS: Rule = Rule {
    name: "needless",
    formula: "max(acknowledged before, theirs)",
};

/// All rules, for the table's legend.
pub(super) const RULES: [&Rule; 10] = [
    &EQUAL,
    &SYN_ACK,
    &SYN_ACK_AGAIN,
    &COPIES,
    &BEFORE_PATH,
    &BEHIND_PATH,
    &COPIES_BEHIND_PATH,
    &IN_ORDER,
    &NOTHING_LOST,
    &NEEDLESS,
];

/// A count of ours beside one of theirs.
#[derive(Debug)]
pub(super) struct Check {
    counter: &'static str,
    ours: u64,
    theirs: u64,
    rule: &'static Rule,
    /// What ours has to be by the rule.
    due: u64,
}

impl Check {
    pub(super) fn holds(&self) -> bool {
        self.ours == self.due
    }

    /// The cells of the table: counter, ours, theirs, difference, rule.
    pub(super) fn cells(&self) -> [String; 5] {
        let difference = i128::from(self.ours) - i128::from(self.theirs);
        let verdict = if self.holds() { "" } else { ": BROKEN" };
        [
            self.counter.into(),
            self.ours.to_string(),
            self.theirs.to_string(),
            format!("{difference:+}"),
            format!("{}{verdict}", self.rule.name),
        ]
    }
}

fn equal(counter: &'static str, ours: impl Into<u64>, theirs: impl Into<u64>) -> Check {
    let theirs = theirs.into();
    Check {
        counter,
        ours: ours.into(),
        theirs,
        rule: &EQUAL,
        due: theirs,
    }
}

/// Ours is `theirs + more - less` by the rule.
fn by_rule(
    rule: &'static Rule,
    counter: &'static str,
    ours: u64,
    theirs: u64,
    more: u64,
    less: u64,
) -> Check {
    Check {
        counter,
        ours,
        theirs,
        rule,
        due: (theirs + more).wrapping_sub(less),
    }
}

/// Everything that must hold of a flow.
pub(super) fn checks(row: &Row, all: &Measured) -> Vec<Check> {
    let mut checks = server_socket(all);
    checks.extend(client_socket(all));
    checks.extend(path(all));
    checks.extend(split(row, all));
    checks.extend(reports(row, all));
    checks
}

/// The socket that we stand beside.
fn server_socket(all: &Measured) -> Vec<Check> {
    let (client, server, socket) = (&all.client, &all.server, &all.server.socket);
    vec![
        equal("server bytes_sent", server.told.bytes, socket.bytes_sent),
        equal(
            "server bytes_retrans",
            server.told.retransmitted_bytes,
            socket.bytes_retrans,
        ),
        by_rule(
            &SYN_ACK_AGAIN,
            "server total_retrans",
            server.told.retransmits,
            socket.total_retrans.into(),
            0,
            all.record.from_server.syn_retransmits.into(),
        ),
        by_rule(
            &SYN_ACK,
            "server segs_out",
            server.told.segments,
            socket.segs_out.into(),
            1 + u64::from(all.record.from_server.syn_retransmits),
            0,
        ),
        equal("server segs_in", client.told.segments, socket.segs_in),
        by_rule(
            &COPIES,
            "server bytes_received",
            client.told.bytes,
            socket.bytes_received,
            client.path.delivered.known.bytes,
            0,
        ),
    ]
}

/// The socket at the other end of the path.
fn client_socket(all: &Measured) -> Vec<Check> {
    let (client, server, socket) = (&all.client, &all.server, &all.client.socket);
    let (up, down) = (&client.path, &server.path);
    vec![
        by_rule(
            &BEFORE_PATH,
            "client segs_out",
            client.told.segments,
            socket.segs_out.into(),
            up.duplicated.segments,
            up.dropped.segments,
        ),
        by_rule(
            &BEFORE_PATH,
            "client bytes_sent",
            client.told.bytes,
            socket.bytes_sent,
            up.duplicated.bytes,
            up.dropped.bytes,
        ),
        // Of what the client sent again, we see what was needless.
        by_rule(
            &BEFORE_PATH,
            "client bytes_retrans",
            client.told.bytes - server.socket.bytes_received,
            socket.bytes_retrans,
            up.duplicated.bytes,
            up.dropped.bytes,
        ),
        by_rule(
            &BEHIND_PATH,
            "client segs_in",
            server.told.segments,
            socket.segs_in.into(),
            down.dropped.segments,
            down.duplicated.segments,
        ),
        by_rule(
            &COPIES_BEHIND_PATH,
            "client bytes_received",
            server.told.bytes,
            socket.bytes_received,
            down.delivered.known.bytes + down.dropped.bytes,
            down.duplicated.bytes,
        ),
    ]
}

/// The path, which holds every number against all before, and knows nothing of how we or
/// the kernels count.
fn path(all: &Measured) -> Vec<Check> {
    let (client, server) = (&all.client, &all.server);
    let (up, down) = (&client.path, &server.path);
    vec![
        equal(
            "path: segments from server",
            server.told.segments,
            down.entered.all.segments,
        ),
        equal(
            "path: bytes from server",
            server.told.bytes,
            down.entered.all.bytes,
        ),
        equal(
            "path: repeated by server",
            server.told.retransmits,
            down.entered.repeated.segments,
        ),
        equal(
            "path: bytes repeated by server",
            server.told.retransmitted_bytes,
            down.entered.repeated.bytes,
        ),
        equal(
            "path: repeated by client, its total_retrans",
            up.entered.repeated.segments,
            client.socket.total_retrans,
        ),
        equal(
            "path: bytes repeated by client, its bytes_retrans",
            up.entered.repeated.bytes,
            client.socket.bytes_retrans,
        ),
        equal(
            "path: arrived at server below the highest",
            client.told.retransmits + client.told.out_of_order,
            up.delivered.repeated.segments,
        ),
    ]
}

/// Which of the client's numbers below the highest were sent again, and which came late. What
/// stands at the receiver tells them apart by time, which is exact where neither holds:
///
/// - losses share a window: by the acknowledgment of what it repeated, a sender can learn of a
///   later loss before a higher number arrives that shows the hole (RACK, RFC 8985);
/// - the gap never closes, for a loss keeps it open or jitter makes holes without end: there is
///   one, as old as its oldest hole.
///
/// Elsewhere, it is the sum of both that must be exact.
fn split(row: &Row, all: &Measured) -> Vec<Check> {
    let client = &all.client;
    let mut checks = Vec::new();
    let faults = &row.from_client;
    if faults.loss != Loss::None || !faults.jitter.is_zero() {
        return checks;
    }
    if in_order(faults) {
        checks.push(Check {
            counter: "client out of order",
            ours: client.told.out_of_order,
            theirs: 0,
            rule: &IN_ORDER,
            due: 0,
        });
        checks.push(equal(
            "path: bytes arrived below the highest",
            client.told.retransmitted_bytes,
            client.path.delivered.repeated.bytes,
        ));
    }
    if faults.rules.is_empty() {
        checks.push(by_rule(
            &NOTHING_LOST,
            "client total_retrans",
            client.told.retransmits,
            client.socket.total_retrans.into(),
            client.path.duplicated.data_segments,
            0,
        ));
    }
    checks
}

/// What the ends report as received twice. A report that was lost or duplicated counts as
/// often as it arrived; one that was overtaken is old by its timestamp, if it has one, and
/// Linux drops it (RFC 7323, section 5.3).
fn reports(row: &Row, all: &Measured) -> Vec<Check> {
    let (client, server) = (&all.record.from_client, &all.record.from_server);
    let socket = &all.server.socket;
    let mut checks = vec![Check {
        counter: "server spurious",
        ours: all.server.told.spurious,
        theirs: client.dsack_dups.min(socket.total_retrans).into(),
        rule: &NEEDLESS,
        due: server
            .spurious_retransmits
            .max(client.dsack_dups.min(socket.total_retrans))
            .into(),
    }];
    // The copy of a report that the path made is read or dropped by where the socket's window
    // began just then, which is on no wire.
    let once = row.from_client.duplicate_every == 0;
    if once && (in_order(&row.from_client) || !row.timestamps) {
        checks.push(equal(
            "server dsack_dups",
            client.dsack_dups,
            socket.dsack_dups,
        ));
    }
    let path = &all.server.path;
    let current = in_order(&row.from_server) || !row.timestamps;
    if current && path.dropped.segments + path.duplicated.segments == 0 {
        checks.push(equal(
            "client dsack_dups",
            server.dsack_dups,
            all.client.socket.dsack_dups,
        ));
    }
    checks
}

/// Whether packets arrive as they were sent.
fn in_order(faults: &DirectionFaults) -> bool {
    faults.reorder.is_none() && faults.jitter.is_zero()
}
