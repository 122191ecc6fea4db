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
    for interface in named(arguments).await? {
        if let Some(owner) = instance::owner(&interface.name)? {
            let process = owner.to_string();
            owner.stop()?;
            eprintln!("stopped the sstpulse that ran on {interface} as {process}");
            nothing = false;
        }
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

async fn named(arguments: &DetachArgs) -> Result<Vec<Interface>, Failure> {
    let all = interface::all().await?;
    if arguments.interface.is_empty() {
        return Ok(all);
    }
    let find = |name: &String| {
        all.iter()
            .find(|interface| interface.name == *name)
            .cloned()
            .ok_or_else(|| Failure::host(anyhow!("there is no interface {name} here")))
    };
    arguments.interface.iter().map(find).collect()
}
