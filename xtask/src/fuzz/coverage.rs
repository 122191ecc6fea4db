//! Which lines the inputs found so far reach.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, ensure};
use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use serde::Deserialize;

use super::{Target, cargo_fuzz, seeds, shown};
use crate::{
    run::{command, output, root, run, target},
    setup,
};

/// What is fuzzed: the folders whose lines count.
const FOLDERS: [&str; 3] = ["agent-common/src", "agent/src/replay", "agent/src/tls"];

/// What `llvm-cov export` says, as far as it is of use here.
#[derive(Deserialize)]
struct Export {
    data: Vec<Data>,
}

#[derive(Deserialize)]
struct Data {
    files: Vec<File>,
}

#[derive(Deserialize)]
struct File {
    filename: String,
    summary: Summary,
}

#[derive(Deserialize)]
struct Summary {
    lines: Lines,
}

#[derive(Clone, Copy, Default, Deserialize)]
struct Lines {
    count: u64,
    covered: u64,
}

/// Runs the targets over their corpora, and prints a table of the lines that they reach.
pub(super) fn tell(targets: &[Target]) -> anyhow::Result<()> {
    let tools = setup::llvm_tools()?;
    let build = target("fuzz/coverage");
    for target in targets {
        run(cargo_fuzz("coverage")
            .arg("--target-dir")
            .arg(&build)
            .arg(target.name())
            .args([target.corpus(), seeds::folder(*target)]))?;
    }
    let merged = target("fuzz/coverage.profdata");
    run(command(&tools.join("llvm-profdata").to_string_lossy())
        .args(["merge", "-sparse", "-o"])
        .arg(&merged)
        .args(targets.iter().map(|target| {
            // Where cargo-fuzz leaves it.
            root().join(format!("fuzz/coverage/{}/coverage.profdata", target.name()))
        })))?;
    let programs = build.join(setup::host()?).join("release");
    let mut export = command(&tools.join("llvm-cov").to_string_lossy());
    export
        .args(["export", "--summary-only", "--instr-profile"])
        .arg(&merged);
    for target in targets {
        export.arg("--object").arg(programs.join(target.name()));
    }
    let export: Export = serde_json::from_str(&output(&mut export)?)
        .context("llvm-cov says something else than it used to")?;
    let files = files(&export);
    ensure!(!files.is_empty(), "no line of what is fuzzed was built");
    println!("{}", table(&files));
    Ok(())
}

/// The files that count, in order.
fn files(export: &Export) -> BTreeMap<&Path, Lines> {
    export
        .data
        .iter()
        .flat_map(|data| &data.files)
        .map(|file| (shown(Path::new(&file.filename)), file.summary.lines))
        .filter(|(path, _)| FOLDERS.iter().any(|folder| path.starts_with(folder)))
        .collect()
}

/// A row for each file, and one for each folder.
fn table(files: &BTreeMap<&Path, Lines>) -> Table {
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_header(["", "lines", "reached", "share"]);
    for folder in FOLDERS {
        let mut all = Lines::default();
        for (path, lines) in files.iter().filter(|(path, _)| path.starts_with(folder)) {
            table.add_row(row(&path.display().to_string(), *lines));
            all.count += lines.count;
            all.covered += lines.covered;
        }
        if all.count > 0 {
            table.add_row(row(&format!("all of {folder}"), all));
        }
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn row(name: &str, lines: Lines) -> [String; 4] {
    let tenths = lines.covered * 1_000 / lines.count.max(1);
    [
        name.into(),
        lines.count.to_string(),
        lines.covered.to_string(),
        format!("{}.{} %", tenths / 10, tenths % 10),
    ]
}
