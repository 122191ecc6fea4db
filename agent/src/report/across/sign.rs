//! From the verdict on one session to the cluster it may belong to.

use sstpulse_common::{Address, FlowKey};

use super::{End, member::Member};
use crate::{
    event::{AttemptOutcome, ClusterCode, Code, Confidence, Verdict},
    report::prefix::Prefix,
};

/// A server: its address and port.
pub(super) type Server = (Address, u16);

/// How far two times of idleness may be apart and still be the same, in milliseconds.
pub(super) const SAME_MS: u64 = 2_000;

/// A failure that may belong to a cluster.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sign {
    pub(super) code: ClusterCode,
    /// When it happened, which may be long before it is known.
    pub(super) time_ns: u64,
    pub(super) member: Member,
    pub(super) server: Server,
    pub(super) prefix: Prefix,
    pub(super) failure: Failure,
}

/// What there is to know of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// A session was lost.
    Lost,
    /// A session was lost after being idle.
    Idle {
        idle_ms: u64,
        timeout_of: Option<&'static str>,
    },
    /// An attempt was not answered.
    Unanswered,
    /// An attempt was refused.
    Refused,
}

/// The server of a flow.
pub(super) const fn server(key: &FlowKey) -> Server {
    (key.server, key.server_port)
}

/// What the end of a session may belong to.
pub(super) fn of_session(end: &End<'_>, hello_ms: u64) -> Option<Sign> {
    let (mut code, mut failure) = (cluster(end.verdict.code)?, Failure::Lost);
    if code == ClusterCode::SharedIdleTimeout {
        let idle_ms = end.verdict.evidence.idle_ms?;
        // Between two hellos nothing need pass: such a gap is the server's own pace, and the
        // path may have died at any time of it.
        if idle_ms <= hello_ms + SAME_MS {
            code = ClusterCode::PathsDead;
        } else {
            failure = Failure::Idle {
                idle_ms,
                timeout_of: end.verdict.evidence.timeout_of,
            };
        }
    }
    Some(Sign {
        code,
        time_ns: if code == ClusterCode::PathsDead {
            end.heard_ns
        } else {
            end.closed_ns
        },
        member: Member::Session(end.id),
        server: server(end.key),
        prefix: Prefix::of(end.key.client),
        failure,
    })
}

/// What a failed attempt may belong to.
pub(super) fn of_attempt(
    key: &FlowKey,
    time_ns: u64,
    outcome: AttemptOutcome,
    verdict: &Verdict,
) -> Option<Sign> {
    let failure = match outcome {
        // With fewer SYNs it may be a scan, or a flood.
        AttemptOutcome::SynUnanswered if verdict.confidence == Confidence::High => {
            Failure::Unanswered
        }
        AttemptOutcome::ResetByServer => Failure::Refused,
        _ => return None,
    };
    Some(Sign {
        code: ClusterCode::ServerUnreachable,
        time_ns,
        member: Member::Attempt(*key),
        server: server(key),
        prefix: Prefix::of(key.client),
        failure,
    })
}

const fn cluster(code: Code) -> Option<ClusterCode> {
    Some(match code {
        Code::ServerRestart | Code::ServerProcessDied | Code::ServerReset => {
            ClusterCode::ServerRestart
        }
        Code::ResetOnClientHello | Code::ResetInjectedSuspect => ClusterCode::ClientsCutOff,
        Code::ClientReset => ClusterCode::ClientsReset,
        Code::PathDead | Code::ClientRoamed => ClusterCode::PathsDead,
        Code::IdleTimeoutSuspect => ClusterCode::SharedIdleTimeout,
        _ => return None,
    })
}
