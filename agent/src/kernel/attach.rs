//! Attaching the programs to interfaces, and taking them off again.
//!
//! Nothing is pinned. With TCX (Linux 6.6), the kernel detaches the programs when the
//! agent ends, however it ends. With clsact, a filter outlives its maker; those left
//! behind by an agent that was killed are found by the program's name. A filter's handle
//! says whether we made the qdisc it hangs on.

use std::fmt;

use aya::{
    maps::{MapData, MapInfo, PerCpuArray},
    programs::{
        LinkOrder, ProgramInfo, SchedClassifier, TcAttachType,
        links::Link as _,
        tc::{
            self, NlOptions, SchedClassifierLink, SchedClassifierLinkId, TcAttachOptions, TcError,
            TcHandle,
        },
    },
};
use sstpulse_common::Counters;

use super::programs::{Hooks, Kernel, KernelError, classifier, read_counters};
use crate::interface::{self, Filter, Interface};

/// Where in the kernel the programs hang.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// A TCX link; Linux 6.6 or later.
    Tcx,
    /// A filter of the clsact qdisc.
    Clsact,
}

/// Which hook to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HookChoice {
    /// TCX if the kernel has it, clsact otherwise.
    #[default]
    Auto,
    /// TCX or nothing.
    Tcx,
    /// The clsact qdisc.
    Clsact,
}

impl fmt::Display for Hook {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        })
    }
}

/// Both programs on one interface.
pub struct Attachment {
    interface: Interface,
    hook: Hook,
    links: Vec<(&'static str, SchedClassifierLinkId)>,
    made_qdisc: bool,
}

impl Attachment {
    /// The hook that was used.
    pub const fn hook(&self) -> Hook {
        self.hook
    }

    /// The interface.
    pub const fn interface(&self) -> &Interface {
        &self.interface
    }
}

/// Whether programs still hang where they were attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// They do, and see every packet.
    First,
    /// They do, behind programs of others: what those end the way of, they don't see.
    Behind,
    /// At least one doesn't.
    Gone,
}

/// Handles of our clsact filters: the qdisc is ours, or was there before.
const OUR_QDISC: TcHandle = TcHandle::new(0x5353, 1);
const THEIR_QDISC: TcHandle = TcHandle::new(0x5353, 2);

impl Kernel {
    /// Attaches the programs to both directions of an interface, having loaded them.
    pub async fn attach(
        &mut self,
        interface: &Interface,
        choice: HookChoice,
    ) -> Result<Attachment, KernelError> {
        self.load_programs(interface.framing)?;
        if choice != HookChoice::Clsact {
            match self.attach_tcx(interface) {
                Err(error) if choice == HookChoice::Auto => {
                    tracing::debug!(%interface, %error, "no TCX here; trying clsact");
                }
                result => return result,
            }
        }
        self.attach_clsact(interface).await
    }

    fn attach_tcx(&mut self, interface: &Interface) -> Result<Attachment, KernelError> {
        let mut attachment = Attachment {
            interface: interface.clone(),
            hook: Hook::Tcx,
            links: Vec::new(),
            made_qdisc: false,
        };
        for (name, direction) in programs(interface) {
            // First, since whoever comes before us may end the packet's way.
            let options = TcAttachOptions::TcxOrder(LinkOrder::first());
            match self.attach_program(name, interface, direction, options) {
                Ok(link) => attachment.links.push((name, link)),
                Err(error) => {
                    self.detach_links(&mut attachment)?;
                    return Err(error);
                }
            }
        }
        Ok(attachment)
    }

    async fn attach_clsact(&mut self, interface: &Interface) -> Result<Attachment, KernelError> {
        let mut attachment = Attachment {
            interface: interface.clone(),
            hook: Hook::Clsact,
            links: Vec::new(),
            made_qdisc: add_clsact(interface).await?,
        };
        let handle = if attachment.made_qdisc {
            OUR_QDISC
        } else {
            THEIR_QDISC
        };
        for (name, direction) in programs(interface) {
            match self.attach_filter(name, interface, direction, handle) {
                Ok(link) => attachment.links.push((name, link)),
                Err(error) => {
                    self.detach(attachment).await?;
                    return Err(error);
                }
            }
        }
        Ok(attachment)
    }

    /// Attaches a filter before those of others, since they may end the packet's way. Of
    /// several at one priority, the kernel asks the newest first. A priority is of one kind
    /// of filter and one protocol, though: where others have the first, the kernel is left to
    /// choose.
    fn attach_filter(
        &mut self,
        name: &str,
        interface: &Interface,
        direction: TcAttachType,
        handle: TcHandle,
    ) -> Result<SchedClassifierLinkId, KernelError> {
        const FIRST: u16 = 1;
        let at = |priority| {
            TcAttachOptions::Netlink(NlOptions {
                priority,
                handle,
                ..NlOptions::default()
            })
        };
        match self.attach_program(name, interface, direction, at(FIRST)) {
            Err(error) => {
                tracing::debug!(%interface, %error, "the first priority is taken");
                self.attach_program(name, interface, direction, at(0))
            }
            attached => attached,
        }
    }

    fn attach_program(
        &mut self,
        name: &str,
        interface: &Interface,
        direction: TcAttachType,
        options: TcAttachOptions,
    ) -> Result<SchedClassifierLinkId, KernelError> {
        classifier(&mut self.ebpf, name)?
            .attach_with_options(&interface.name, direction, options)
            .map_err(|error| {
                KernelError::new(format!("can't attach {name} to {interface}"), &error)
            })
    }

    /// Takes the programs off an interface, and the qdisc too if we made it and nobody
    /// else uses it.
    pub async fn detach(&mut self, mut attachment: Attachment) -> Result<(), KernelError> {
        // What somebody else has taken off can't be detached; the rest is all the same.
        let detached = self.detach_links(&mut attachment);
        if attachment.made_qdisc {
            remove_clsact_if_empty(&attachment.interface).await?;
        }
        detached
    }

    /// Whether the programs still hang where they were attached. Where the kernel doesn't
    /// let this process look, they are taken to.
    pub async fn hold(&mut self, attachment: &Attachment) -> anyhow::Result<Hold> {
        let interface = &attachment.interface;
        let filters = match attachment.hook {
            Hook::Tcx => Vec::new(),
            Hook::Clsact => interface::filters(interface).await?,
        };
        let mut hold = Hold::First;
        for ((name, attach_type), (direction, _)) in programs(interface).into_iter().zip(DIRECTIONS)
        {
            let id = classifier(&mut self.ebpf, name)?.info()?.id();
            let order: Vec<Option<u32>> = match attachment.hook {
                Hook::Tcx => match SchedClassifier::query_tcx(&interface.name, attach_type) {
                    Ok((_, found)) => found.iter().map(|program| Some(program.id())).collect(),
                    Err(_) => vec![Some(id)],
                },
                Hook::Clsact => filters
                    .iter()
                    .filter(|filter| filter.direction == direction)
                    .map(|filter| filter.program_id)
                    .collect(),
            };
            match order.iter().position(|found| *found == Some(id)) {
                None => return Ok(Hold::Gone),
                Some(0) => {}
                Some(_) => hold = Hold::Behind,
            }
        }
        Ok(hold)
    }

    /// Detaches both, even if one fails; the first failure is told.
    fn detach_links(&mut self, attachment: &mut Attachment) -> Result<(), KernelError> {
        let mut result = Ok(());
        for (name, link) in attachment.links.drain(..) {
            let detached = classifier(&mut self.ebpf, name)?.detach(link);
            if let Err(error) = detached {
                let what = format!("can't detach {name} from {}", attachment.interface);
                result = result.and(Err(KernelError::new(what, &error)));
            }
        }
        result
    }
}

/// The programs an interface gets, and where; in the order of [`DIRECTIONS`].
fn programs(interface: &Interface) -> [(&'static str, TcAttachType); 2] {
    let hooks = Hooks::of(interface.framing);
    [
        (hooks.ingress, TcAttachType::Ingress),
        (hooks.egress, TcAttachType::Egress),
    ]
}

/// Adds the clsact qdisc; false if there was one.
async fn add_clsact(interface: &Interface) -> Result<bool, KernelError> {
    let what = format!("can't add a clsact qdisc to {interface}");
    match tc::qdisc_add_clsact(&interface.name) {
        Ok(()) => return Ok(true),
        Err(TcError::AlreadyAttached) => {}
        Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => {}
        Err(error) => return Err(KernelError::new(what, &error)),
    }
    let in_the_way = interface::has_ingress_qdisc(interface)
        .await
        .map_err(|error| KernelError::new(&what, &*error))?;
    if in_the_way {
        let error = std::io::Error::other(
            "it has an ingress qdisc, which takes its place; remove that, or use Linux 6.6 or \
             later, where none is needed",
        );
        return Err(KernelError::new(what, &error));
    }
    Ok(false)
}

async fn remove_clsact_if_empty(interface: &Interface) -> Result<(), KernelError> {
    let fail = |error: anyhow::Error| {
        let error: Box<dyn std::error::Error + Send + Sync> = error.into();
        KernelError::new(
            format!("can't remove the clsact qdisc from {interface}"),
            error.as_ref(),
        )
    };
    if interface::filters(interface)
        .await
        .map_err(fail)?
        .is_empty()
    {
        interface::remove_clsact(interface).await.map_err(fail)?;
    }
    Ok(())
}

/// One of our programs, found on an interface.
pub struct Attached {
    /// The interface.
    pub interface: Interface,
    /// Where it hangs.
    pub hook: Hook,
    /// `ingress` or `egress`.
    pub direction: &'static str,
    /// The program's name.
    pub name: String,
    /// The kernel's number for the program.
    pub program_id: u32,
    /// What the programs have counted; `None` if the kernel doesn't say.
    pub counters: Option<Counters>,
    /// Slots of the session table; `None` if the kernel doesn't say.
    pub capacity: Option<u32>,
}

/// Our programs on an interface, whoever attached them.
pub async fn attached(interface: &Interface) -> anyhow::Result<Vec<Attached>> {
    let mut found = Vec::new();
    for (direction, attach_type) in DIRECTIONS {
        // A kernel without TCX has none attached.
        let Ok((_, programs)) = SchedClassifier::query_tcx(&interface.name, attach_type) else {
            continue;
        };
        let ours = programs.into_iter().filter(is_ours);
        found.extend(ours.map(|program| describe(interface, Hook::Tcx, direction, &program)));
    }
    let ours: Vec<ProgramInfo> = our_programs().collect();
    for filter in interface::filters(interface).await? {
        let of_filter = ours
            .iter()
            .find(|program| filter.program_id == Some(program.id()));
        if let Some(program) = of_filter {
            found.push(describe(interface, Hook::Clsact, filter.direction, program));
        }
    }
    Ok(found)
}

/// How many of our programs the kernel holds, attached anywhere or not.
pub fn loaded() -> usize {
    our_programs().count()
}

fn our_programs() -> impl Iterator<Item = ProgramInfo> {
    aya::programs::loaded_programs()
        .filter_map(Result::ok)
        .filter(is_ours)
}

const DIRECTIONS: [(&str, TcAttachType); 2] = [
    ("ingress", TcAttachType::Ingress),
    ("egress", TcAttachType::Egress),
];

fn is_ours(program: &ProgramInfo) -> bool {
    Hooks::names().any(|name| program.name() == name.as_bytes())
}

fn describe(
    interface: &Interface,
    hook: Hook,
    direction: &'static str,
    program: &ProgramInfo,
) -> Attached {
    let mut attached = Attached {
        interface: interface.clone(),
        hook,
        direction,
        name: String::from_utf8_lossy(program.name()).into_owned(),
        program_id: program.id(),
        counters: None,
        capacity: None,
    };
    for id in program.map_ids().ok().flatten().unwrap_or_default() {
        let Ok(map) = MapInfo::from_id(id) else {
            continue;
        };
        match map.name_as_str() {
            Some("SESSIONS") => attached.capacity = Some(map.max_entries()),
            Some("COUNTERS") => attached.counters = counters(id),
            _ => {}
        }
    }
    attached
}

fn counters(map_id: u32) -> Option<Counters> {
    let map = aya::maps::Map::from_map_data(MapData::from_id(map_id).ok()?).ok()?;
    let counters = PerCpuArray::try_from(map).ok()?;
    read_counters(&counters).ok()
}

/// Whether this kernel has TCX: it answers what is attached to the loopback device.
pub fn has_tcx() -> bool {
    SchedClassifier::query_tcx("lo", TcAttachType::Ingress).is_ok()
}

/// Takes off what an agent that was killed left on an interface. Returns what was there.
pub async fn detach_leftovers(interface: &Interface) -> anyhow::Result<Vec<&'static str>> {
    let ours = |filter: &Filter| {
        filter.is_bpf
            && [OUR_QDISC, THEIR_QDISC]
                .map(u32::from)
                .contains(&filter.handle)
    };
    let filters = interface::filters(interface).await?;
    let made_qdisc = filters
        .iter()
        .any(|filter| ours(filter) && filter.handle == u32::from(OUR_QDISC));
    let mut detached = Vec::new();
    for filter in filters.iter().filter(|filter| ours(filter)) {
        let Some(name) = our_name(filter) else {
            continue;
        };
        let attach_type = match filter.direction {
            "ingress" => TcAttachType::Ingress,
            _ => TcAttachType::Egress,
        };
        SchedClassifierLink::attached(
            &interface.name,
            attach_type,
            filter.priority,
            TcHandle::from(filter.handle),
            None,
        )?
        .detach()?;
        detached.push(name);
    }
    if made_qdisc {
        remove_clsact_if_empty(interface).await?;
    }
    Ok(detached)
}

/// Which of our programs a filter runs.
fn our_name(filter: &Filter) -> Option<&'static str> {
    Hooks::names().find(|name| filter.name.as_deref() == Some(*name))
}
