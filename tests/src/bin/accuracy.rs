//! Prints how counts compare with tshark's, for every capture of the corpus.

use anyhow::{Context as _, Result};
use clap::Parser;
use comfy_table::presets::{ASCII_MARKDOWN, UTF8_FULL_CONDENSED};
use lab::accuracy::{captures, compare, table};

/// Print how counts compare with tshark's, for every capture of the corpus.
#[derive(Debug, Parser)]
#[command(name = "accuracy")]
struct Cli {
    /// As the page of the documentation
    #[arg(long)]
    markdown: bool,
}

/// What goes before the table in the documentation.
const PAGE: &str = "\
# How counts compare with tshark's

Written by `cargo xtask generate`; `cargo xtask accuracy` prints it. Every frame of every
capture in `tests/captures` is compared, and a test fails on a difference that none of the
rules explains which [counting.md](counting.md) names. Counters that are 0 for both are left
out. How counts compare with the kernel's own, on live connections, is in counting.md, too.
";

fn main() -> Result<()> {
    let cli = Cli::parse();
    let mut all = Vec::new();
    for capture in captures()? {
        let name = capture.file_stem().unwrap_or_default().to_string_lossy();
        let compared = compare(&capture).with_context(|| format!("{name} differs"))?;
        all.push((name.into_owned(), compared));
    }
    let mut table = table(all.iter().map(|(name, compared)| (name.as_str(), compared)));
    if cli.markdown {
        println!("{PAGE}\n{}", table.load_style(ASCII_MARKDOWN));
    } else {
        println!("{}", table.load_style(UTF8_FULL_CONDENSED));
    }
    Ok(())
}
