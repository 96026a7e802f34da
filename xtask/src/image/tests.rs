use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use flate2::read::GzDecoder;
use serde_json::Value;
use testbed::parts;

use super::*;

const REFERENCE: &str = "registry.example/multus-rs:v4";

/// Stand-ins for programs and plugins: what is in a file does not matter to where it lies.
struct Stand {
    dir: tempfile::TempDir,
}

impl Stand {
    fn new() -> Self {
        let stand = Self { dir: tempfile::tempdir().unwrap() };
        for name in ["multus", "multus-shim", "macvlan", "static"] {
            fs::write(stand.dir.path().join(name), name).unwrap();
        }
        stand
    }

    fn source(&self, arch: Arch) -> Source {
        let at = |name: &str| self.dir.path().join(name);
        Source {
            arch,
            programs: self.dir.path().to_owned(),
            plugins: vec![at("macvlan"), at("static")],
            plugins_licenses: "licences of plugins".to_owned(),
            crate_licenses: "licences of crates".to_owned(),
        }
    }
}

/// An image as it is read from its archive.
struct Opened {
    config: Value,
    manifest: Value,
    /// What is under each path: a file's content, or where a link leads.
    files: BTreeMap<String, String>,
}

fn open(images: &[Image]) -> Opened {
    let dir = tempfile::tempdir().unwrap();
    write_layout(dir.path(), images).unwrap();
    let json = |path: &Path| serde_json::from_slice::<Value>(&fs::read(path).unwrap()).unwrap();
    let blob = |descriptor: &Value| {
        dir.path().join("blobs").join(descriptor["digest"].as_str().unwrap().replace(':', "/"))
    };
    let index = json(&dir.path().join("index.json"));
    let manifest = json(&blob(&index["manifests"][0]));
    let layer = fs::File::open(blob(&manifest["layers"][0])).unwrap();
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for entry in tar::Archive::new(GzDecoder::new(layer)).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = format!("/{}", entry.path().unwrap().display());
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        if let Some(target) = entry.link_name().unwrap() {
            content = target.display().to_string();
            if entry.header().entry_type().is_hard_link() {
                content = files[&format!("/{content}")].clone();
            }
        }
        files.insert(path, content);
    }
    Opened { config: json(&blob(&manifest["config"]))["config"].clone(), manifest, files }
}

fn open_multus() -> Opened {
    open(&[content::multus(&Stand::new().source(Arch::Amd64), REFERENCE).unwrap()])
}

/// Programs that the DaemonSets in one of upstream's manifests start.
fn commands(manifest: &str) -> BTreeSet<String> {
    let path = parts::upstream_source(parts::UPSTREAM_VERSION).unwrap().join("deployments").join(manifest);
    let documents: Vec<Value> = serde_saphyr::from_multiple(&fs::read_to_string(path).unwrap()).unwrap();
    let pods = documents.iter().filter(|document| document["kind"] == "DaemonSet");
    let pods = pods.map(|set| &set["spec"]["template"]["spec"]);
    let containers =
        pods.flat_map(|pod| ["initContainers", "containers"].map(|key| pod[key].as_array().unwrap()));
    let commands: BTreeSet<_> =
        containers.flatten().map(|container| container["command"][0].as_str().unwrap().to_owned()).collect();
    assert!(commands.len() >= 2, "{manifest} starts {commands:?}");
    commands
}

#[test]
fn upstreams_manifests_find_their_programs() {
    let image = open_multus();
    // Not the one for CRI-O: the script that it starts is in no image of upstream's of this version either.
    for manifest in ["multus-daemonset.yml", "multus-daemonset-thick.yml"] {
        for command in commands(manifest) {
            assert_eq!(
                image.files.get(&command).map(String::as_str),
                Some("multus"),
                "{manifest}: {command}"
            );
        }
    }
}

#[test]
fn upstreams_entrypoint_starts_and_what_programs_expect_is_there() {
    let image = open_multus();
    let entrypoint = image.config["Entrypoint"][0].as_str().unwrap();
    assert_eq!(entrypoint, "/thin_entrypoint");
    assert!(image.files.contains_key(entrypoint));
    assert_eq!(image.config["WorkingDir"], "/");
    assert_eq!(image.files["/var/run"], "/run");
    assert!(image.files["/etc/passwd"].starts_with("root:x:0:0:"));
    assert!(image.files.contains_key("/tmp/"));
    assert!(image.files["/usr/src/multus-cni/LICENSE"].contains("Apache License"));
    assert_eq!(image.files["/usr/src/multus-cni/THIRD-PARTY-LICENSES"], "licences of crates");
}

#[test]
fn each_role_has_its_name_below_upstreams_folder() {
    let image = open_multus();
    for (program, names) in [
        (
            "multus",
            &[
                "multus",
                "multus-daemon",
                "install_multus",
                "thin_entrypoint",
                "kubeconfig_generator",
                "cert-approver",
                "install_plugins",
            ][..],
        ),
        ("multus-shim", &["multus-shim", "passthru"]),
    ] {
        for name in names {
            assert_eq!(image.files[&format!("/usr/src/multus-cni/bin/{name}")], program, "{name}");
        }
    }
}

#[test]
fn the_plugins_image_holds_plugins_and_what_installs_them() {
    let image = open(&[content::plugins(&Stand::new().source(Arch::Amd64), REFERENCE).unwrap()]);
    assert_eq!(image.config["Entrypoint"][0], "/install_plugins");
    assert_eq!(image.files["/install_plugins"], "multus");
    for plugin in ["macvlan", "static"] {
        assert_eq!(image.files[&format!("/usr/src/cni-plugins/bin/{plugin}")], plugin);
    }
    assert_eq!(image.files["/usr/src/cni-plugins/LICENSES"], "licences of plugins");
    assert_eq!(image.config["Labels"]["org.opencontainers.image.version"], "1.9.1");
}

#[test]
fn labels_say_what_it_is_to_nodes_and_registries() {
    let image = open_multus();
    for key in ["title", "description", "version", "source", "licenses"] {
        let key = format!("org.opencontainers.image.{key}");
        assert!(image.config["Labels"][&key].as_str().is_some_and(|value| !value.is_empty()), "{key}");
        assert_eq!(image.config["Labels"][&key], image.manifest["annotations"][&key]);
    }
}

#[test]
fn neither_times_nor_modes_nor_folders_of_the_building_machine_change_the_bytes() {
    let mut archives = Vec::new();
    for mode in [0o755, 0o600] {
        let stand = Stand::new();
        let program = stand.dir.path().join("multus");
        fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        let then = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(u64::from(mode));
        fs::File::open(&program).unwrap().set_modified(then).unwrap();
        let source = stand.source(Arch::Amd64);
        let images =
            [content::multus(&source, REFERENCE), content::plugins(&source, "registry.example/plugins:v1")];
        let path = stand.dir.path().join("image.tar");
        write_archive(&path, &images.map(Result::unwrap)).unwrap();
        archives.push(fs::read(path).unwrap());
    }
    assert!(archives[0] == archives[1], "two builds differ");
}

#[test]
fn an_image_that_grew_too_large_is_not_let_through() {
    let stand = Stand::new();
    let image = content::multus(&stand.source(Arch::Arm64), REFERENCE).unwrap();
    let packed = [image.pack().unwrap()];
    check_size(&packed, Some(MOST_PACKED)).unwrap();
    let error = check_size(&packed, Some(packed[0].size() - 1)).unwrap_err().to_string();
    assert!(error.contains("arm64"), "{error}");
}

#[test]
fn mistakes_in_the_command_line_are_named() {
    for (arguments, part) in [
        (&["--arch", "s390x"][..], "amd64, arm64"),
        (&["--programs", "amd64"], "ARCH=FOLDER"),
        (&["--load", "docker"], "containerd or k3s"),
        (&["--address", "/run/x.sock"], "--load"),
        (&["--tag"], "needs a value"),
        (&["--what"], "--what"),
    ] {
        let arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let error = Options::parse(&arguments).unwrap_err().to_string();
        assert!(error.contains(part), "{arguments:?}: {error}");
    }
}

fn pushed(reference: &str) -> (Value, String) {
    let inspect = std::process::Command::new("skopeo")
        .args(["inspect", "--raw", "--tls-verify=false", &format!("docker://{reference}")])
        .output()
        .unwrap();
    assert!(inspect.status.success(), "{inspect:?}");
    let mut digest = std::process::Command::new("sha256sum");
    let mut digest =
        digest.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut digest.stdin.take().unwrap(), &inspect.stdout).unwrap();
    let digest = String::from_utf8(digest.wait_with_output().unwrap().stdout).unwrap();
    (
        serde_json::from_slice(&inspect.stdout).unwrap(),
        format!("sha256:{}", digest.split(' ').next().unwrap()),
    )
}

#[test]
fn a_push_takes_the_images_for_all_machines_under_their_digests() {
    let registry = testbed::registry::Registry::start().unwrap();
    let stand = Stand::new();
    let reference = format!("{}/multus-rs/multus-rs:v4.0.0", registry.address());
    let images = Arch::ALL.map(|arch| content::multus(&stand.source(arch), &reference).unwrap());
    let archive = stand.dir.path().join("image.tar");
    let packed = write_archive(&archive, &images).unwrap();
    let signed = deliver::push(&archive, &reference, true).unwrap();
    let (index, digest) = pushed(&reference);
    assert_eq!(signed, format!("{}/multus-rs/multus-rs@{digest}", registry.address()));
    for (at, packed) in packed.iter().enumerate() {
        assert_eq!(index["manifests"][at]["digest"], packed.manifest.digest);
        assert_eq!(index["manifests"][at]["platform"]["architecture"], packed.platform.architecture);
    }

    let single = format!("{}/multus-rs/multus-rs:v4.0.0-amd64", registry.address());
    let image = content::multus(&stand.source(Arch::Amd64), &single).unwrap();
    let packed = write_archive(&archive, &[image]).unwrap();
    deliver::push(&archive, &single, true).unwrap();
    assert_eq!(pushed(&single).1, packed[0].manifest.digest);
}

#[test]
fn a_runtime_that_is_not_there_is_named_with_what_to_check() {
    let mut runtime = Runtime::parse("k3s").unwrap();
    runtime.address = Some("/does/not/exist.sock".to_owned());
    let error = format!("{:#}", deliver::load(&runtime, Path::new("image.tar"), REFERENCE).unwrap_err());
    assert!(error.contains(REFERENCE) && error.contains("--address"), "{error}");
}

/// A containerd without its Kubernetes side. Dropped, it ends.
struct Containerd {
    child: std::process::Child,
    address: String,
    _dir: tempfile::TempDir,
}

impl Containerd {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let address = at("containerd.sock");
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = {address:?}\n",
            at("root"),
            at("state")
        );
        fs::write(at("config.toml"), config).unwrap();
        let child = std::process::Command::new(parts::debian().unwrap().join("usr/bin/containerd"))
            .args(["--config", &at("config.toml")])
            .stderr(fs::File::create(at("log")).unwrap())
            .spawn()
            .unwrap();
        let connected = || std::os::unix::net::UnixStream::connect(&address).ok();
        testbed::wait::until("containerd", std::time::Duration::from_secs(30), connected)
            .unwrap_or_else(|error| panic!("{error}: {}", fs::read_to_string(at("log")).unwrap_or_default()));
        Self { child, address, _dir: dir }
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_load_brings_the_image_to_where_the_kubelet_looks() {
    let containerd = Containerd::start();
    let stand = Stand::new();
    let archive = stand.dir.path().join("image.tar");
    let images = Arch::ALL.map(|arch| content::multus(&stand.source(arch), REFERENCE).unwrap());
    write_archive(&archive, &images).unwrap();
    let ctr = parts::debian().unwrap().join("usr/bin/ctr").display().to_string();
    let runtime = Runtime { ctr: vec![ctr.clone()], address: Some(containerd.address.clone()) };
    deliver::load(&runtime, &archive, REFERENCE).unwrap();
    let mut list = std::process::Command::new(ctr);
    let list = list.args(["--address", &containerd.address, "--namespace", "k8s.io", "images", "ls", "-q"]);
    assert_eq!(String::from_utf8(list.output().unwrap().stdout).unwrap().trim(), REFERENCE);
}
