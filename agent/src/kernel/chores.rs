//! What is done with slots from within the kernel: many in one system call.

use aya::{
    Ebpf, TestRun as _, TestRunOptions,
    maps::Map,
    programs::{ProgramError, SchedClassifier},
};
use sstpulse_common::chores;

use super::{
    mapped::Mapped,
    programs::{KernelError, classifier},
};

/// What can be done with a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chore {
    /// Its flow leads to it no more.
    Retire,
    /// It is free.
    Release,
}

impl Chore {
    const ALL: [Self; 2] = [Self::Retire, Self::Release];

    /// The program that does it with the next slot of the list, each time it runs.
    const fn program(self) -> &'static str {
        match self {
            Self::Retire => "sstpulse_retire",
            Self::Release => "sstpulse_release",
        }
    }
}

/// The list that the programs work on.
pub(super) struct Chores {
    list: Mapped<chores::Chores>,
}

impl Chores {
    /// Loads the programs, and maps their list.
    pub(super) fn load(ebpf: &mut Ebpf, list: Map) -> Result<Self, KernelError> {
        for chore in Chore::ALL {
            let name = chore.program();
            classifier(ebpf, name)?
                .load()
                .map_err(|error| KernelError::new(format!("can't load program {name}"), &error))?;
        }
        Ok(Self {
            list: Mapped::new(list, "list of chores")?,
        })
    }

    /// Does a chore with each of these slots.
    pub(super) fn run(
        &mut self,
        ebpf: &mut Ebpf,
        chore: Chore,
        slots: impl Iterator<Item = u32>,
    ) -> Result<(), KernelError> {
        let program = classifier(ebpf, chore.program())?;
        let mut slots = slots.peekable();
        while slots.peek().is_some() {
            let count = self.write(&mut slots);
            self.work(program, count)
                .map_err(|error| KernelError::new("can't do a chore in the kernel", &error))?;
        }
        Ok(())
    }

    /// Lists as many slots as there is room for, and tells how many those are.
    #[expect(unsafe_code, reason = "memory shared with the kernel")]
    fn write(&mut self, slots: &mut impl Iterator<Item = u32>) -> u32 {
        let list = self.list.pointer(0);
        let mut count = 0;
        for (index, slot) in slots.take(chores::MOST).enumerate() {
            // SAFETY: the mapping is as long as the structure, and the programs that read it run
            // in `work` only.
            unsafe { (&raw mut (*list).slots[index]).write_volatile(slot) };
            count += 1;
        }
        // SAFETY: as above.
        unsafe { (&raw mut (*list).done).write_volatile(0) };
        count
    }

    /// How many of the slots listed are done.
    #[expect(unsafe_code, reason = "memory shared with the kernel")]
    fn done(&self) -> u32 {
        // SAFETY: as in `write`.
        unsafe { (&raw const (*self.list.pointer(0)).done).read_volatile() }
    }

    /// Runs a program for each slot listed.
    fn work(&self, program: &SchedClassifier, count: u32) -> Result<(), ProgramError> {
        /// The programs don't look at it, but kernels refuse to run on an empty frame.
        const PACKET: [u8; 60] = [0; 60];

        while let done = self.done()
            && done < count
        {
            let options = TestRunOptions {
                data_in: Some(&PACKET),
                repeat: count - done,
                ..TestRunOptions::new()
            };
            match program.test_run(options) {
                Ok(_) => {}
                // Stopped by a signal on the way; the list tells how far it came.
                Err(ProgramError::SyscallError(error))
                    if error.io_error.raw_os_error() == Some(libc::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
