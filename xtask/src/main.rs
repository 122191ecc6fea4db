//! Every chore as `cargo xtask NAME`.

mod accuracy;
mod bench;
mod captures;
mod corpus;
mod costs;
mod debian;
mod demo;
mod dist;
mod fuzz;
mod generate;
mod lint;
mod load;
mod oracle;
mod programs;
mod run;
mod scenarios;
mod setup;
mod test;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Chores of sstpulse
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Chore {
    #[command(flatten)]
    Chore(Name),
}

#[derive(Subcommand)]
enum Name {
    /// Install what the build lacks: rust-src through rustup, bpf-linker under target/
    Setup,
    /// Show sstpulse at work: sessions with real faults, in a lab of network namespaces
    Demo(demo::Arguments),
    /// Run all tests; takes root for those that need the kernel
    Test(test::Arguments),
    /// Look for inputs that break the parser, the tracker or the replay
    Fuzz(fuzz::Arguments),
    /// Check formatting and lints, of both halves and of the fuzzing
    Lint,
    /// Play every way in which a session ends, and compare verdicts with what was done; takes
    /// root
    Scenarios(scenarios::Arguments),
    /// Measure what sstpulse costs, beside what it may cost; takes root
    Bench(bench::Arguments),
    /// Open many SSTP sessions to a server, and tell how they fare
    Load(load::Arguments),
    /// Write the generated files anew
    Generate(generate::Arguments),
    /// Print how counts compare with tshark's and with the kernel's own; takes root
    Accuracy,
    /// Count instructions, and fail if there are more than there were; takes root
    Costs(costs::Arguments),
    /// Make the captures anew that counts are checked on; takes root
    Corpus(corpus::Arguments),
    /// Try the kernels that operators run, in virtual machines
    Vm(vm::Arguments),
    /// Record sessions of real SSTP peers anew, in a virtual machine; takes root
    Captures(captures::Arguments),
    /// Build the static binary that is released
    Dist,
    /// Ask tshark about the captures, and keep what it says
    Oracle(oracle::Arguments),
}

fn main() -> ExitCode {
    let Chore::Chore(name) = Chore::parse();
    let result = match name {
        Name::Setup => setup::setup(),
        Name::Demo(arguments) => demo::demo(&arguments),
        Name::Test(arguments) => test::test(&arguments),
        Name::Fuzz(arguments) => fuzz::fuzz(&arguments),
        Name::Lint => lint::lint(),
        Name::Scenarios(arguments) => scenarios::scenarios(&arguments),
        Name::Bench(arguments) => bench::bench(&arguments),
        Name::Load(arguments) => load::load(&arguments),
        Name::Generate(arguments) => generate::generate(&arguments),
        Name::Accuracy => accuracy::accuracy(),
        Name::Costs(arguments) => costs::costs(&arguments),
        Name::Corpus(arguments) => corpus::corpus(&arguments),
        Name::Vm(arguments) => vm::vm(&arguments),
        Name::Captures(arguments) => captures::captures(&arguments),
        Name::Dist => dist::dist().map(drop),
        Name::Oracle(arguments) => oracle::oracle(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
