//! What a machine boots: a kernel, and a root with the binaries and modules it needs.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::{
    kernels::{Fetched, Kernel},
    machine::pack,
};
use crate::{
    debian::empty,
    dist::{self, dist},
    run::target,
};

/// Where the binaries are, inside.
const INSIDE: &str = "sstpulse";

/// A kernel with its root.
pub(crate) struct Image {
    /// The kernel.
    pub(crate) kernel: PathBuf,
    /// Its root, packed.
    pub(crate) root: PathBuf,
    /// The folder of this image, for what comes of it.
    pub(crate) folder: PathBuf,
}

/// The binaries: the agent as it is released, and the first process of the machines.
pub(crate) fn binaries() -> anyhow::Result<[PathBuf; 2]> {
    Ok([dist()?, dist::build("sstpulse-tests", "guest")?])
}

/// Packs files and what the kernel needs.
pub(crate) fn build(kernel: &Kernel, fetched: Fetched, files: &[PathBuf]) -> anyhow::Result<Image> {
    let folder = target("vm/images").join(format!("{}-{}", kernel.version, kernel.suite));
    let root = folder.join("root");
    empty(&root)?;
    fs::create_dir(root.join(INSIDE))?;
    for file in files {
        copy(file, &root.join(INSIDE))?;
    }
    symlink(format!("{INSIDE}/guest"), root.join("init"))?;
    fetched.copy_modules(kernel, &root.join("modules"))?;
    let packed = folder.join("root.cpio");
    pack(&root, &packed)?;
    Ok(Image {
        kernel: fetched.image,
        root: packed,
        folder,
    })
}

fn copy(file: &Path, into: &Path) -> anyhow::Result<()> {
    let target = into.join(file.file_name().unwrap_or_default());
    fs::copy(file, &target).with_context(|| format!("can't copy {}", file.display()))?;
    fs::set_permissions(&target, fs::Permissions::from_mode(0o755))?;
    Ok(())
}
