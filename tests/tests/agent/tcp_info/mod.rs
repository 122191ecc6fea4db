//! Live flows, counted beside the kernel's own count of them at both ends, and beside the
//! path's count in between.
//!
//! No row allows a tolerance: where two counts mean different things, a [rule](rules) says
//! by how much they differ, and why.

mod measure;
mod rules;
mod traffic;

use std::{fs, net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result};
use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use lab::{Action, DirectionFaults, Loss, Match, Reorder, Rule, require_root, root::skip};

use crate::{server_v4, server_v6};
use measure::measure;
use traffic::{Order, Traffic};

/// Congestion controls of this kernel.
const AVAILABLE: &str = "/proc/sys/net/ipv4/tcp_available_congestion_control";

/// A flow: what is sent over which path.
#[derive(Clone)]
struct Row {
    name: &'static str,
    control: &'static str,
    ipv6: bool,
    /// Whether the client offers timestamps; Windows does not.
    timestamps: bool,
    offloads: Offloads,
    traffic: Traffic,
    from_client: DirectionFaults,
    from_server: DirectionFaults,
}

/// What the server's interface does to segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Offloads {
    /// Whether TCP hands it many at once.
    tso: bool,
    /// Whether it merges those it receives.
    gro: bool,
}

impl Offloads {
    const ALL: [Self; 4] = [
        Self::new(true, false),
        Self::new(true, true),
        Self::new(false, false),
        Self::new(false, true),
    ];

    const fn new(tso: bool, gro: bool) -> Self {
        Self { tso, gro }
    }
}

const KB: u64 = 1_000;
const MB: u64 = 1_000 * KB;

/// A clean path.
fn clean() -> DirectionFaults {
    DirectionFaults::default()
}

/// Loses this many of 1,000 packets.
fn loss(per_mille: u16, seed: u64) -> DirectionFaults {
    let probability = f64::from(per_mille) / 1_000.0;
    DirectionFaults {
        loss: Loss::Random { probability, seed },
        ..clean()
    }
}

/// Loses two segments of data, far apart: one loss is repaired before the next.
fn lone_losses() -> DirectionFaults {
    let lost = |nth| Rule {
        what: Match::Data,
        nth,
        action: Action::Drop,
    };
    DirectionFaults {
        rules: vec![lost(200), lost(1_000)],
        ..clean()
    }
}

/// The path takes 10 ms.
fn far(faults: DirectionFaults) -> DirectionFaults {
    DirectionFaults {
        delay: Duration::from_millis(10),
        ..faults
    }
}

/// The path takes 30 ms.
fn farther(faults: DirectionFaults) -> DirectionFaults {
    DirectionFaults {
        delay: Duration::from_millis(30),
        ..faults
    }
}

/// Every 40th packet is held for 3 ms more.
fn reorder(faults: DirectionFaults) -> DirectionFaults {
    let reorder = Some(Reorder {
        every: 40,
        hold: Duration::from_millis(3),
    });
    DirectionFaults {
        reorder,
        ..farther(faults)
    }
}

/// Each packet is held for up to 5 ms more.
fn jitter() -> DirectionFaults {
    DirectionFaults {
        jitter: Duration::from_millis(5),
        ..farther(clean())
    }
}

/// Delivers every 25th packet twice.
fn duplicate(faults: DirectionFaults) -> DirectionFaults {
    DirectionFaults {
        duplicate_every: 25,
        ..faults
    }
}

/// In the order: name, congestion control, IP version; timestamps, TSO, GRO; traffic, path from
/// the client, path from the server.
macro_rules! rows {
    ($($name:literal $control:literal $ip:literal $timestamps:literal $tso:literal $gro:literal
        $traffic:expr, $from_client:expr, $from_server:expr;)*) => {
        vec![$(Row {
            name: $name,
            control: $control,
            ipv6: $ip == 6,
            timestamps: $timestamps == 1,
            offloads: Offloads::new($tso == 1, $gro == 1),
            traffic: $traffic,
            from_client: $from_client,
            from_server: $from_server,
        }),*]
    };
}

/// Mostly the server sends.
#[rustfmt::skip]
fn downloads() -> Vec<Row> {
    let bulk = |bytes| Traffic::new(Order::InTurn, 50_000, 50 * KB, bytes);
    let small = |bytes| Traffic::new(Order::InTurn, 100, bytes, bytes);
    rows! {
        "nothing is lost"           "bbr"   4 1 1 0 bulk(8 * MB), clean(), clean();
        "0.1 % from server"         "bbr"   4 1 1 0 bulk(8 * MB), clean(), loss(1, 1);
        "0.1 % from server"         "cubic" 6 1 0 0 bulk(8 * MB), clean(), loss(1, 2);
        "1 % from server"           "cubic" 4 1 1 1 bulk(4 * MB), clean(), loss(10, 3);
        "1 % from server"           "bbr"   6 0 0 0 bulk(4 * MB), clean(), loss(10, 4);
        "5 % from server"           "bbr"   6 1 1 0 bulk(4 * MB), clean(), loss(50, 5);
        "5 % from server"           "cubic" 4 1 0 0 bulk(4 * MB), clean(), loss(50, 6);
        "5 % from server, RTT 20"   "cubic" 4 1 1 0 bulk(MB), far(clean()), far(loss(50, 7));
        "5 % of acknowledgments"    "bbr"   4 1 1 0 bulk(4 * MB), loss(50, 8), clean();
        "reordered from server"     "bbr"   4 1 1 0 bulk(4 * MB), farther(clean()), reorder(clean());
        "reordered and lost"        "cubic" 6 1 1 0 bulk(MB), farther(clean()), reorder(loss(10, 9));
        "acknowledgments reordered" "bbr"   4 0 1 0 bulk(4 * MB), reorder(clean()), reorder(clean());
        "duplicated from server"    "cubic" 4 1 1 0 bulk(4 * MB), clean(), duplicate(clean());
        "duplicated and lost"       "bbr"   6 1 0 0 bulk(4 * MB), clean(), duplicate(loss(10, 10));
        "small messages, 1 % lost"  "bbr"   4 1 1 0 small(300 * KB), clean(), loss(10, 11);
    }
}

/// The client sends as much.
#[rustfmt::skip]
fn uploads() -> Vec<Row> {
    let bulk = |bytes| Traffic::new(Order::InTurn, 50_000, bytes, bytes);
    let both = |bytes| Traffic::new(Order::AtOnce, 50_000, bytes, bytes);
    let small = |bytes| Traffic::new(Order::AtOnce, 100, bytes, bytes);
    let talk = |bytes| Traffic::new(Order::PingPong, 100, bytes, bytes);
    rows! {
        "0.1 % from client"         "bbr"   4 1 1 1 bulk(4 * MB), far(loss(1, 21)), far(clean());
        "two lost from client"      "bbr"   4 1 1 1 bulk(2 * MB), far(lone_losses()), far(clean());
        "two lost from client"      "cubic" 6 0 1 0 bulk(2 * MB), far(lone_losses()), far(clean());
        "1 % from client"           "cubic" 6 1 1 0 bulk(MB), far(loss(10, 22)), far(clean());
        "1 % from client"           "bbr"   4 0 1 1 bulk(2 * MB), far(loss(10, 23)), far(clean());
        "5 % from client"           "cubic" 6 1 1 1 bulk(MB), far(loss(50, 24)), far(clean());
        "5 % from client"           "bbr"   4 1 0 1 bulk(MB), far(loss(50, 25)), far(clean());
        "1 % both ways"             "bbr"   6 1 1 1 both(2 * MB), far(loss(10, 26)), far(loss(10, 27));
        "5 % both ways"             "cubic" 4 1 0 0 both(MB), far(loss(50, 28)), far(loss(50, 29));
        "reordered from client"     "bbr"   4 1 1 0 bulk(2 * MB), reorder(clean()), farther(clean());
        "reordered from client"     "cubic" 6 0 1 1 bulk(2 * MB), reorder(clean()), farther(clean());
        "reordered and lost"        "bbr"   4 1 1 0 bulk(MB), reorder(loss(10, 30)), farther(clean());
        "jitter both ways"          "cubic" 4 0 1 0 both(2 * MB), jitter(), jitter();
        "jitter both ways"          "bbr"   6 1 0 1 both(2 * MB), jitter(), jitter();
        "duplicated from client"    "bbr"   6 1 1 1 bulk(4 * MB), duplicate(clean()), clean();
        "duplicated and lost"       "cubic" 4 1 1 0 both(MB), far(duplicate(loss(10, 31))), far(duplicate(loss(10, 32)));
        "small messages, 1 % lost"  "cubic" 4 1 1 1 small(200 * KB), far(loss(10, 33)), far(loss(10, 34));
        "small messages, 1 % lost"  "bbr"   6 0 0 0 small(200 * KB), far(loss(10, 35)), far(loss(10, 36));
        "ping-pong, 5 % lost"       "bbr"   4 1 1 1 talk(20 * KB), loss(50, 37), loss(50, 38);
        "ping-pong, duplicated"     "cubic" 6 1 0 1 talk(20 * KB), duplicate(clean()), duplicate(clean());
    }
}

#[test]
fn flows_count_as_both_kernels_count_them() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let rows = available([downloads(), uploads()].concat())?;
    let mut table = table();
    let mut broken = Vec::new();
    for offloads in Offloads::ALL {
        let same = |row: &&Row| row.offloads == offloads;
        let rows: Vec<_> = rows.iter().filter(same).collect();
        for (row, measured) in rows.iter().zip(measure(&rows, offloads)?) {
            for check in rules::checks(row, &measured) {
                table.add_row([vec![row.label()], check.cells().into()].concat());
                if !check.holds() {
                    broken.push(format!("{}: {check:?}", row.label()));
                }
            }
        }
    }
    println!("{table}\n{}", legend());
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    Ok(())
}

/// The rows that this kernel has the congestion control for; the others are skipped.
fn available(rows: Vec<Row>) -> Result<Vec<Row>> {
    let available = fs::read_to_string(AVAILABLE).with_context(|| format!("no {AVAILABLE}"))?;
    let (rows, without): (Vec<_>, Vec<_>) = rows
        .into_iter()
        .partition(|row| available.split_whitespace().any(|name| name == row.control));
    for row in without {
        skip(&format!("{}: this kernel has no {}", row.name, row.control));
    }
    Ok(rows)
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header([
        "flow",
        "counter",
        "ours",
        "theirs",
        "difference",
        "rule",
    ]);
    for column in table.column_iter_mut().skip(2).take(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// What the names of the rules stand for.
fn legend() -> Table {
    let mut legend = Table::new();
    legend
        .load_style(UTF8_FULL_CONDENSED)
        .set_header(["rule", "ours is"]);
    for rule in rules::RULES {
        legend.add_row([rule.name, rule.formula]);
    }
    legend
}

impl Row {
    /// Name, and the values of all dimensions.
    fn label(&self) -> String {
        let version = if self.ipv6 { "IPv6" } else { "IPv4" };
        let tso = if self.offloads.tso { ", TSO" } else { "" };
        let gro = if self.offloads.gro { ", GRO" } else { "" };
        let timestamps = if self.timestamps {
            ""
        } else {
            ", no timestamps"
        };
        format!(
            "{} ({}, {version}{timestamps}{tso}{gro})",
            self.name, self.control
        )
    }

    /// Where the server listens.
    fn server(&self) -> SocketAddr {
        if self.ipv6 { server_v6() } else { server_v4() }
    }
}

#[test]
fn each_rule_is_explained() -> Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/counting.md");
    let text = fs::read_to_string(path).with_context(|| format!("no {path}"))?;
    for rule in rules::RULES {
        let entry = format!("**`{}`**", rule.name);
        assert!(text.contains(&entry), "{path} says nothing of {entry}");
    }
    Ok(())
}
