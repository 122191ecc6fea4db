//! What each command does.

mod check;
mod detach;
mod status;

use std::io::{self, Write as _};

use anyhow::Context as _;
use clap::CommandFactory as _;
use tracing_subscriber::EnvFilter;

use crate::{
    cli::{Cli, Command},
    event,
    failure::Failure,
    replay,
    settings::Config,
    watch,
};

/// Does what the command line says.
pub fn execute(cli: Cli) -> Result<(), Failure> {
    log(&cli.log)?;
    match cli.command {
        Command::Run(arguments) => {
            let config = Config::resolve(arguments.settings, &arguments.file)?;
            runtime()?.block_on(watch::run(config))
        }
        Command::Replay(arguments) => runtime()?.block_on(replay::run(*arguments)),
        Command::Check(arguments) => runtime()?.block_on(check::check(*arguments)),
        Command::Status(arguments) => runtime()?.block_on(status::status(&arguments)),
        Command::Detach(arguments) => runtime()?.block_on(detach::detach(&arguments)),
        Command::Schema => {
            let schema = serde_json::to_string_pretty(&event::schema())?;
            print(format!("{schema}\n").as_bytes())
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "sstpulse", &mut script);
            print(&script)
        }
        Command::Man { command } => man(command.as_deref()),
    }
}

/// Prints the man page of a command, or of sstpulse.
fn man(name: Option<&str>) -> Result<(), Failure> {
    let mut all = Cli::command();
    // Gives each command its full name.
    all.build();
    let command = match name {
        None => all,
        Some(name) => all
            .find_subcommand(name)
            .cloned()
            .with_context(|| format!("there is no command {name:?}; `sstpulse help` lists them"))
            .map_err(Failure::usage)?,
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    print(&page)
}

/// Writes to stdout. Nobody reading on is a normal end.
fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(anyhow::Error::new(error)
            .context("can't write to stdout")
            .into()),
        _ => Ok(()),
    }
}

/// Logs go to stderr, events to stdout.
fn log(filter: &str) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(filter)
        .with_context(|| format!("{filter:?} is no level and no filter for --log"))
        .map_err(Failure::usage)?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .with_target(false)
        .init();
    Ok(())
}

/// One thread: the agent mostly sleeps.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("can't start the event loop")?;
    Ok(runtime)
}
