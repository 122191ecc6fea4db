//! What the verifier says of the programs: how much of its limits they use.

use std::collections::BTreeSet;

use aya::{VerifierLogLevel, programs::ProgramError};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::programs::{Hooks, KernelError, Limits, classifier, load_maps};

/// What a program costs the verifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Name of the program.
    pub program: &'static str,
    /// Instructions looked at, over all paths; the kernel's limit is 1,000,000.
    pub instructions: u32,
    /// Bytes of stack of the program itself, and of each function it calls. Those of a chain
    /// of calls may add up to 512.
    pub stack: Vec<u32>,
}

/// Has the kernel verify each program, and tells what that took.
///
/// For tests: for a moment, this process can open no file.
pub fn verify(ports: &BTreeSet<u16>, limits: Limits) -> Result<Vec<Verified>, KernelError> {
    let mut ebpf = load_maps(ports, limits, false, VerifierLogLevel::STATS)?;
    Hooks::names()
        .map(|name| {
            let program = classifier(&mut ebpf, name)?;
            let log = statistics(|| program.load())
                .map_err(|error| KernelError::new(format!("can't verify {name}"), &*error))?;
            parse(name, &log).ok_or_else(|| {
                let error = std::io::Error::other(log);
                KernelError::new(
                    format!("can't read what the verifier says of {name}"),
                    &error,
                )
            })
        })
        .collect()
}

/// The verifier's statistics of a program that it accepts.
///
/// The kernel tells them in its log, which aya keeps only if loading fails. So it has to fail
/// in the very last step, when the program is verified and wants a file descriptor.
fn statistics(
    load: impl FnOnce() -> Result<(), ProgramError>,
) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, 0, hard)?;
    let loaded = load();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
    match loaded {
        Err(ProgramError::LoadError {
            io_error,
            verifier_log,
        }) if io_error.raw_os_error() == Some(libc::EMFILE) => Ok(verifier_log.to_string()),
        Err(error) => Err(error.into()),
        Ok(()) => Err("it was loaded without a file descriptor".into()),
    }
}

/// Reads `stack depth 344+152+0` and `processed 14910 insns (limit 1000000) ...`
/// (`print_verification_stats` in the kernel's `kernel/bpf/verifier.c`).
fn parse(program: &'static str, log: &str) -> Option<Verified> {
    let word_after = |start| {
        let rest = log.lines().find_map(|line| line.strip_prefix(start))?;
        rest.split(' ').next()
    };
    let stack = word_after("stack depth ")?.split('+');
    Some(Verified {
        program,
        instructions: word_after("processed ")?.parse().ok()?,
        stack: stack
            .map(|depth| depth.parse().ok())
            .collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_read_from_the_log() {
        let log = "verification time 396212 usec\nstack depth 344+152+0\nprocessed 14910 insns \
            (limit 1000000) max_states_per_insn 35 total_states 461 peak_states 165 mark_read 36\n";
        let verified = parse("sstpulse_in", log).unwrap();
        assert_eq!(verified.instructions, 14_910);
        assert_eq!(verified.stack, [344, 152, 0]);
        // As Linux 7.2 has it.
        let log = "stack depth 344+152+0 max 496\ninsns processed 47726+15144\nprocessed 62870 \
            insns (limit 1000000) max_states_per_insn 35\n";
        assert_eq!(parse("sstpulse_in", log).unwrap().stack, [344, 152, 0]);
        assert_eq!(parse("sstpulse_in", "R9 unbounded memory access"), None);
    }
}
