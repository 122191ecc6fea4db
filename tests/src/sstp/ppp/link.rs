//! One end of a PPP link, from LCP's first request to an open IPCP.

use std::net::Ipv4Addr;

use super::authentication::{
    CHALLENGE, chap, chap_answer, chap_challenge, chap_fits, chap_response, pap, pap_answer,
    pap_fits, pap_request,
};
use super::configure::{Configure, Judgement, Setting};
use super::{Control, Credentials, Frame, Method, code, protocol};

/// The longest IP packet either end takes, in bytes: a record with it fits an Ethernet frame.
const MRU: u16 = 1400;

/// Authentication protocols named to the server before a client gives up.
const MOST_REFUSALS: u8 = 3;

/// LCP's options (RFC 1661, section 6; RFC 1662, section 7.1).
mod lcp {
    pub(super) const MRU: u8 = 1;
    pub(super) const CONTROL_CHARACTERS: u8 = 2;
    pub(super) const AUTHENTICATION: u8 = 3;
    pub(super) const MAGIC: u8 = 5;
}

/// IPCP's option of an address (RFC 1332, section 3.3).
const ADDRESS: u8 = 3;

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

/// What a client says of a server that it has no authentication in common with.
const INSISTS: &str = "the server insists on an authentication other than PAP and CHAP-MD5, \
    most likely MS-CHAPv2 or EAP, which this client does not speak";

/// Value of the option that asks for this authentication (RFC 1334, 2.1; RFC 1994, 3).
fn authentication_value(method: Method) -> Vec<u8> {
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
fn method(value: &[u8]) -> Option<Method> {
    [Method::Pap, Method::ChapMd5]
        .into_iter()
        .find(|method| authentication_value(*method) == value)
}

fn authentication_asked(data: &[u8]) -> Option<&[u8]> {
    option(data, lcp::AUTHENTICATION)
}

fn address_asked(data: &[u8]) -> Option<Ipv4Addr> {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
    const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);

    fn credentials(password: &str) -> Credentials {
        Credentials {
            user: "lab".to_owned(),
            password: password.to_owned(),
        }
    }

    fn ends(method: Method, password: &str) -> (Link, Link) {
        (
            Link::client(credentials(password)),
            Link::server(method, credentials("secret"), SERVER, CLIENT),
        )
    }

    /// Carries frames both ways until neither end has anything to say; returns what both said.
    fn converse(client: &mut Link, server: &mut Link) -> Vec<Frame> {
        let mut said = Vec::new();
        loop {
            let up = client.take_output();
            for frame in &up {
                server.receive(frame);
            }
            if let Some(decision) = server.pending() {
                server.decide(decision.fits);
            }
            let down = server.take_output();
            for frame in &down {
                client.receive(frame);
            }
            if up.is_empty() && down.is_empty() {
                return said;
            }
            said.extend(up.into_iter().chain(down));
        }
    }

    #[test]
    fn pap_and_chap_lead_to_addresses() {
        for method in [Method::Pap, Method::ChapMd5] {
            let (mut client, mut server) = ends(method, "secret");
            let said = converse(&mut client, &mut server);
            for (end, own, peer) in [(&client, CLIENT, SERVER), (&server, SERVER, CLIENT)] {
                assert_eq!(end.stage(), Stage::Opened, "{method:?}: {end:?}");
                assert_eq!((end.own_address(), end.peer_address()), (own, peer));
            }
            // VERDICTS: records of 10 to 60 bytes during PPP's negotiation.
            for frame in said {
                assert!(frame.encode().len() <= 40, "{frame:?}");
            }
        }
    }

    #[test]
    fn a_wrong_password_is_rejected_before_any_address() {
        for method in [Method::Pap, Method::ChapMd5] {
            let (mut client, mut server) = ends(method, "guess");
            converse(&mut client, &mut server);
            assert!(client.is_rejected() && server.is_rejected());
            assert_eq!(client.stage(), Stage::Authenticate);
            assert_eq!(server.stage(), Stage::Authenticate);
        }
    }

    #[test]
    fn a_server_that_insists_on_ms_chap_is_left() {
        let (mut client, mut server) = ends(Method::MsChapV2, "secret");
        converse(&mut client, &mut server);
        assert!(
            client
                .unwilling()
                .is_some_and(|why| why.contains("MS-CHAPv2"))
        );
        assert!(server.unwilling().is_some());
        assert_eq!(client.stage(), Stage::Establish);
    }

    #[test]
    fn an_echo_is_answered_with_the_answerers_number() {
        let (mut client, mut server) = ends(Method::Pap, "secret");
        converse(&mut client, &mut server);
        client.echo();
        let [echo] = &client.take_output()[..] else {
            panic!("one frame");
        };
        // With the header of an SSTP packet it makes 16 bytes.
        assert_eq!(echo.encode().len(), 12);
        assert!(!server.receive(echo));
        let [reply] = &server.take_output()[..] else {
            panic!("one frame");
        };
        assert!(reply.payload.ends_with(&server.magic.to_be_bytes()));
        assert!(client.receive(reply));
    }

    #[test]
    fn an_unknown_protocol_is_rejected_and_a_silent_peer_given_up() {
        let mut client = Link::client(credentials("secret"));
        let mut asked = client.take_output().len();
        client.receive(&Frame {
            protocol: 0x80fd,
            payload: vec![1, 1, 0, 4],
        });
        let [reject] = &client.take_output()[..] else {
            panic!("one frame");
        };
        assert_eq!(
            reject.payload[..6],
            [code::PROTOCOL_REJECT, 1, 0, 10, 0x80, 0xfd]
        );
        while client.unwilling().is_none() {
            client.restart();
            asked += client.take_output().len();
        }
        assert_eq!(asked, 10);
    }

    proptest! {
        #[test]
        fn any_frames_are_taken_without_a_panic(
            frames in proptest::collection::vec(
                (
                    prop_oneof![
                        Just(protocol::LCP),
                        Just(protocol::PAP),
                        Just(protocol::CHAP),
                        Just(protocol::IPCP),
                        any::<u16>(),
                    ],
                    1_u8..12,
                    proptest::collection::vec(any::<u8>(), 0..24),
                ),
                0..20,
            ),
        ) {
            let (client, server) = ends(Method::ChapMd5, "secret");
            for mut end in [client, server] {
                for (protocol, code, data) in &frames {
                    let control = Control { code: *code, identifier: 1, data: data.clone() };
                    end.receive(&control.into_frame(*protocol));
                }
                prop_assert!(end.take_output().len() <= 2 * frames.len() + 4);
            }
        }
    }
}
