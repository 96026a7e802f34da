//! Kubernetes' control plane and kubelet, in one program.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};

use super::{fingerprint, go, once, say};

/// Version of the API server, its companions and the kubelet.
pub const KUBERNETES_VERSION: &str = "v1.34.4";

/// Its main package and the modules that it is made of; Kubernetes' own go.mod leads to folders that no module has.
const SOURCE: [(&str, &str); 3] = [
    ("main.go", include_str!("../../kubernetes/main.go")),
    ("go.mod", include_str!("../../kubernetes/go.mod")),
    ("go.sum", include_str!("../../kubernetes/go.sum")),
];

const PROGRAMS: [&str; 4] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet"];

/// The folder with `kube-apiserver`, `kube-controller-manager`, `kube-scheduler` and `kubelet`: one program, linked once,
/// under four names. `TESTBED_KUBERNETES_VERSION` in its environment is the version that it then claims to be, with a
/// distribution's suffix such as `v1.34.4+k3s1`; so the suffix costs no build.
///
/// # Errors
/// As [`super::reference_plugins`].
pub fn kubernetes() -> Result<PathBuf> {
    let source = SOURCE.map(|(_, text)| text);
    once(&format!("kubernetes-{KUBERNETES_VERSION}-{}", fingerprint(&source)), |dir| {
        let start = Instant::now();
        say(&format!(
            "building Kubernetes {KUBERNETES_VERSION} from its Go modules (once; 5 to 10 minutes on two cores)"
        ));
        let go = go::go()?;
        let source = tempfile::tempdir().context("make a folder for the build")?;
        for (name, text) in SOURCE {
            fs::write(source.path().join(name), text)
                .with_context(|| format!("write {name} for the build"))?;
        }
        let version = "k8s.io/component-base/version";
        let ldflags = format!("-s -w -X {version}.gitVersion={KUBERNETES_VERSION}");
        go::build(&mut go::command(&go, source.path()), &ldflags, dir, &[".".to_owned()])
            .context("build Kubernetes; the Go module proxy must be reachable")?;
        for program in PROGRAMS {
            symlink("kubernetes", dir.join(program))
                .with_context(|| format!("link {program} to the one program"))?;
        }
        say(&format!("built Kubernetes {KUBERNETES_VERSION} in {:.0} s", start.elapsed().as_secs_f32()));
        Ok(())
    })
}
