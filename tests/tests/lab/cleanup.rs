//! Namespaces are separate, and gone afterwards.

use std::fs;

use anyhow::Result;
use lab::{Lab, Namespace, require_root};

#[test]
fn everything_is_gone_after_a_drop_and_after_a_panic() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let names = |lab: &Lab| {
        [&lab.server, &lab.router, &lab.client].map(|namespace| namespace.name().to_owned())
    };
    let exist = |names: &[String]| {
        names
            .iter()
            .any(|name| fs::exists(format!("/run/netns/{name}")).unwrap_or(true))
    };
    let (first, second) = (Lab::new()?, Lab::new()?);
    let (first_names, second_names) = (names(&first), names(&second));
    drop(first);
    assert!(!exist(&first_names));
    assert!(exist(&second_names), "laboratories are independent");
    let panic = std::thread::spawn(move || {
        let _lab = second;
        panic!("on purpose");
    });
    assert!(panic.join().is_err());
    assert!(!exist(&second_names));
    Ok(())
}

#[test]
fn stale_namespaces_are_removed() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    // No process has this id: it is beyond the kernel's largest.
    let name = "sstpulse-4194305-0-server";
    Namespace::create(name)?.keep();
    assert!(fs::exists(format!("/run/netns/{name}"))?);
    Namespace::remove_stale()?;
    assert!(!fs::exists(format!("/run/netns/{name}"))?);
    Ok(())
}

#[test]
fn settings_are_those_of_the_namespace() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    assert_eq!(lab.router.sysctl("net/ipv4/ip_forward")?, "1");
    assert_eq!(lab.client.sysctl("net/ipv4/ip_forward")?, "0");
    Ok(())
}
