//! Loading the programs, with their maps sized and their constants set.

use std::{
    array,
    collections::BTreeSet,
    hash::{BuildHasher as _, RandomState},
    io,
    num::NonZeroU32,
    os::fd::{AsFd as _, OwnedFd},
    panic::resume_unwind,
    thread,
};

use aya::{
    Ebpf, EbpfLoader, TestRun as _, TestRunOptions, VerifierLogLevel, include_bytes_aligned,
    maps::{HashMap, Map, MapData, MapInfo, PerCpuArray, RingBuf},
    programs::{Program, ProgramFd, ProgramInfo, SchedClassifier},
};
use sstpulse_common::{
    Counters, FlowKey, Framing, HalfOpen, SessionRecord, Side,
    counters::Counter,
    index::{Geometry, Multipliers},
    marks::SLOTS as MARKS_OF_A_LINE,
};
use thiserror::Error;

use super::{
    abi::Abi,
    batch,
    chores::{Chore, Chores},
    marks::Marks,
    notices::Messages,
    sessions::SessionTable,
};
use crate::report::{Flows, Glance};

/// Attempts that are read at once: it takes a fraction of a millisecond.
const MOST_ATTEMPTS: usize = 1_024;

/// Why the kernel half can't do something: one sentence with what, on what, and why.
#[derive(Debug, Error)]
#[error("{what}: {why}")]
pub struct KernelError {
    what: String,
    why: String,
}

impl KernelError {
    pub(super) fn new(what: impl Into<String>, why: &dyn std::error::Error) -> Self {
        let mut text = why.to_string();
        let mut source = why.source();
        while let Some(error) = source {
            let part = error.to_string();
            // Many errors repeat their source in their own text.
            if !text.contains(&part) {
                text = format!("{text}: {part}");
            }
            source = error.source();
        }
        // The verifier's log is for us, and long.
        if let Some((reason, log)) = text.split_once(". Verifier output:") {
            tracing::debug!("the verifier says:{log}");
            text = format!("{reason} (`--log debug` shows what the verifier says)");
        }
        Self {
            what: what.into(),
            why: text,
        }
    }
}

/// How much the kernel half may hold, fixed at load.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Sessions followed at once.
    pub sessions: NonZeroU32,
    /// Half-open connections remembered at once.
    pub half_open: NonZeroU32,
}

impl Limits {
    /// Kernel memory the tables take, in bytes: session records, their index and marks, half-open
    /// connections and the ring buffers.
    pub fn bytes(self) -> u64 {
        /// What the kernel's hash map adds to key and value: element header and bucket.
        const HASH_OVERHEAD: u64 = 48 + 16;
        /// A cache line.
        const BUCKET: u64 = 64;
        let half_open = 40 + 64 + HASH_OVERHEAD + 16;
        let geometry = Geometry::of(self.sessions.get());
        let record = size_of::<SessionRecord>() as u64;
        u64::from(geometry.slots()) * record
            + u64::from(geometry.buckets) * BUCKET
            + u64::from(geometry.slots())
            + u64::from(self.half_open.get()) * half_open
            + u64::from(self.notices())
            + u64::from(self.openings())
    }

    /// Bytes of the ring buffer: a power of two of whole pages, room for a burst of a
    /// quarter of all sessions beginning or ending at once, and of no more than 87,000: what
    /// finds no room, a scan finds.
    fn notices(self) -> u32 {
        /// A notice of 40 bytes, and the ring's header of 8.
        const NOTICE: u64 = 48;
        let wanted = u64::from(self.sessions.get() / 4) * NOTICE;
        ring_size(wanted.clamp(64 << 10, 4 << 20))
    }

    /// The same of the ring buffer for openings: room for what two in a hundred sessions
    /// send until they are up.
    fn openings(self) -> u32 {
        const OPENING: u64 = 8 << 10;
        let wanted = u64::from(self.sessions.get() / 50) * OPENING;
        ring_size(wanted.clamp(1 << 20, 16 << 20))
    }
}

/// A power of two of at least so many bytes.
fn ring_size(bytes: u64) -> u32 {
    u32::try_from(bytes.next_power_of_two()).unwrap_or(1 << 31)
}

/// The programs of one kind of interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hooks {
    /// Name of the program on ingress.
    pub ingress: &'static str,
    /// Name of the program on egress.
    pub egress: &'static str,
}

impl Hooks {
    /// All kinds.
    const ALL: [Self; 2] = [Self::of(Framing::Ethernet), Self::of(Framing::Ip)];

    /// The programs for interfaces with this framing.
    pub const fn of(framing: Framing) -> Self {
        match framing {
            Framing::Ethernet => Self {
                ingress: "sstpulse_in",
                egress: "sstpulse_out",
            },
            Framing::Ip => Self {
                ingress: "sstpulse_in_ip",
                egress: "sstpulse_out_ip",
            },
        }
    }

    /// The names of all programs.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::ALL
            .into_iter()
            .flat_map(|hooks| [hooks.ingress, hooks.egress])
    }

    /// The program that sees what `side` sends.
    pub const fn seeing(self, side: Side) -> &'static str {
        match side {
            Side::Client => self.ingress,
            Side::Server => self.egress,
        }
    }
}

/// The programs and their maps. Dropping it detaches and unloads everything.
pub struct Kernel {
    pub(super) ebpf: Ebpf,
    /// The session records.
    pub table: SessionTable,
    marks: Marks,
    chores: Chores,
    half_open: HashMap<MapData, Abi<FlowKey>, Abi<HalfOpen>>,
    half_open_fd: OwnedFd,
    counters: PerCpuArray<MapData, u64>,
    notices: Option<RingBuf<MapData>>,
    openings: Option<RingBuf<MapData>>,
}

static OBJECT: &[u8] = include_bytes_aligned!(env!("SSTPULSE_OBJECT"));

/// What a packet brings besides its bytes when a program runs on one of our own.
#[derive(Clone, Copy, Debug, Default)]
pub struct PacketContext {
    /// Time of the packet, in nanoseconds.
    pub time_ns: u64,
    /// Segments in the buffer; 0 for a buffer without offload.
    pub gso_segs: u32,
    /// Payload of each of them, in bytes.
    pub gso_size: u32,
    /// The interface it came in by, of what this host forwards; 0 otherwise.
    pub ingress_ifindex: u32,
}

impl Kernel {
    /// Makes the maps, for programs that watch `ports`.
    pub fn load(ports: &BTreeSet<u16>, limits: Limits) -> Result<Self, KernelError> {
        Self::load_with_clock(ports, limits, false)
    }

    /// The same for [`Kernel::run`]: time comes from the packets.
    pub fn load_for_test_runs(ports: &BTreeSet<u16>, limits: Limits) -> Result<Self, KernelError> {
        Self::load_with_clock(ports, limits, true)
    }

    fn load_with_clock(
        ports: &BTreeSet<u16>,
        limits: Limits,
        time_from_packet: bool,
    ) -> Result<Self, KernelError> {
        // Counters are one for each CPU, and can't be read without their number.
        aya::util::nr_cpus().map_err(|(path, error)| {
            KernelError::new(
                format!("can't read {path}, which tells the number of CPUs; is /sys mounted?"),
                &error,
            )
        })?;
        let mut ebpf = load_maps(ports, limits, time_from_packet, VerifierLogLevel::default())?;
        let table = SessionTable::map(take(&mut ebpf, "SESSIONS")?)?;
        let marks = Marks::map(take(&mut ebpf, "MARKS")?)?;
        let list = take(&mut ebpf, "CHORES")?;
        let chores = Chores::load(&mut ebpf, list)?;
        let half_open = take(&mut ebpf, "HALF_OPEN")?;
        let half_open_fd = descriptor(&half_open)
            .map_err(|error| KernelError::new("can't get at the attempts", &error))?;
        let half_open = as_map(half_open, "HALF_OPEN")?;
        Ok(Self {
            table,
            marks,
            chores,
            half_open_fd,
            half_open,
            counters: typed(&mut ebpf, "COUNTERS")?,
            notices: Some(typed(&mut ebpf, "NOTICES")?),
            openings: Some(typed(&mut ebpf, "PAYLOADS")?),
            ebpf,
        })
    }

    /// Loads the programs for interfaces with this framing, unless they are loaded. Most hosts
    /// need one pair; the verifier takes its time for each, and looks at both at once.
    pub fn load_programs(&mut self, framing: Framing) -> Result<(), KernelError> {
        let hooks = Hooks::of(framing);
        let wanted = |name: &str| [hooks.ingress, hooks.egress].contains(&name);
        let missing = |program: &Program| program.fd().is_err();
        thread::scope(|scope| {
            let loads: Vec<_> = self
                .ebpf
                .programs_mut()
                .filter(|(name, program)| wanted(name) && missing(program))
                .map(|(name, program)| scope.spawn(move || load_program(name, program)))
                .collect();
            loads
                .into_iter()
                .try_for_each(|load| load.join().unwrap_or_else(|panic| resume_unwind(panic)))
        })
    }

    /// The stream of notices; `None` if it was taken before.
    pub fn notices(&mut self) -> Result<Option<Messages>, KernelError> {
        self.notices.take().map(Messages::notices).transpose()
    }

    /// The stream of openings; `None` if it was taken before.
    pub fn openings(&mut self) -> Result<Option<Messages>, KernelError> {
        self.openings.take().map(Messages::openings).transpose()
    }

    /// The program that sees what `side` sends, for a benchmark to call.
    pub fn program(&mut self, framing: Framing, side: Side) -> Result<&ProgramFd, KernelError> {
        self.load_programs(framing)?;
        let name = Hooks::of(framing).seeing(side);
        classifier(&mut self.ebpf, name)?
            .fd()
            .map_err(|error| KernelError::new(format!("{name} is not loaded"), &error))
    }

    /// Runs the program that sees what `side` sends once, on a packet of our own.
    pub fn run(
        &mut self,
        framing: Framing,
        side: Side,
        packet: &[u8],
        context: PacketContext,
    ) -> Result<i32, KernelError> {
        self.load_programs(framing)?;
        let name = Hooks::of(framing).seeing(side);
        run(classifier(&mut self.ebpf, name)?, packet, context)
    }
}

impl Flows for Kernel {
    type Error = KernelError;

    fn capacity(&self) -> u32 {
        self.table.capacity()
    }

    fn state(&self, slot: u32) -> u8 {
        self.table.state(slot)
    }

    fn glance(&self, slot: u32) -> Glance {
        self.table.glance(slot)
    }

    fn stirred(&self, from: u32, until: u32) -> Option<u32> {
        self.marks.first(from, until)
    }

    fn rest(&mut self, slot: u32) {
        let idle = self.table.is_idle(slot);
        self.marks.rest(slot, idle);
        // Last: from then on, a segment leaves another mark.
        if !idle {
            self.table.rest(slot);
        }
    }

    fn read(&self, slot: u32) -> SessionRecord {
        self.table.read(slot)
    }

    fn attend(&mut self, slot: u32, attention: u8, small: u8) {
        self.table.attend(slot, attention, small);
    }

    fn retire(&mut self, slots: &[u32]) -> Result<(), KernelError> {
        let slots = slots.iter().copied();
        self.chores.run(&mut self.ebpf, Chore::Retire, slots)
    }

    fn release(&mut self, slots: &[u32]) -> Result<(), KernelError> {
        for slot in slots {
            self.table.clear(*slot);
        }
        let slots = slots.iter().copied();
        self.chores.run(&mut self.ebpf, Chore::Release, slots)
    }

    /// Summed over all CPUs.
    fn counters(&self) -> Result<Counters, KernelError> {
        read_counters(&self.counters)
    }

    fn some_attempts(
        &self,
        from: Option<u32>,
        found: &mut Vec<(FlowKey, HalfOpen)>,
    ) -> Option<u32> {
        let map = self.half_open_fd.as_fd();
        let take = |key: &FlowKey, half_open: &HalfOpen| found.push((*key, *half_open));
        batch::some(map, from, MOST_ATTEMPTS, take).unwrap_or_else(|error| {
            tracing::error!(%error, "can't read the attempts");
            None
        })
    }

    fn attempt(&self, key: &FlowKey) -> Option<HalfOpen> {
        self.half_open
            .get(&Abi(*key), 0)
            .ok()
            .map(|Abi(found)| found)
    }

    fn forget_attempt(&mut self, key: &FlowKey) -> bool {
        self.half_open.remove(&Abi(*key)).is_ok()
    }
}

/// Runs a program once, on a packet of our own.
pub(super) fn run(
    program: &SchedClassifier,
    packet: &[u8],
    context: PacketContext,
) -> Result<i32, KernelError> {
    let context = sk_buff(context);
    let options = TestRunOptions {
        data_in: Some(packet),
        ctx_in: Some(&context),
        ..TestRunOptions::new()
    };
    let result = program
        .test_run(options)
        .map_err(|error| KernelError::new("can't run a program on a packet", &error))?;
    Ok(result.return_value.cast_signed())
}

/// The session table of a program.
pub(super) fn session_table(program: &ProgramInfo) -> Option<MapInfo> {
    let ids = program.map_ids().ok().flatten().unwrap_or_default();
    ids.into_iter()
        .filter_map(|id| MapInfo::from_id(id).ok())
        .find(|map| map.name_as_str() == Some("SESSIONS"))
}

/// Makes the maps, with room for `limits`, and sets the programs' constants.
pub(super) fn load_maps(
    ports: &BTreeSet<u16>,
    limits: Limits,
    time_from_packet: bool,
    log: VerifierLogLevel,
) -> Result<Ebpf, KernelError> {
    let geometry = Geometry::of(limits.sessions.get());
    let mut bits = [0_u8; 8192];
    for port in ports {
        bits[usize::from(port / 8)] |= 1 << (port % 8);
    }
    let time_from_packet = u8::from(time_from_packet);
    EbpfLoader::new()
        .verifier_log_level(log)
        .map_max_entries("SESSIONS", geometry.slots())
        .map_max_entries("INDEX", geometry.buckets)
        .map_max_entries("MARKS", geometry.slots().div_ceil(MARKS_OF_A_LINE))
        .map_max_entries("HALF_OPEN", limits.half_open.get())
        .map_max_entries("NOTICES", limits.notices())
        .map_max_entries("PAYLOADS", limits.openings())
        .override_global("PORTS", &bits[..], true)
        .override_global("MULTIPLIERS", &random_multipliers()[..], true)
        .override_global("BUCKETS", &geometry.buckets, true)
        .override_global("PLACES", &geometry.places, true)
        .override_global("TIME_FROM_PACKET", &time_from_packet, true)
        .load(OBJECT)
        .map_err(|error| KernelError::new("can't load the maps into the kernel", &error))
}

/// Loads a program.
fn load_program(name: &str, program: &mut Program) -> Result<(), KernelError> {
    let fail = |error| KernelError::new(format!("can't load program {name}"), &error);
    let program: &mut SchedClassifier = program.try_into().map_err(fail)?;
    program.load().map_err(fail)
}

/// Numbers that nobody can guess, to hash flows with.
fn random_multipliers() -> Multipliers {
    // The standard library's way to randomness.
    let random = RandomState::new();
    array::from_fn(|index| random.hash_one(index))
}

/// Counters of programs that another process may have loaded.
pub(super) fn read_counters(map: &PerCpuArray<MapData, u64>) -> Result<Counters, KernelError> {
    let mut counters = Counters::default();
    for index in 0..Counter::COUNT {
        let values = map
            .get(&u32::try_from(index).unwrap_or(u32::MAX), 0)
            .map_err(|error| KernelError::new("can't read the kernel's counters", &error))?;
        counters.0[index] = values.iter().sum();
    }
    Ok(counters)
}

/// A program by its name.
pub(super) fn classifier<'a>(
    ebpf: &'a mut Ebpf,
    name: &str,
) -> Result<&'a mut SchedClassifier, KernelError> {
    let missing = || KernelError {
        what: format!("program {name} is not in the object"),
        why: "the binary was built wrong".into(),
    };
    ebpf.program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or_else(missing)
}

fn take(ebpf: &mut Ebpf, name: &str) -> Result<Map, KernelError> {
    ebpf.take_map(name).ok_or_else(|| KernelError {
        what: format!("map {name} is not in the object"),
        why: "the binary was built wrong".into(),
    })
}

fn typed<M>(ebpf: &mut Ebpf, name: &str) -> Result<M, KernelError>
where
    M: TryFrom<Map, Error = aya::maps::MapError>,
{
    as_map(take(ebpf, name)?, name)
}

fn as_map<M>(map: Map, name: &str) -> Result<M, KernelError>
where
    M: TryFrom<Map, Error = aya::maps::MapError>,
{
    M::try_from(map)
        .map_err(|error| KernelError::new(format!("map {name} is not what it should be"), &error))
}

/// A descriptor of a hash map, besides its own.
fn descriptor(map: &Map) -> io::Result<OwnedFd> {
    match map {
        Map::HashMap(data) | Map::LruHashMap(data) => data.fd().as_fd().try_clone_to_owned(),
        _ => Err(io::Error::other("it is no hash map")),
    }
}

/// `struct __sk_buff` with the fields of `context` set (offsets: `linux/bpf.h`, where the
/// structure is part of the kernel's stable interface).
fn sk_buff(context: PacketContext) -> [u8; 192] {
    const INGRESS_IFINDEX: usize = 36;
    const TSTAMP: usize = 152;
    const GSO_SEGS: usize = 164;
    const GSO_SIZE: usize = 176;

    let mut bytes = [0; 192];
    bytes[INGRESS_IFINDEX..INGRESS_IFINDEX + 4]
        .copy_from_slice(&context.ingress_ifindex.to_ne_bytes());
    bytes[TSTAMP..TSTAMP + 8].copy_from_slice(&context.time_ns.to_ne_bytes());
    bytes[GSO_SEGS..GSO_SEGS + 4].copy_from_slice(&context.gso_segs.to_ne_bytes());
    bytes[GSO_SIZE..GSO_SIZE + 4].copy_from_slice(&context.gso_size.to_ne_bytes());
    bytes
}
