//! What each command does.

mod check;
mod detach;
mod status;

use std::io::{self, Write as _};

use anyhow::{Context as _, ensure};
use clap::CommandFactory as _;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

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
    let filter = filter_of_log(filter).map_err(Failure::usage)?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .with_target(false)
        // It would say so on stderr, which is what fails, and end the agent by that.
        .log_internal_errors(false)
        .init();
    Ok(())
}

/// Reads what is to be logged. A word alone must be a level: a filter would take any other for
/// the only thing to be logged, and a slip of the pen for silence.
fn filter_of_log(text: &str) -> anyhow::Result<EnvFilter> {
    for word in text.split(',').map(str::trim) {
        ensure!(
            word.contains(['=', '[']) || word.parse::<LevelFilter>().is_ok(),
            "{word:?} is no level for --log; the levels are off, error, warn, info, debug and \
             trace, and a filter is like sstpulse=debug"
        );
    }
    EnvFilter::try_new(text).with_context(|| format!("{text:?} is no filter for --log"))
}

/// One thread: the agent mostly sleeps.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("can't start the event loop")?;
    Ok(runtime)
}
