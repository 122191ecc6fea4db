//! Each fault of the path shows in what TCP does.

use std::time::{Duration, Instant};

use anyhow::Result;
use lab::path::CLIENT_TUN;
use lab::tcp_info::tcp_info;
use lab::{Action, Client, Loss, Match, Reorder, Rule, links, require_root};

use crate::{MEGABYTE, SOON, Setup};

#[test]
fn random_loss_is_repaired() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let setup = Setup::new()?;
    setup.lab.path.update(|faults| {
        faults.from_server.loss = Loss::Random {
            probability: 0.02,
            seed: 1,
        };
    });
    let mut client = setup.connect()?;
    client.download(2 * MEGABYTE)?;
    let retransmits = setup.info(&client)?.total_retrans;
    let dropped = setup.lab.path.counts().from_server.dropped;
    println!("{dropped} packets lost, {retransmits} retransmitted");
    assert!(dropped > 0 && retransmits > 0);
    client.close()
}

#[test]
fn every_nth_packet_is_lost() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let setup = Setup::new()?;
    let mut client = setup.connect()?;
    setup
        .lab
        .path
        .update(|faults| faults.from_server.loss = Loss::EveryNth(50));
    let before = setup.lab.path.counts().from_server;
    client.download(MEGABYTE)?;
    let after = setup.lab.path.counts().from_server;
    let dropped = after.dropped - before.dropped;
    let all = after.carried - before.carried + dropped;
    assert_eq!(dropped, all / 50);
    assert!(dropped > 5);
    setup.lab.path.clear();
    client.close()
}

#[test]
fn delay_is_round_trip_time() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let setup = Setup::exact()?;
    setup.lab.path.update(|faults| {
        faults.from_client.delay = Duration::from_millis(30);
        faults.from_server.delay = Duration::from_millis(20);
    });
    let mut client = setup.connect()?;
    client.download(MEGABYTE)?;
    let info = setup.info(&client)?;
    println!("tcpi_rtt {} us, tcpi_min_rtt {} us", info.rtt, info.min_rtt);
    assert!(
        (50_000..60_000).contains(&info.min_rtt),
        "{} us",
        info.min_rtt
    );
    assert!((50_000..90_000).contains(&info.rtt), "{} us", info.rtt);
    assert_eq!(info.total_retrans, 0);
    client.close()
}

#[test]
fn held_packets_are_overtaken() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let setup = Setup::new()?;
    setup.lab.path.update(|faults| {
        faults.from_server.delay = Duration::from_millis(5);
        faults.from_server.reorder = Some(Reorder {
            every: 40,
            hold: Duration::from_millis(2),
        });
    });
    let mut client = setup.connect()?;
    client.download(2 * MEGABYTE)?;
    let receiver = tcp_info(&setup.lab.client, client.local_addr(), client.remote_addr())?;
    let sender = setup.info(&client)?;
    println!(
        "{} out of order, {} reordering seen",
        receiver.rcv_ooopack, sender.reord_seen
    );
    assert!(receiver.rcv_ooopack > 0);
    assert_eq!(setup.lab.path.counts().from_server.dropped, 0);
    client.close()
}

#[test]
fn duplicates_are_reported_by_dsack() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let setup = Setup::new()?;
    setup
        .lab
        .path
        .update(|faults| faults.from_server.duplicate_every = 20);
    let mut client = setup.connect()?;
    client.download(MEGABYTE)?;
    assert!(setup.info(&client)?.dsack_dups > 0);
    assert!(setup.lab.path.counts().from_server.duplicated > 10);
    client.close()
}

#[test]
fn a_lost_syn_costs_a_second() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let setup = Setup::new()?;
    setup.lab.path.update(|faults| {
        faults.from_client.rules = vec![Rule {
            what: Match::Syn,
            nth: 1,
            action: Action::Drop,
        }];
    });
    let begun = Instant::now();
    let client = setup.connect()?;
    let took = begun.elapsed();
    assert!((900..1900).contains(&took.as_millis()), "{took:?}");
    setup.lab.path.wait_for_rules(SOON)?;
    client.close()
}

#[test]
fn a_black_hole_stalls_and_icmp_repairs() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let setup = Setup::new()?;
    for mut client in [setup.connect()?, setup.connect_v6()?] {
        setup
            .lab
            .path
            .update(|faults| faults.from_server.mtu = Some(1300));
        client.request_download_unread(MEGABYTE)?;
        // The TLS session tickets were small enough; of the download nothing whole arrives.
        assert!(client.read_for(Duration::from_millis(500))? < MEGABYTE);
        assert!(setup.lab.path.counts().from_server.dropped > 0);
        setup
            .lab
            .path
            .update(|faults| faults.from_server.icmp = true);
        client.read_download(MEGABYTE)?;
        let info = setup.info(&client)?;
        assert!(
            info.pmtu == 1300 && info.snd_mss < 1300,
            "{} {}",
            info.pmtu,
            info.snd_mss
        );
        setup.lab.path.clear();
        client.close()?;
    }
    Ok(())
}

#[test]
fn a_cut_path_lets_nothing_through() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let setup = Setup::new()?;
    let mut client = setup.connect()?;
    setup.lab.path.update(|faults| {
        faults.from_client.cut = true;
        faults.from_server.cut = true;
    });
    client.set_timeout(Duration::from_millis(200))?;
    assert!(client.download(1000).is_err());
    let timeout = Duration::from_millis(300);
    let to = setup.server_v4.address();
    let refused =
        Client::connect_timeout(&setup.lab.client, None, to, &setup.tls, timeout).is_err();
    assert!(refused);
    Ok(())
}

#[test]
fn a_device_that_is_down_loses_packets() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let setup = Setup::new()?;
    let mut client = setup.connect()?;
    setup.lab.client.run(|| links::set_down(CLIENT_TUN))?;
    client.set_timeout(Duration::from_millis(100))?;
    assert!(client.download(1000).is_err());
    setup.lab.client.run(|| links::set_up(CLIENT_TUN))
}
