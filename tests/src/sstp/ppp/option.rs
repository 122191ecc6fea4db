//! Options of LCP and IPCP: their names, and the values that mean something here.

use std::net::Ipv4Addr;

use super::{Method, protocol};

/// LCP's options (RFC 1661, section 6; RFC 1662, section 7.1).
pub(super) mod lcp {
    pub(in super::super) const MRU: u8 = 1;
    pub(in super::super) const CONTROL_CHARACTERS: u8 = 2;
    pub(in super::super) const AUTHENTICATION: u8 = 3;
    pub(in super::super) const MAGIC: u8 = 5;
}

/// IPCP's option of an address (RFC 1332, section 3.3).
pub(super) const ADDRESS: u8 = 3;

/// Value of the option that asks for this authentication (RFC 1334, 2.1; RFC 1994, 3).
pub(super) fn authentication_value(method: Method) -> Vec<u8> {
    let protocol = match method {
        Method::Pap => protocol::PAP,
        Method::ChapMd5 | Method::MsChapV2 => protocol::CHAP,
    };
    let mut value = protocol.to_be_bytes().to_vec();
    match method {
        Method::Pap => {}
        Method::ChapMd5 => value.push(5),
        Method::MsChapV2 => value.push(0x81),
    }
    value
}

/// The method an option asks for, if a client can do it.
pub(super) fn method(value: &[u8]) -> Option<Method> {
    [Method::Pap, Method::ChapMd5]
        .into_iter()
        .find(|method| authentication_value(*method) == value)
}

/// Value of the option by which a server asks for an authentication, if it does.
pub(super) fn authentication_asked(data: &[u8]) -> Option<&[u8]> {
    option(data, lcp::AUTHENTICATION)
}

/// Address that an end asks for, if it does.
pub(super) fn address_asked(data: &[u8]) -> Option<Ipv4Addr> {
    let octets = option(data, ADDRESS)?.first_chunk::<4>()?;
    Some(Ipv4Addr::from(*octets))
}

/// Value of an option in a packet whose options were found to be whole.
fn option(mut data: &[u8], wanted: u8) -> Option<&[u8]> {
    while let Some(&[kind, length]) = data.first_chunk() {
        let length = usize::from(length).max(2);
        if kind == wanted {
            return data.get(2..length);
        }
        data = data.get(length..)?;
    }
    None
}
