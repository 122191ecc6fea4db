//! Both ends in namespaces of their own, many clients with addresses of their own.

use std::net::IpAddr;

use anyhow::Result;
use lab::sstp::{SstpClients, SstpServer};
use lab::{Lab, SERVER_V4, SERVER_V6, require_root};

use crate::{DISCONNECTED, SOON, Setup};

#[test]
fn clients_connect_from_addresses_of_the_lab() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let mut setup = Setup::new()?;
    let ends: [(IpAddr, IpAddr); 2] = [
        (SERVER_V4.into(), "10.78.3.4".parse()?),
        (SERVER_V6.into(), "fd78::1234".parse()?),
    ];
    lab.add_client_addresses(ends.map(|(_, client)| client))?;
    let clients = SstpClients::start(&lab.client)?;
    for (server, client) in ends {
        let server = SstpServer::start(&lab.server, (server, 443).into(), &setup.server)?;
        setup.client.from = Some(client);
        let session = clients.open(server.address(), &setup.client);
        let ended = session.wait_ended(SOON)?;
        assert_eq!(ended.how, DISCONNECTED, "{ended:?}");
        assert_eq!(ended.local.map(|local| local.ip()), Some(client));
        assert_eq!(Some(server.wait_ended(1, SOON)?[0].remote), ended.local);
    }
    Ok(())
}
