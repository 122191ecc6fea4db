//! The programs of an agent that runs, from outside: to play packets to it without a network.

use std::borrow::Cow;

use aya::programs::{SchedClassifier, loaded_programs};
use sstpulse_common::{Framing, Side, index::Geometry};

use super::{
    Hooks, KernelError, PacketContext,
    programs::{run, session_table},
};

/// The programs of an agent that runs.
pub struct RunningPrograms {
    from_client: SchedClassifier,
    from_server: SchedClassifier,
}

impl RunningPrograms {
    /// Those that share a table for so many sessions, of the agent that was started last.
    pub fn find(framing: Framing, sessions: u32) -> Result<Option<Self>, KernelError> {
        let hooks = Hooks::of(framing);
        let slots = Geometry::of(sessions).slots();
        let newest = |side| {
            let name = hooks.seeing(side);
            let program = loaded_programs()
                .filter_map(Result::ok)
                .filter(|program| program.name() == name.as_bytes())
                .filter(|program| {
                    session_table(program).is_some_and(|table| table.max_entries() == slots)
                })
                .max_by_key(aya::programs::ProgramInfo::id);
            program
                .map(|program| SchedClassifier::from_program_info(program, Cow::Borrowed(name)))
                .transpose()
                .map_err(|error| KernelError::new(format!("can't get at {name}"), &error))
        };
        let (from_client, from_server) = (newest(Side::Client)?, newest(Side::Server)?);
        Ok(from_client
            .zip(from_server)
            .map(|(from_client, from_server)| Self {
                from_client,
                from_server,
            }))
    }

    /// Runs the program that sees what `side` sends once, on a packet of our own.
    pub fn run(
        &self,
        side: Side,
        packet: &[u8],
        context: PacketContext,
    ) -> Result<i32, KernelError> {
        let program = match side {
            Side::Client => &self.from_client,
            Side::Server => &self.from_server,
        };
        run(program, packet, context)
    }
}
