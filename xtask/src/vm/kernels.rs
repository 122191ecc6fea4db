//! The kernels that are tried, as Debian has them.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};

use crate::{
    debian::{Archive, empty},
    run::{command, output, target},
};

/// A kernel of Debian.
pub(crate) struct Kernel {
    /// First numbers of its version.
    pub(crate) version: &'static str,
    /// Where Debian has it.
    pub(crate) suite: &'static str,
    /// First part of the names of its packages.
    parts: &'static [&'static str],
    /// Last part of the names of its packages.
    flavour: &'static str,
    /// Modules that what runs on it needs, those they need themselves aside.
    modules: &'static [&'static str],
}

impl Kernel {
    const fn cloud(version: &'static str, suite: &'static str) -> Self {
        Self {
            version,
            suite,
            parts: &["linux-image"],
            flavour: "cloud-amd64",
            modules: &LABORATORY,
        }
    }
}

/// The oldest that works, those of Debian's releases, and the newest there is.
pub(crate) const KERNELS: [Kernel; 4] = [
    Kernel::cloud("5.10", "bullseye-security"),
    Kernel::cloud("6.1", "bookworm-security"),
    Kernel::cloud("6.12", "bookworm-security"),
    Kernel {
        // The kernel and its modules have packages of their own by now.
        parts: &["linux-binary", "linux-modules"],
        ..Kernel::cloud("7.2", "sid")
    },
];

/// The kernel that real SSTP peers run on: not one for the cloud, which has no PPP.
pub(crate) const WITH_PPP: Kernel = Kernel {
    flavour: "+deb13-amd64",
    modules: &[
        "veth",
        "tun",
        "sch_netem",
        "ppp_async",
        "9p",
        "9pnet_virtio",
    ],
    ..Kernel::cloud("6.12", "trixie")
};

/// Modules of the laboratory.
const LABORATORY: [&str; 10] = [
    "veth",
    "tun",
    "sch_ingress",
    "cls_bpf",
    "sch_netem",
    "tcp_diag",
    "8021q",
    "bridge",
    "bonding",
    "tcp_bbr",
];

/// A kernel that was fetched.
pub(crate) struct Fetched {
    /// What a boot loader loads.
    pub(crate) image: PathBuf,
    /// `/`, as far as the kernel's packages know it.
    root: PathBuf,
    release: String,
}

impl Kernel {
    /// Fetches the kernel, unless that was done before. The archive is opened on `suites` if
    /// it has to be.
    pub(crate) fn fetch(
        &self,
        archive: &mut Option<Archive>,
        suites: &[&str],
    ) -> anyhow::Result<Fetched> {
        let root = target("vm/kernels").join(format!("{}-{}", self.version, self.suite));
        if let Ok(fetched) = Fetched::find(&root) {
            return Ok(fetched);
        }
        if archive.is_none() {
            *archive = Some(Archive::open(suites)?);
        }
        let archive = archive.as_ref().context("it was just opened")?;
        // Under another name until all is there, so that nothing half is taken for whole.
        let partial = root.with_extension("partial");
        empty(&partial)?;
        for part in self.parts {
            let package = archive.newest(&format!("{part}-{}.", self.version), self.flavour)?;
            archive.unpack(&package, &partial)?;
        }
        // Newer packages hold all below /usr, where modprobe does not look.
        if !partial.join("lib").exists() {
            symlink("usr/lib", partial.join("lib"))?;
        }
        let release = Fetched::find(&partial)?.release;
        // It warns of lists that newer packages leave out, and that are not needed here.
        output(
            command("depmod")
                .arg("--basedir")
                .arg(&partial)
                .arg(release),
        )?;
        fs::rename(&partial, &root).with_context(|| format!("can't make {}", root.display()))?;
        Fetched::find(&root)
    }
}

impl Fetched {
    fn find(root: &Path) -> anyhow::Result<Self> {
        let modules = root.join("lib/modules");
        let release = fs::read_dir(&modules)
            .with_context(|| format!("can't list {}", modules.display()))?
            .filter_map(Result::ok)
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .next()
            .with_context(|| format!("no kernel in {}", modules.display()))?;
        let images = [
            root.join(format!("boot/vmlinuz-{release}")),
            modules.join(&release).join("vmlinuz"),
        ];
        let image = images.into_iter().find(|image| image.exists());
        Ok(Self {
            image: image.with_context(|| format!("no kernel in {}", root.display()))?,
            root: root.to_owned(),
            release,
        })
    }

    /// Puts the modules into a folder, ready to be loaded in the order of their names.
    pub(crate) fn copy_modules(&self, kernel: &Kernel, into: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(into)?;
        let mut copied = Vec::new();
        for module in kernel.modules {
            for file in self.needed_by(module)? {
                if !copied.contains(&file) {
                    copy_module(&file, into, copied.len())?;
                    copied.push(file);
                }
            }
        }
        Ok(())
    }

    /// The files to load for a module, itself last; none if it is built in.
    fn needed_by(&self, module: &str) -> anyhow::Result<Vec<PathBuf>> {
        let listed = output(command("modprobe").arg("--dirname").arg(&self.root).args([
            "--set-version",
            &self.release,
            "--show-depends",
            module,
        ]))
        .with_context(|| format!("Linux {} has no module {module}", self.release))?;
        let files = listed.lines().filter_map(|line| {
            let rest = line.strip_prefix("insmod ")?;
            rest.split_whitespace().next().map(PathBuf::from)
        });
        Ok(files.collect())
    }
}

/// Copies a module, unpacked: not every kernel does that by itself.
fn copy_module(file: &Path, into: &Path, number: usize) -> anyhow::Result<()> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let bare = name.strip_suffix(".xz").unwrap_or(&name);
    let target = into.join(format!("{number:02}-{bare}"));
    if bare == name {
        fs::copy(file, &target)?;
        return Ok(());
    }
    let unpacked = command("xz")
        .args(["--decompress", "--stdout"])
        .arg(file)
        .output()?;
    ensure!(
        unpacked.status.success(),
        "xz can't unpack {}",
        file.display()
    );
    fs::write(&target, unpacked.stdout)?;
    Ok(())
}
