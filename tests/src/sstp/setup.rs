//! What the set-ups of both ends have in common.

use std::io;

use super::ended::{By, End, How, Phase};
use super::ending::end_of;
use super::ppp::Stage;
use super::wire::Closed;

/// What a failed handshake means; rustls says which end refused.
pub(super) fn tls_failed(error: io::Error) -> End {
    let refused = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match refused {
        Some(rustls::Error::AlertReceived(alert)) => {
            End::with(How::Tls, By::Peer, format!("the peer's alert: {alert:?}"))
        }
        Some(own) => End::with(How::Tls, By::Own, own.to_string()),
        None => end_of(&Closed::from(error)),
    }
}

/// The end of a set-up in which the peer has not gone on in time.
pub(super) fn too_slow(what: &str) -> End {
    let why = format!("{what} takes too long");
    End::with(How::NegotiationTimeout, By::Own, why)
}

/// The phase in which PPP is at this stage.
pub(super) fn phase(stage: Stage) -> Phase {
    match stage {
        Stage::Establish => Phase::Lcp,
        Stage::Authenticate => Phase::Authentication,
        Stage::Network | Stage::Opened => Phase::Network,
    }
}
