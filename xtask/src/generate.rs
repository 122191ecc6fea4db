//! `cargo xtask generate`: files that are written by the program.

use std::fs;

use anyhow::{Context as _, bail};
use clap::Args;

use crate::{
    run::{build_all, command, output, root, run, target},
    setup::setup,
};

/// Arguments of `generate`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Change nothing, and fail if a file is not what it would be
    #[arg(long)]
    check: bool,
}

/// The files, and the program with its argument that prints each.
const GENERATED: [(&str, &str, &str); 2] = [
    ("docs/events.schema.json", "sstpulse", "schema"),
    ("docs/accuracy.md", "accuracy", "--markdown"),
];

/// Writes the generated files, or checks them.
pub(crate) fn generate(arguments: &Arguments) -> anyhow::Result<()> {
    setup()?;
    run(build_all().arg("--quiet"))?;
    for (file, program, argument) in GENERATED {
        let path = root().join(file);
        let text = output(command(&target("debug").join(program).to_string_lossy()).arg(argument))?;
        if !arguments.check {
            fs::write(&path, text).with_context(|| format!("can't write {file}"))?;
        } else if fs::read_to_string(&path).unwrap_or_default() != text {
            bail!("{file} is not fresh; run `cargo xtask generate`");
        }
    }
    Ok(())
}
