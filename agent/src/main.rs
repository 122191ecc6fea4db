//! The `sstpulse` command.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser as _;
use sstpulse::{cli::Cli, commands};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match commands::execute(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody may read it any more; the exit code still tells.
            let _ = writeln!(io::stderr(), "sstpulse: {failure}");
            failure.exit.into()
        }
    }
}
