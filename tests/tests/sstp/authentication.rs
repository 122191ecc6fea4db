//! Who is let in, how, and how the others are told.

use anyhow::Result;
use lab::sstp::{By, ClientFault, How, Method, Offer, Phase, Refusal};

use crate::{DISCONNECTED, MOMENT, Setup};

#[test]
fn pap_and_chap_let_in_over_each_version_of_tls() -> Result<()> {
    for offer in [Offer::Tls13, Offer::Tls12AesGcm, Offer::Tls12ChaCha20] {
        for method in [Method::Pap, Method::ChapMd5] {
            let mut setup = Setup::with(offer)?;
            setup.server.authentication.method = method;
            let met = setup.meet()?;
            assert_eq!(met.hows(), (DISCONNECTED, DISCONNECTED), "{met:?}");
            assert_eq!(met.client.sent, met.server.received);
            assert_eq!(met.server.sent, met.client.received);
        }
    }
    Ok(())
}

#[test]
fn a_wrong_password_is_refused_in_each_of_three_ways() -> Result<()> {
    for method in [Method::Pap, Method::ChapMd5] {
        for refusal in [Refusal::Disconnect, Refusal::Abort, Refusal::Close] {
            let mut setup = Setup::new()?;
            setup.server.authentication.method = method;
            setup.server.authentication.refusal = refusal;
            setup.client.credentials.password = "guess".to_owned();
            let met = setup.meet()?;
            assert_eq!(met.hows(), (How::Rejected, How::Rejected), "{met:?}");
            assert_eq!((met.client.by, met.server.by), (By::Peer, By::Own));
            assert_eq!(met.client.phase, Phase::Authentication);
            assert_eq!(met.server.phase, Phase::Authentication);
        }
    }
    Ok(())
}

#[test]
fn a_server_may_refuse_the_right_password() -> Result<()> {
    let mut setup = Setup::new()?;
    setup.server.authentication.refuses_all = true;
    assert_eq!(setup.meet()?.hows(), (How::Rejected, How::Rejected));
    Ok(())
}

#[test]
fn a_slow_backend_delays_the_answer() -> Result<()> {
    let mut setup = Setup::new()?;
    setup.server.authentication.delay = 4 * MOMENT;
    let met = setup.meet()?;
    assert_eq!(met.hows(), (DISCONNECTED, DISCONNECTED));
    assert!(met.client.lasted >= 4 * MOMENT, "{met:?}");
    Ok(())
}

#[test]
fn a_server_that_wants_ms_chap_is_named_so() -> Result<()> {
    let mut setup = Setup::new()?;
    setup.server.authentication.method = Method::MsChapV2;
    let met = setup.meet()?;
    assert_eq!(met.hows(), (How::Unwilling, How::Unwilling), "{met:?}");
    assert!(met.client.detail.contains("MS-CHAPv2"), "{met:?}");
    assert_eq!(met.client.phase, Phase::Lcp);
    Ok(())
}

#[test]
fn a_wrong_binding_is_aborted_by_a_server_that_looks() -> Result<()> {
    let mut setup = Setup::new()?;
    setup.client.fault = Some(ClientFault::WrongBinding);
    let met = setup.meet()?;
    assert_eq!(met.server.how, How::Binding, "{met:?}");
    assert_eq!(met.client.how, How::Abort { status: Some(4) });
    assert_eq!(met.client.by, By::Peer);

    setup.server.checks_binding = false;
    assert_eq!(setup.meet()?.hows(), (DISCONNECTED, DISCONNECTED));
    Ok(())
}
