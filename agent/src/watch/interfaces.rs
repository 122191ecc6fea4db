//! The watched interfaces: attached at the start, and again when one comes back.
//!
//! An interface that goes away takes the programs along without a word.

use anyhow::{Context as _, anyhow};

use crate::{
    event::WatchedInterface,
    failure::Failure,
    instance::Instance,
    interface::{self, Interface},
    kernel::{Attachment, Hold, HookChoice, Kernel, attached, detach_leftovers},
    report::InterfaceNames,
};

/// The interfaces, by name, and what is attached to them.
pub(super) struct Interfaces {
    watched: Vec<Watched>,
    hook: HookChoice,
}

struct Watched {
    name: String,
    attachment: Option<Attachment>,
    /// Index of the interface that it was attached to last; sessions refer to it.
    index: Option<u32>,
    /// Whether programs of others come before ours.
    behind: bool,
    _instance: Instance,
}

impl Interfaces {
    /// Claims the interfaces, and removes what a killed agent left on them. Attaches
    /// nothing yet.
    pub(super) async fn claim(names: &[String], hook: HookChoice) -> Result<Self, Failure> {
        let mut watched = Vec::new();
        for name in names {
            let interface = lookup(name).await?;
            let instance = Instance::claim(name).map_err(Failure::host)?;
            let leftovers = detach_leftovers(&interface).await?;
            if !leftovers.is_empty() {
                tracing::warn!("took off what an agent that was killed had left on {name}");
            }
            // Whoever holds the name: two agents would count everything twice.
            if !attached(&interface).await?.is_empty() {
                return Err(Failure::host(anyhow!(
                    "the programs of another sstpulse are attached to {name}; stop it first"
                )));
            }
            watched.push(Watched {
                name: name.clone(),
                attachment: None,
                index: None,
                behind: false,
                _instance: instance,
            });
        }
        Ok(Self { watched, hook })
    }

    /// Attaches to all of them, or to none.
    pub(super) async fn attach(&mut self, kernel: &mut Kernel) -> Result<(), Failure> {
        for index in 0..self.watched.len() {
            let watched = &mut self.watched[index];
            let result = match lookup(&watched.name).await {
                Ok(interface) => kernel
                    .attach(&interface, self.hook)
                    .await
                    .map_err(Failure::host),
                Err(failure) => Err(failure),
            };
            match result {
                Ok(attachment) => {
                    let hold = kernel.hold(&attachment).await?;
                    watched.note(hold);
                    watched.follow(attachment);
                }
                Err(failure) => {
                    self.detach(kernel).await;
                    return Err(failure);
                }
            }
        }
        Ok(())
    }

    /// Takes everything off.
    pub(super) async fn detach(&mut self, kernel: &mut Kernel) {
        for watched in &mut self.watched {
            if let Some(attachment) = watched.attachment.take()
                && let Err(error) = kernel.detach(attachment).await
            {
                tracing::error!("{error}; `sstpulse detach` may do it");
            }
        }
    }

    /// Follows interfaces that have gone, or come back under the same name, and programs
    /// that somebody else has taken off. What can't be done now is tried again later.
    pub(super) async fn reconcile(&mut self, kernel: &mut Kernel) {
        for watched in &mut self.watched {
            if let Err(error) = watched.reconcile(kernel, self.hook).await {
                tracing::error!("{error:#}; trying again later");
            }
        }
    }

    /// Whether a change of this interface matters here.
    pub(super) fn concern(&self, changed: &Interface) -> bool {
        self.watched
            .iter()
            .any(|watched| watched.name == changed.name)
            || self.name(changed.index).is_some()
    }

    /// Those that are attached.
    pub(super) fn attached(&self) -> Vec<WatchedInterface<'_>> {
        self.attachments()
            .map(|attachment| WatchedInterface {
                name: &attachment.interface().name,
                index: attachment.interface().index,
                hook: attachment.hook(),
            })
            .collect()
    }

    /// Names of those that don't exist.
    pub(super) fn missing(&self) -> Vec<&str> {
        let missing = |watched: &&Watched| watched.attachment.is_none();
        self.watched
            .iter()
            .filter(missing)
            .map(|watched| watched.name.as_str())
            .collect()
    }

    fn attachments(&self) -> impl Iterator<Item = &Attachment> {
        self.watched
            .iter()
            .filter_map(|watched| watched.attachment.as_ref())
    }
}

impl InterfaceNames for Interfaces {
    fn name(&self, index: u32) -> Option<&str> {
        self.watched
            .iter()
            .find(|watched| watched.index == Some(index))
            .map(|watched| watched.name.as_str())
    }
}

impl Watched {
    fn follow(&mut self, attachment: Attachment) {
        self.index = Some(attachment.interface().index);
        self.attachment = Some(attachment);
    }

    /// Says so, once, if programs of others have come before ours.
    fn note(&mut self, hold: Hold) {
        let behind = hold == Hold::Behind;
        if behind && !self.behind {
            tracing::warn!(
                "programs of others come before sstpulse's on {}; of packets that they stop or \
                 hand over at once, nothing is counted",
                self.name
            );
        }
        self.behind = behind;
    }

    async fn reconcile(&mut self, kernel: &mut Kernel, hook: HookChoice) -> anyhow::Result<()> {
        let now = interface::find(&self.name).await?;
        if let Some(attachment) = &self.attachment {
            if now.as_ref() == Some(attachment.interface()) {
                let hold = kernel.hold(attachment).await?;
                self.note(hold);
                if hold != Hold::Gone {
                    return Ok(());
                }
            }
        } else if now.is_none() {
            return Ok(());
        }
        if let Some(attachment) = self.attachment.take() {
            tracing::warn!("interface {} is gone, or the programs on it", self.name);
            if let Err(error) = kernel.detach(attachment).await {
                tracing::debug!(%error, "nothing to detach");
            }
        }
        if let Some(interface) = now {
            let attachment = kernel.attach(&interface, hook).await?;
            self.follow(attachment);
            tracing::info!("interface {} is watched again", self.name);
        }
        Ok(())
    }
}

async fn lookup(name: &str) -> Result<Interface, Failure> {
    interface::find(name)
        .await
        .with_context(|| format!("can't look up the interface {name}"))?
        .ok_or_else(|| {
            Failure::host(anyhow!(
                "there is no interface {name:?} here; `ip link` lists those there are"
            ))
        })
}
