//! The kernel half, as the agent sees it: loading, attaching, shared memory.
//!
//! All of aya and all `unsafe` of the agent are in this module.

mod abi;
mod attach;
mod batch;
mod chores;
mod mapped;
mod marks;
pub mod memory;
mod notices;
mod programs;
mod rival;
mod running;
mod sessions;
mod verifier;

pub use attach::{
    Attached, Attachment, Hold, Hook, HookChoice, attached, detach_leftovers, has_tcx, loaded,
};
pub use notices::Messages;
pub use programs::{Hooks, Kernel, KernelError, Limits, PacketContext};
pub use rival::HashedRecords;
pub use running::RunningPrograms;
pub use sessions::SessionTable;
pub use verifier::{Verified, verify};
