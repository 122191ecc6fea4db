//! The negotiation of options that LCP and IPCP share (RFC 1661, section 4), as it goes over a
//! transport that loses nothing: an answer comes, or the peer is not ready yet.

use super::{Control, Frame, code};

/// Requests sent before the peer counts as unwilling: Max-Configure (RFC 1661, section 4.6).
const MOST_REQUESTS: u8 = 10;

/// An option: its type and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    /// Type, of which each protocol has its own.
    pub(super) kind: u8,
    /// Value, without type and length; at most 253 bytes.
    pub(super) value: Vec<u8>,
}

/// What one end thinks of an option that the other asks for.
pub(super) enum Judgement {
    /// It is taken.
    Take,
    /// Another value is wanted.
    Rather(Vec<u8>),
    /// It is not known, or not wanted with any value.
    Reject,
}

/// The state of one protocol's negotiation.
#[derive(Debug)]
pub(super) struct Configure {
    protocol: u16,
    /// What this end asks for.
    wanted: Vec<Setting>,
    identifier: u8,
    requests: u8,
    /// The peer has acknowledged what this end asks for.
    granted: bool,
    /// This end has acknowledged what the peer asks for.
    granting: bool,
}

impl Configure {
    pub(super) fn new(protocol: u16, wanted: Vec<Setting>) -> Self {
        Self {
            protocol,
            wanted,
            identifier: 0,
            requests: 0,
            granted: false,
            granting: false,
        }
    }

    /// Both ends have what they asked for.
    pub(super) fn is_open(&self) -> bool {
        self.granted && self.granting
    }

    /// The peer has acknowledged what this end asks for; it may still ask for something itself.
    pub(super) fn is_granted(&self) -> bool {
        self.granted
    }

    /// Value asked for, if it still is.
    pub(super) fn wanted(&self, kind: u8) -> Option<&[u8]> {
        let found = self.wanted.iter().find(|setting| setting.kind == kind);
        found.map(|setting| &setting.value[..])
    }

    /// A Configure-Request, unless there were too many.
    pub(super) fn request(&mut self) -> Option<Frame> {
        if self.requests >= MOST_REQUESTS {
            return None;
        }
        self.requests += 1;
        self.identifier = self.identifier.wrapping_add(1);
        let request = Control {
            code: code::CONFIGURE_REQUEST,
            identifier: self.identifier,
            data: encode(&self.wanted),
        };
        Some(request.into_frame(self.protocol))
    }

    /// Takes one of the four packets of the negotiation; returns what is to be sent.
    pub(super) fn receive(
        &mut self,
        packet: &Control,
        judge: impl Fn(&Setting) -> Judgement,
    ) -> Option<Frame> {
        if packet.code == code::CONFIGURE_REQUEST {
            return self.answer(packet, judge);
        }
        // An answer to an older request says nothing of the current one.
        if packet.identifier != self.identifier {
            return None;
        }
        match packet.code {
            code::CONFIGURE_ACK => {
                self.granted = true;
                None
            }
            code::CONFIGURE_NAK => {
                for other in decode(&packet.data)? {
                    self.take(other);
                }
                self.request()
            }
            code::CONFIGURE_REJECT => {
                let rejected = decode(&packet.data)?;
                self.wanted
                    .retain(|own| !rejected.iter().any(|other| other.kind == own.kind));
                self.request()
            }
            _ => None,
        }
    }

    /// Asks for another value of an option from now on; options not asked for stay so.
    fn take(&mut self, other: Setting) {
        let own = self.wanted.iter_mut().find(|own| own.kind == other.kind);
        if let Some(own) = own {
            own.value = other.value;
        }
    }

    /// Answers a Configure-Request: rejections go before other wishes (RFC 1661, section 5.4).
    fn answer(
        &mut self,
        request: &Control,
        judge: impl Fn(&Setting) -> Judgement,
    ) -> Option<Frame> {
        let asked = decode(&request.data)?;
        let (mut rejected, mut other) = (Vec::new(), Vec::new());
        for setting in &asked {
            match judge(setting) {
                Judgement::Take => {}
                Judgement::Rather(value) => other.push(Setting {
                    kind: setting.kind,
                    value,
                }),
                Judgement::Reject => rejected.push(setting.clone()),
            }
        }
        self.granting = rejected.is_empty() && other.is_empty();
        let (code, settings) = match (self.granting, rejected.is_empty()) {
            (true, _) => (code::CONFIGURE_ACK, asked),
            (_, false) => (code::CONFIGURE_REJECT, rejected),
            _ => (code::CONFIGURE_NAK, other),
        };
        let answer = Control {
            code,
            identifier: request.identifier,
            data: encode(&settings),
        };
        Some(answer.into_frame(self.protocol))
    }
}

fn encode(settings: &[Setting]) -> Vec<u8> {
    let mut data = Vec::new();
    for setting in settings {
        let length = u8::try_from(2 + setting.value.len()).unwrap_or(u8::MAX);
        data.extend_from_slice(&[setting.kind, length]);
        data.extend_from_slice(&setting.value);
    }
    data
}

/// Options of a packet; `None` if their lengths don't fit.
fn decode(mut data: &[u8]) -> Option<Vec<Setting>> {
    let mut settings = Vec::new();
    while let Some(&[kind, length]) = data.first_chunk() {
        let length = usize::from(length);
        settings.push(Setting {
            kind,
            value: data.get(2..length)?.to_vec(),
        });
        data = &data[length..];
    }
    data.is_empty().then_some(settings)
}

#[cfg(test)]
mod tests {
    use super::super::protocol;
    use super::*;

    fn setting(kind: u8, value: &[u8]) -> Setting {
        Setting {
            kind,
            value: value.to_vec(),
        }
    }

    fn configure(wanted: Vec<Setting>) -> Configure {
        Configure::new(protocol::LCP, wanted)
    }

    fn control(frame: Option<Frame>) -> Control {
        let frame = frame.expect("a frame");
        Control::decode(&frame.payload).expect("a control packet")
    }

    #[test]
    fn two_ends_that_agree_open() {
        let mut ends = [
            configure(vec![setting(1, &[5, 220])]),
            configure(vec![setting(5, &[1, 2, 3, 4])]),
        ];
        for (from, to) in [(0, 1), (1, 0)] {
            let request = control(ends[from].request());
            let answer = control(ends[to].receive(&request, |_| Judgement::Take));
            assert_eq!(answer.code, code::CONFIGURE_ACK);
            assert!(ends[from].receive(&answer, |_| Judgement::Take).is_none());
        }
        assert!(ends.iter().all(Configure::is_open));
    }

    #[test]
    fn a_nak_brings_the_value_and_a_reject_takes_the_option_away() {
        let mut asking = configure(vec![setting(3, &[0; 4]), setting(2, &[1])]);
        let mut answering = configure(vec![]);
        let judge = |setting: &Setting| match setting {
            Setting { kind: 2, .. } => Judgement::Reject,
            Setting { value, .. } if *value == [0; 4] => Judgement::Rather(vec![10, 0, 0, 9]),
            _ => Judgement::Take,
        };
        let mut codes = Vec::new();
        let mut next = asking.request();
        while let Some(request) = next {
            let answer = control(answering.receive(&control(Some(request)), judge));
            codes.push(answer.code);
            next = asking.receive(&answer, judge);
        }
        let expected = [
            code::CONFIGURE_REJECT,
            code::CONFIGURE_NAK,
            code::CONFIGURE_ACK,
        ];
        assert_eq!(codes, expected);
        assert_eq!(asking.wanted(3), Some(&[10, 0, 0, 9][..]));
        assert_eq!(asking.wanted(2), None);
        assert!(asking.is_granted());
    }

    #[test]
    fn a_peer_that_never_agrees_is_asked_a_limited_number_of_times() {
        let mut asking = configure(vec![setting(3, &[0; 4])]);
        let mut answering = configure(vec![]);
        let mut asked = 0;
        let mut next = asking.request();
        while let Some(request) = next {
            asked += 1;
            let never = |_: &Setting| Judgement::Rather(vec![0; 4]);
            let answer = control(answering.receive(&control(Some(request)), never));
            next = asking.receive(&answer, never);
        }
        assert_eq!(asked, MOST_REQUESTS);
    }

    #[test]
    fn options_with_lengths_that_do_not_fit_are_passed_over() {
        assert_eq!(decode(&[1, 4, 5]), None);
        assert_eq!(decode(&[1, 0]), None);
        assert_eq!(decode(&[1, 1]), None);
        assert_eq!(decode(&[1]), None);
        assert_eq!(decode(&[]), Some(vec![]));
    }
}
