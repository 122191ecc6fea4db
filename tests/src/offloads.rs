//! Offloads of the interfaces of the namespace the calling thread is in, over ethtool's netlink.
//!
//! Call these through [`Namespace::run`](crate::Namespace::run).

use std::ffi::CString;

use anyhow::{Context, Result, bail, ensure};
use netlink_sys::protocols::NETLINK_GENERIC;
use netlink_sys::{Socket, SocketAddr};

/// Merging of received segments (GRO).
pub const RECEIVE_MERGING: &str = "rx-gro";

/// Segmentation of what TCP sends (TSO), of every kind.
pub const TCP_SEGMENTATION: [&str; 4] = [
    "tx-tcp-segmentation",
    "tx-tcp-ecn-segmentation",
    "tx-tcp-mangleid-segmentation",
    "tx-tcp6-segmentation",
];

/// `GENL_ID_CTRL`, which tells the numbers of the other families.
const CONTROL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

const ETHTOOL_MSG_FEATURES_SET: u8 = 12;
const ETHTOOL_A_FEATURES_HEADER: u16 = 1;
const ETHTOOL_A_FEATURES_WANTED: u16 = 3;
const ETHTOOL_A_HEADER_DEV_NAME: u16 = 2;
const ETHTOOL_A_HEADER_FLAGS: u16 = 3;
const ETHTOOL_FLAG_OMIT_REPLY: u32 = 2;
const ETHTOOL_A_BITSET_BITS: u16 = 3;
const ETHTOOL_A_BITSET_BITS_BIT: u16 = 1;
const ETHTOOL_A_BITSET_BIT_NAME: u16 = 2;
const ETHTOOL_A_BITSET_BIT_VALUE: u16 = 3;

const NESTED: u16 = 1 << 15;
const NLM_F_REQUEST_ACK: u16 = 1 | 4;
const NLMSG_ERROR: u16 = 2;
/// Length of a netlink header, and of a generic one after it.
const HEADERS: usize = 16 + 4;

/// Turns offloads of the interface on or off, by the names `ethtool -k` knows to the kernel.
pub fn set(interface: &str, names: &[&str], on: bool) -> Result<()> {
    let family = family().context("the kernel has no ethtool netlink")?;
    let device = attribute(ETHTOOL_A_HEADER_DEV_NAME, &text(interface)?);
    let flags = attribute(
        ETHTOOL_A_HEADER_FLAGS,
        &ETHTOOL_FLAG_OMIT_REPLY.to_ne_bytes(),
    );
    let mut bits = Vec::new();
    for name in names {
        let mut bit = attribute(ETHTOOL_A_BITSET_BIT_NAME, &text(name)?);
        if on {
            bit.extend(attribute(ETHTOOL_A_BITSET_BIT_VALUE, &[]));
        }
        bits.extend(attribute(ETHTOOL_A_BITSET_BITS_BIT | NESTED, &bit));
    }
    let bits = attribute(ETHTOOL_A_BITSET_BITS | NESTED, &bits);
    let request = [
        attribute(
            ETHTOOL_A_FEATURES_HEADER | NESTED,
            &[device, flags].concat(),
        ),
        attribute(ETHTOOL_A_FEATURES_WANTED | NESTED, &bits),
    ];
    ask(family, ETHTOOL_MSG_FEATURES_SET, &request.concat())
        .map(drop)
        .with_context(|| format!("cannot set {names:?} of {interface} to {on}"))
}

/// The number of the family `ethtool`.
fn family() -> Result<u16> {
    let name = attribute(CTRL_ATTR_FAMILY_NAME, &text("ethtool")?);
    let answer = ask(CONTROL, CTRL_CMD_GETFAMILY, &name)?;
    let mut rest = answer.get(HEADERS..).unwrap_or_default();
    while let [l0, l1, k0, k1, ..] = *rest {
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        if u16::from_ne_bytes([k0, k1]) == CTRL_ATTR_FAMILY_ID {
            let value = rest.get(4..6).context("a family without a number")?;
            return Ok(u16::from_ne_bytes([value[0], value[1]]));
        }
        ensure!(length >= 4, "a broken attribute");
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    bail!("the kernel does not tell the family's number")
}

/// Sends a command and returns the answer; an error code in it is an error.
fn ask(family: u16, command: u8, attributes: &[u8]) -> Result<Vec<u8>> {
    let mut socket = Socket::new(NETLINK_GENERIC)?;
    socket.bind_auto()?;
    let length = u32::try_from(HEADERS + attributes.len())?;
    let mut message = Vec::new();
    message.extend(length.to_ne_bytes());
    message.extend(family.to_ne_bytes());
    message.extend(NLM_F_REQUEST_ACK.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([command, 1, 0, 0]);
    message.extend(attributes);
    socket.send_to(&message, &SocketAddr::new(0, 0), 0)?;
    let mut answer = Vec::with_capacity(64 << 10);
    socket.recv(&mut answer, 0)?;
    let field = |at: usize| answer.get(at..at + 2).map(|two| [two[0], two[1]]);
    if field(4).map(u16::from_ne_bytes) == Some(NLMSG_ERROR) {
        let code = answer.get(16..20).context("a cut answer")?;
        let code = i32::from_ne_bytes([code[0], code[1], code[2], code[3]]);
        if code != 0 {
            return Err(std::io::Error::from_raw_os_error(-code).into());
        }
    }
    Ok(answer)
}

/// A netlink attribute, filled up to whole words.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).expect("attributes here are short");
    let mut bytes = Vec::from(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn text(value: &str) -> Result<Vec<u8>> {
    Ok(CString::new(value)?.into_bytes_with_nul())
}
