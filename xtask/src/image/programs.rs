//! Where the programs of an image come from: built here, or handed over by a machine of the right kind.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use testbed::parts;

use super::content::{PROGRAMS, Source};
use super::licenses;
use crate::build::{Arch, static_program};

/// Builds our programs into `<dir>/<arch>`, from where [`collect`] takes them, on this machine or another.
pub(super) fn build(arch: Arch, dir: &Path) -> Result<Source> {
    let dir = dir.join(arch.go());
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    // One by one: built together, each would get the features of the crates that only the other needs.
    for program in PROGRAMS {
        let built = static_program(program.package, arch)?;
        let to = dir.join(program.package);
        fs::copy(&built, &to).with_context(|| format!("copy {} to {}", built.display(), to.display()))?;
    }
    collect(arch, &dir)
}

/// Takes our programs from `dir`.
pub(super) fn collect(arch: Arch, dir: &Path) -> Result<Source> {
    for program in PROGRAMS {
        let path = dir.join(program.package);
        let bytes =
            fs::read(&path).with_context(|| format!("read {}, which goes into the image", path.display()))?;
        check(arch, &bytes)
            .with_context(|| format!("{} cannot go into the image for {}", path.display(), arch.go()))?;
    }
    Ok(Source {
        arch,
        programs: dir.to_owned(),
        plugins: plugins(arch)?,
        plugins_licenses: licenses::in_folder(&parts::reference_plugins_licenses()?)?,
        crate_licenses: licenses::of(&PROGRAMS.map(|program| program.package))?,
    })
}

fn plugins(arch: Arch) -> Result<Vec<PathBuf>> {
    let foreign = (arch != Arch::native()?).then(|| arch.go());
    let dir = parts::reference_plugins_for(foreign)?;
    let entries = fs::read_dir(&dir).with_context(|| format!("read {}", dir.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

/// Whether these bytes are a program for such machines that needs nothing else: the image has no shared libraries.
fn check(arch: Arch, program: &[u8]) -> Result<()> {
    // Offsets of the ELF header: e_machine at 18, program headers from e_phoff at 32, each of e_phentsize at 54, e_phnum at 56.
    let number = |at: usize, length: usize| {
        let bytes = program.get(at..at + length)?;
        bytes
            .iter()
            .rev()
            .try_fold(0_usize, |sum, byte| sum.checked_mul(256)?.checked_add(usize::from(*byte)))
    };
    if !program.starts_with(b"\x7fELF\x02\x01") {
        bail!("it is no 64-bit little-endian ELF program");
    }
    let machine = match arch {
        Arch::Amd64 => 62,
        Arch::Arm64 => 183,
    };
    if number(18, 2) != Some(machine) {
        bail!("it is for another kind of machine");
    }
    let short = "it ends in its header";
    let (from, size, count) =
        (number(32, 8).context(short)?, number(54, 2).context(short)?, number(56, 2).context(short)?);
    const PT_INTERP: usize = 3;
    for index in 0..count {
        if number(from + index * size, 4).context(short)? == PT_INTERP {
            bail!("it needs shared libraries");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_static_programs_of_the_right_kind_go_into_an_image() {
        let shell = fs::read("/bin/sh").unwrap();
        let native = Arch::native().unwrap();
        assert_eq!(check(native, &shell).unwrap_err().to_string(), "it needs shared libraries");
        let other = Arch::ALL.into_iter().find(|arch| *arch != native).unwrap();
        assert_eq!(check(other, &shell).unwrap_err().to_string(), "it is for another kind of machine");
        assert!(check(native, b"#!/bin/sh").unwrap_err().to_string().contains("no 64-bit"));
        // Go's programs are static.
        let plugin = fs::read(parts::reference_plugins().unwrap().join("static")).unwrap();
        check(native, &plugin).unwrap();
    }
}
