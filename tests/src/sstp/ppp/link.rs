//! One end of a PPP link, from LCP's first request to an open IPCP.

#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;

use super::authentication::{
    CHALLENGE, chap, chap_answer, chap_challenge, chap_fits, chap_response, pap, pap_answer,
    pap_fits, pap_request,
};
use super::configure::{Configure, Judgement, Setting};
use super::option::{
    ADDRESS, address_asked, authentication_asked, authentication_value, lcp, method,
};
use super::{Control, Credentials, Frame, Method, code, protocol};

/// The longest IP packet either end takes, in bytes: a record with it fits an Ethernet frame.
const MRU: u16 = 1400;

/// Authentication protocols named to the server before a client gives up.
const MOST_REFUSALS: u8 = 3;

/// What a client says of a server that it has no authentication in common with.
const INSISTS: &str = "the server insists on an authentication other than PAP and CHAP-MD5, \
    most likely MS-CHAPv2 or EAP, which this client does not speak";

/// How far a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::sstp) enum Stage {
    /// LCP is being negotiated.
    Establish,
    /// The client authenticates.
    Authenticate,
    /// IPCP is being negotiated.
    Network,
    /// IP packets may go.
    Opened,
}

/// What a server thinks of credentials, before it says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sstp) struct Decision {
    /// Whether they are right.
    pub(in crate::sstp) fits: bool,
    identifier: u8,
}

#[derive(Debug)]
enum Role {
    Client {
        credentials: Credentials,
        /// What the server and this end have agreed on.
        method: Option<Method>,
        /// Times this end has refused the server's authentication protocol.
        refusals: u8,
    },
    Server {
        method: Method,
        expected: Credentials,
        challenge: [u8; CHALLENGE],
        pending: Option<Decision>,
        /// Address for the client.
        assigned: Ipv4Addr,
    },
}

/// One end of a link.
#[derive(Debug)]
pub(in crate::sstp) struct Link {
    role: Role,
    lcp: Configure,
    ipcp: Configure,
    magic: u32,
    peer_address: Ipv4Addr,
    authenticated: bool,
    rejected: bool,
    unwilling: Option<&'static str>,
    terminated: bool,
    stage: Stage,
    echo_identifier: u8,
    output: Vec<Frame>,
}

impl Link {
    /// The client's end; its first request is ready to be sent.
    pub(in crate::sstp) fn client(credentials: Credentials) -> Self {
        let role = Role::Client {
            credentials,
            method: None,
            refusals: 0,
        };
        Self::new(role, Vec::new(), Ipv4Addr::UNSPECIFIED)
    }

    /// The server's end, which assigns an address to the client.
    pub(in crate::sstp) fn server(
        method: Method,
        expected: Credentials,
        own: Ipv4Addr,
        assigned: Ipv4Addr,
    ) -> Self {
        let mut challenge = [0; CHALLENGE];
        fastrand::fill(&mut challenge);
        let authentication = Setting {
            kind: lcp::AUTHENTICATION,
            value: authentication_value(method),
        };
        let role = Role::Server {
            method,
            expected,
            challenge,
            pending: None,
            assigned,
        };
        Self::new(role, vec![authentication], own)
    }

    fn new(role: Role, mut settings: Vec<Setting>, own: Ipv4Addr) -> Self {
        let magic = fastrand::u32(1..);
        settings.push(Setting {
            kind: lcp::MRU,
            value: MRU.to_be_bytes().to_vec(),
        });
        settings.push(Setting {
            kind: lcp::MAGIC,
            value: magic.to_be_bytes().to_vec(),
        });
        let address = Setting {
            kind: ADDRESS,
            value: own.octets().to_vec(),
        };
        let mut link = Self {
            role,
            lcp: Configure::new(protocol::LCP, settings),
            ipcp: Configure::new(protocol::IPCP, vec![address]),
            magic,
            peer_address: Ipv4Addr::UNSPECIFIED,
            authenticated: false,
            rejected: false,
            unwilling: None,
            terminated: false,
            stage: Stage::Establish,
            echo_identifier: 0,
            output: Vec::new(),
        };
        let request = link.lcp.request();
        link.output.extend(request);
        link
    }

    /// How far the link is.
    pub(in crate::sstp) fn stage(&self) -> Stage {
        self.stage
    }

    /// The server has refused the credentials, whichever end this is.
    pub(in crate::sstp) fn is_rejected(&self) -> bool {
        self.rejected
    }

    /// Why the two ends will not agree, if that is certain.
    pub(in crate::sstp) fn unwilling(&self) -> Option<&'static str> {
        self.unwilling
    }

    /// Why the two ends have not agreed so far: what makes an end that comes now.
    pub(in crate::sstp) fn disagreement(&self) -> Option<&'static str> {
        let refusing = matches!(self.role, Role::Client { refusals: 1.., .. });
        let left = refusing && self.stage == Stage::Establish;
        self.unwilling.or(left.then_some(INSISTS))
    }

    /// One end has terminated the link.
    pub(in crate::sstp) fn is_terminated(&self) -> bool {
        self.terminated
    }

    /// This end's address inside the tunnel; of use once the link is open.
    pub(in crate::sstp) fn own_address(&self) -> Ipv4Addr {
        let value = self.ipcp.wanted(ADDRESS).unwrap_or_default();
        value
            .first_chunk::<4>()
            .map_or(Ipv4Addr::UNSPECIFIED, |octets| Ipv4Addr::from(*octets))
    }

    /// The other end's address inside the tunnel.
    pub(in crate::sstp) fn peer_address(&self) -> Ipv4Addr {
        self.peer_address
    }

    /// Frames to be sent since the last call.
    pub(in crate::sstp) fn take_output(&mut self) -> Vec<Frame> {
        std::mem::take(&mut self.output)
    }

    /// Credentials have come and wait for [`decide`](Self::decide).
    pub(in crate::sstp) fn pending(&self) -> Option<Decision> {
        match self.role {
            Role::Server { pending, .. } => pending,
            Role::Client { .. } => None,
        }
    }

    /// Accepts or rejects the pending credentials, if there are any.
    pub(in crate::sstp) fn decide(&mut self, accept: bool) {
        let Role::Server {
            method, pending, ..
        } = &mut self.role
        else {
            return;
        };
        let Some(decision) = pending.take() else {
            return;
        };
        let frame = if *method == Method::Pap {
            pap_answer(decision.identifier, accept).into_frame(protocol::PAP)
        } else {
            chap_answer(decision.identifier, accept).into_frame(protocol::CHAP)
        };
        self.output.push(frame);
        self.concluded(accept);
        self.advance();
    }

    /// Asks again for what has not been granted: the Restart timer has run out (RFC 1661, 4.6).
    pub(in crate::sstp) fn restart(&mut self) {
        let request = match self.stage {
            Stage::Establish if !self.lcp.is_granted() => self.lcp.request(),
            Stage::Network if !self.ipcp.is_granted() => self.ipcp.request(),
            _ => return,
        };
        if request.is_none() {
            self.unwilling = Some("the peer answers no PPP configuration request");
        }
        self.output.extend(request);
    }

    /// Sends an LCP echo, which the peer must answer (RFC 1661, section 5.8).
    pub(in crate::sstp) fn echo(&mut self) {
        self.echo_identifier = self.echo_identifier.wrapping_add(1);
        self.push_lcp(
            code::ECHO_REQUEST,
            self.echo_identifier,
            self.magic.to_be_bytes().to_vec(),
        );
    }

    /// Ends the link (RFC 1661, section 5.5).
    pub(in crate::sstp) fn terminate(&mut self) {
        self.push_lcp(code::TERMINATE_REQUEST, 1, Vec::new());
    }

    /// Takes a frame that is no IP packet; true if it answers an LCP echo.
    pub(in crate::sstp) fn receive(&mut self, frame: &Frame) -> bool {
        let Some(packet) = Control::decode(&frame.payload) else {
            return false;
        };
        let mut echoed = false;
        match frame.protocol {
            protocol::LCP => echoed = self.receive_lcp(&packet),
            protocol::PAP => self.receive_pap(&packet),
            protocol::CHAP => self.receive_chap(&packet),
            protocol::IPCP => self.receive_ipcp(&packet),
            other => self.reject_protocol(other, &frame.payload),
        }
        self.advance();
        echoed
    }

    fn receive_lcp(&mut self, packet: &Control) -> bool {
        match packet.code {
            code::CONFIGURE_REQUEST => self.answer_lcp(packet),
            code::CONFIGURE_NAK | code::CONFIGURE_REJECT if self.refuses_authentication(packet) => {
                self.unwilling = Some("the client refuses the authentication protocol");
                self.terminate();
            }
            code::CONFIGURE_ACK | code::CONFIGURE_NAK | code::CONFIGURE_REJECT => {
                let request = self.lcp.receive(packet, |_| Judgement::Reject);
                self.output.extend(request);
            }
            code::TERMINATE_REQUEST => {
                self.push_lcp(code::TERMINATE_ACK, packet.identifier, Vec::new());
                self.terminated = true;
                if let Role::Client { refusals: 1.., .. } = self.role {
                    self.unwilling = Some(INSISTS);
                }
            }
            code::TERMINATE_ACK => self.terminated = true,
            code::ECHO_REQUEST => {
                let mut data = packet.data.clone();
                data.splice(..data.len().min(4), self.magic.to_be_bytes());
                self.push_lcp(code::ECHO_REPLY, packet.identifier, data);
            }
            code::ECHO_REPLY => return packet.identifier == self.echo_identifier,
            _ => {}
        }
        false
    }

    /// Whether the client won't have the authentication that this server wants.
    fn refuses_authentication(&self, packet: &Control) -> bool {
        matches!(self.role, Role::Server { .. })
            && packet.data.first() == Some(&lcp::AUTHENTICATION)
    }

    fn answer_lcp(&mut self, request: &Control) {
        let client = matches!(self.role, Role::Client { .. });
        let judge = |setting: &Setting| match setting.kind {
            lcp::MRU | lcp::CONTROL_CHARACTERS | lcp::MAGIC => Judgement::Take,
            lcp::AUTHENTICATION if client && method(&setting.value).is_some() => Judgement::Take,
            lcp::AUTHENTICATION if client => {
                Judgement::Rather(authentication_value(Method::ChapMd5))
            }
            _ => Judgement::Reject,
        };
        let answer = self.lcp.receive(request, judge);
        if let Role::Client {
            method: agreed,
            refusals,
            ..
        } = &mut self.role
        {
            match authentication_asked(&request.data).map(method) {
                Some(Some(method)) => *agreed = Some(method),
                Some(None) => *refusals += 1,
                None => *agreed = None,
            }
            if *refusals >= MOST_REFUSALS {
                self.unwilling = Some(INSISTS);
            }
        }
        self.output.extend(answer);
    }

    fn receive_pap(&mut self, packet: &Control) {
        match (&mut self.role, packet.code) {
            (
                Role::Server {
                    method: Method::Pap,
                    expected,
                    pending,
                    ..
                },
                pap::REQUEST,
            ) if self.stage == Stage::Authenticate => {
                *pending = Some(Decision {
                    fits: pap_fits(&packet.data, expected),
                    identifier: packet.identifier,
                });
            }
            (Role::Client { .. }, pap::ACK) => self.concluded(true),
            (Role::Client { .. }, pap::NAK) => self.concluded(false),
            _ => {}
        }
    }

    fn receive_chap(&mut self, packet: &Control) {
        match (&mut self.role, packet.code) {
            (
                Role::Server {
                    method: Method::ChapMd5,
                    expected,
                    challenge,
                    pending,
                    ..
                },
                chap::RESPONSE,
            ) if self.stage == Stage::Authenticate => {
                *pending = Some(Decision {
                    fits: chap_fits(packet, challenge, expected),
                    identifier: packet.identifier,
                });
            }
            (Role::Client { credentials, .. }, chap::CHALLENGE) => {
                let response = chap_response(packet, credentials);
                let frame = response.map(|response| response.into_frame(protocol::CHAP));
                self.output.extend(frame);
            }
            (Role::Client { .. }, chap::SUCCESS) => self.concluded(true),
            (Role::Client { .. }, chap::FAILURE) => self.concluded(false),
            _ => {}
        }
    }

    /// The authentication is over; a challenge that comes later changes nothing.
    fn concluded(&mut self, accepted: bool) {
        if self.stage == Stage::Authenticate {
            self.authenticated |= accepted;
            self.rejected |= !accepted;
        }
    }

    fn receive_ipcp(&mut self, packet: &Control) {
        // Before that it is to be dropped (RFC 1661, section 3.4).
        if self.stage < Stage::Network {
            return;
        }
        let assigned = match self.role {
            Role::Server { assigned, .. } => Some(assigned),
            Role::Client { .. } => None,
        };
        let judge = |setting: &Setting| match (setting.kind, assigned) {
            (ADDRESS, Some(address)) if setting.value != address.octets() => {
                Judgement::Rather(address.octets().to_vec())
            }
            (ADDRESS, _) if setting.value.len() == 4 => Judgement::Take,
            _ => Judgement::Reject,
        };
        let answer = self.ipcp.receive(packet, judge);
        if packet.code == code::CONFIGURE_REQUEST {
            // A peer that names no address gets nothing that it would answer.
            self.peer_address = assigned
                .or_else(|| address_asked(&packet.data))
                .unwrap_or(Ipv4Addr::UNSPECIFIED);
        }
        self.output.extend(answer);
    }

    fn reject_protocol(&mut self, protocol: u16, payload: &[u8]) {
        let shown = &payload[..payload.len().min(64)];
        let data = [&protocol.to_be_bytes()[..], shown].concat();
        self.push_lcp(code::PROTOCOL_REJECT, 1, data);
    }

    fn push_lcp(&mut self, code: u8, identifier: u8, data: Vec<u8>) {
        let packet = Control {
            code,
            identifier,
            data,
        };
        self.output.push(packet.into_frame(protocol::LCP));
    }

    /// Goes on to the next stages, as far as it may.
    fn advance(&mut self) {
        if self.stage == Stage::Establish && self.lcp.is_open() {
            self.stage = Stage::Authenticate;
            self.begin_authentication();
        }
        if self.stage == Stage::Authenticate && self.authenticated {
            self.stage = Stage::Network;
            let request = self.ipcp.request();
            self.output.extend(request);
        }
        if self.stage == Stage::Network && self.ipcp.is_open() {
            self.stage = Stage::Opened;
        }
    }

    fn begin_authentication(&mut self) {
        let frame = match &self.role {
            Role::Client { method: None, .. } => {
                self.authenticated = true;
                None
            }
            Role::Client {
                credentials,
                method: Some(Method::Pap),
                ..
            } => Some(pap_request(1, credentials).into_frame(protocol::PAP)),
            Role::Server {
                method: Method::ChapMd5,
                challenge,
                ..
            } => Some(chap_challenge(1, challenge).into_frame(protocol::CHAP)),
            // It is for the other end to begin.
            _ => None,
        };
        self.output.extend(frame);
    }
}
