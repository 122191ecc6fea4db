//! `sstpulse detach`: everything down again.

use anyhow::anyhow;

use crate::{
    cli::DetachArgs,
    failure::Failure,
    host, instance,
    interface::{self, Interface},
    kernel::detach_leftovers,
};

/// Stops the agents on the interfaces, and takes off what killed ones have left.
pub(super) async fn detach(arguments: &DetachArgs) -> Result<(), Failure> {
    host::require_privileges().map_err(Failure::host)?;
    let mut nothing = true;
    // Also of interfaces that are gone, whose agents wait for them to come back.
    let watched = instance::watched()?;
    let wanted =
        |name: &String| arguments.interface.is_empty() || arguments.interface.contains(name);
    for name in watched.iter().filter(|name| wanted(name)) {
        let Some(owner) = instance::owner(name)? else {
            continue;
        };
        let others = owner.others(name, &watched)?;
        if let Some(other) = others.iter().find(|other| !wanted(other)) {
            return Err(anyhow!(
                "{owner} watches {other} as well as {name}, and can't leave one of them alone; \
                 name both to stop it"
            )
            .into());
        }
        let process = owner.to_string();
        owner.stop()?;
        let all = [std::slice::from_ref(name), &others].concat().join(" and ");
        eprintln!("stopped the sstpulse that ran on {all} as {process}");
        nothing = false;
    }
    for interface in named(arguments, &watched).await? {
        for name in detach_leftovers(&interface).await? {
            eprintln!("took {name} off {interface}");
            nothing = false;
        }
    }
    if nothing {
        eprintln!("nothing of sstpulse is attached in this network namespace");
    }
    Ok(())
}

/// The interfaces that are meant and are there.
async fn named(arguments: &DetachArgs, watched: &[String]) -> Result<Vec<Interface>, Failure> {
    let mut interfaces = interface::all().await?;
    if arguments.interface.is_empty() {
        return Ok(interfaces);
    }
    for name in &arguments.interface {
        let known = watched.contains(name) || interfaces.iter().any(|one| one.name == *name);
        if !known {
            return Err(Failure::host(anyhow!("there is no interface {name} here")));
        }
    }
    interfaces.retain(|interface| arguments.interface.contains(&interface.name));
    Ok(interfaces)
}
