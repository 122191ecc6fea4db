//! The `sstpulse` command.

use std::process::ExitCode;

use clap::Parser as _;
use sstpulse::{cli::Cli, commands};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match commands::execute(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("sstpulse: {failure}");
            failure.exit.into()
        }
    }
}
