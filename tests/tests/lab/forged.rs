//! Packets that neither end has sent.

use std::net::SocketAddr;

use anyhow::Result;
use lab::craft::Segment;
use lab::{Direction, require_root, wait_until};

use crate::{SOON, Setup};

#[test]
fn a_forged_reset_ends_the_session() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let setup = Setup::new()?;
    for mut client in [setup.connect()?, setup.connect_v6()?] {
        client.download(1000)?;
        let observed = setup.lab.path.observed(client.local_addr());
        let rst = Segment::rst_from(&observed, Direction::FromServer);
        let rst = rst.expect("the server has sent data").packet()?;
        setup.lab.path.inject(Direction::FromServer, &rst)?;
        assert!(client.hold(SOON)?, "the client sees the reset");
    }
    assert_eq!(setup.lab.path.counts().from_server.injected, 2);
    Ok(())
}

#[test]
fn a_forged_syn_from_anywhere_is_answered_into_the_path() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let setup = Setup::new()?;
    for (source, server) in [
        ("198.51.100.7", &setup.server_v4),
        ("2001:db8::7", &setup.server_v6),
    ] {
        let source = SocketAddr::new(source.parse()?, 4711);
        let syn = Segment::syn(source, server.address(), 1000).packet()?;
        setup.lab.path.inject(Direction::FromClient, &syn)?;
        wait_until(SOON, "the server's SYN+ACK", || {
            setup.lab.path.observed(source).from_server.is_some()
        })?;
        let answer = setup
            .lab
            .path
            .observed(source)
            .from_server
            .expect("just seen");
        assert_eq!(answer.acknowledgment, 1001);
    }
    Ok(())
}
