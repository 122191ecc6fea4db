//! What the command on the host is told in the end.

use serde::Serialize;

/// How it went on this kernel.
#[derive(Default, Serialize)]
pub(super) struct Report {
    /// The kernel's release.
    pub(super) release: String,
    /// The hook the agent chooses by itself.
    pub(super) hook: String,
    /// Time to make the maps and load the programs of one interface, in milliseconds.
    pub(super) load_ms: u64,
    /// Time to attach them, in milliseconds.
    pub(super) attach_ms: u64,
    /// Time to take them off again, in milliseconds.
    pub(super) detach_ms: u64,
    /// What each program costs the verifier.
    pub(super) verifier: Vec<Verified>,
    /// Steps that failed.
    pub(super) failed: u32,
}

/// What a program costs the verifier.
#[derive(Serialize)]
pub(super) struct Verified {
    program: &'static str,
    instructions: u32,
    stack: Vec<u32>,
}

impl From<sstpulse::kernel::Verified> for Verified {
    fn from(verified: sstpulse::kernel::Verified) -> Self {
        Self {
            program: verified.program,
            instructions: verified.instructions,
            stack: verified.stack,
        }
    }
}
