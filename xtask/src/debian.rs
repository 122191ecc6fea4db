//! Packages of Debian, of other releases than this machine's too: downloaded and unpacked,
//! never installed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};

use crate::run::{command, output, run, target};

/// Debian's archive, as seen from this machine; in a folder of its own, so that the machine's
/// own lists of packages stay as they are.
pub(crate) struct Archive {
    folder: PathBuf,
}

/// Where Debian keeps its keys (package `debian-archive-keyring`).
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

impl Archive {
    /// Fetches the lists of packages of these suites, such as `sid` or `bookworm-security`.
    pub(crate) fn open(suites: &[&str]) -> anyhow::Result<Self> {
        let folder = target("vm/apt");
        for below in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(below))
                .with_context(|| format!("can't make {}", folder.display()))?;
        }
        let mirrors = Mirrors::of_this_machine()?;
        let sources: String = suites
            .iter()
            .map(|suite| mirrors.source(suite))
            .collect::<anyhow::Result<_>>()?;
        let archive = Self { folder };
        fs::write(archive.sources(), sources)?;
        eprintln!(
            "xtask: fetching the lists of packages of {}",
            suites.join(", ")
        );
        run(archive.apt("apt-get").args(["update", "--quiet=2"]))?;
        Ok(archive)
    }

    /// The file that lists where packages come from.
    pub(crate) fn sources(&self) -> PathBuf {
        self.folder.join("sources.list")
    }

    /// The newest package whose name begins and ends so.
    pub(crate) fn newest(&self, start: &str, end: &str) -> anyhow::Result<String> {
        output(self.apt("apt-cache").args(["pkgnames", start]))?
            .lines()
            .filter(|name| name.ends_with(end))
            .max_by_key(|name| numbers(name))
            .map(str::to_owned)
            .with_context(|| {
                format!("Debian has no package {start}…{end} any more; other releases may")
            })
    }

    /// Downloads a package and unpacks it into a folder.
    pub(crate) fn unpack(&self, package: &str, into: &Path) -> anyhow::Result<()> {
        let downloads = self.folder.join("downloads");
        empty(&downloads)?;
        eprintln!("xtask: fetching {package}");
        run(self
            .apt("apt-get")
            .args(["download", "--quiet=2", package])
            .current_dir(&downloads))?;
        let file = fs::read_dir(&downloads)?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                name.starts_with(&format!("{package}_"))
            })
            .with_context(|| format!("{package} was not downloaded after all"))?;
        fs::create_dir_all(into)?;
        run(command("dpkg-deb").arg("--extract").arg(&file).arg(into))?;
        fs::remove_file(file)?;
        Ok(())
    }

    /// A command of apt that knows these lists alone.
    fn apt(&self, program: &str) -> std::process::Command {
        let folder = self.folder.display();
        let mut apt = command(program);
        for option in [
            format!("Dir::Etc::SourceList={}", self.sources().display()),
            "Dir::Etc::SourceParts=-".into(),
            format!("Dir::State::Lists={folder}/lists"),
            format!("Dir::Cache={folder}/cache"),
            // Not what is installed here.
            "Dir::State::Status=/dev/null".into(),
            // A list that can't be fetched is an error, and not an old one in its place.
            "APT::Update::Error-Mode=any".into(),
            "Acquire::Languages=none".into(),
            // The folder need not be open to apt's own user.
            "APT::Sandbox::User=root".into(),
        ] {
            apt.args(["--option", &option]);
        }
        apt
    }
}

/// Makes an empty folder, whatever was there.
pub(crate) fn empty(folder: &Path) -> anyhow::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("can't empty {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))
}

/// The addresses this machine takes Debian's packages from.
struct Mirrors {
    main: String,
    security: Option<String>,
}

impl Mirrors {
    fn of_this_machine() -> anyhow::Result<Self> {
        let format = ["--format", "$(LABEL)|$(REPO_URI)", "Created-By: Packages"];
        let listed = output(command("apt-get").arg("indextargets").args(format))
            .context("this takes Debian's packages, through apt-get")?;
        let address = |label| {
            listed
                .lines()
                .filter_map(|line| line.split_once('|'))
                .find_map(|(of, address)| (of == label).then(|| address.to_owned()))
        };
        let Some(main) = address("Debian") else {
            bail!(
                "this takes Debian's packages, and apt-get on this machine knows of none; on a \
                 Debian, run `apt-get update` once"
            );
        };
        Ok(Self {
            main,
            security: address("Debian-Security"),
        })
    }

    /// A line of a list of sources.
    fn source(&self, suite: &str) -> anyhow::Result<String> {
        let address = match &self.security {
            Some(security) if suite.ends_with("-security") => security,
            _ => &self.main,
        };
        let keys = if Path::new(KEYS).exists() {
            format!("[signed-by={KEYS}] ")
        } else {
            String::new()
        };
        ensure!(!suite.contains(char::is_whitespace), "no suite: {suite}");
        Ok(format!("deb {keys}{address} {suite} main\n"))
    }
}

/// The numbers in a package's name, which order its versions.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|character: char| !character.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect()
}
