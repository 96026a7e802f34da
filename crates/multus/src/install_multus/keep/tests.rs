use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::super::folder::troubles;
use super::*;
use crate::thin_entrypoint::tests::{Heard, run_with, until};

mod uninstall;

const PROGRAMS: [&str; 2] = ["multus-shim", "passthru"];

/// A node with the directory `opt/bin`, and the programs of an image.
struct Node {
    dir: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        let node = Self { dir: tempfile::tempdir().unwrap() };
        for folder in ["opt/bin", "net.d", "cni/multus", "cni/results"] {
            fs::create_dir_all(node.path(folder)).unwrap();
        }
        node.ship("image", "1");
        node
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes an image's programs of this version.
    fn ship(&self, image: &str, version: &str) {
        fs::create_dir_all(self.path(image)).unwrap();
        PROGRAMS.iter().for_each(|name| write(&self.path(image).join(name), &program(version)));
    }

    fn delivery(&self, image: &str, dirs: &[&str]) -> Delivery {
        let destinations = dirs.iter().map(|dir| self.path(dir)).collect();
        Delivery { plugin: "multus-shim", source: self.path(image), destinations }
    }

    fn keeping(&self, image: &str) -> Keeping {
        Keeping {
            delivery: self.delivery(image, &["opt/bin"]),
            conf_dir: self.path("net.d"),
            owner: None,
            own: None,
            api: Source::Kubeconfig(self.path("kubeconfig")),
            journals: self.path("cni/multus"),
            runtime_cache: self.path("cni"),
            // Whoever waits for this long does so for ever.
            patience: Duration::from_secs(3600),
        }
    }

    /// Whether the programs in the directory are those of this version.
    fn has(&self, dir: &str, version: &str) -> bool {
        let is_right = |path: PathBuf| {
            fs::read_to_string(&path).is_ok_and(|text| text == program(version))
                && fs::metadata(&path).is_ok_and(|found| found.permissions().mode() & 0o777 == 0o755)
        };
        PROGRAMS.iter().all(|name| is_right(self.path(dir).join(name)))
    }

    fn troubles(&self) -> Vec<String> {
        troubles(&self.delivery("image", &["opt/bin"]))
    }

    fn names(&self, dir: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(dir)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn program(version: &str) -> String {
    format!("#!/bin/sh\n# {version}\necho '{{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[\"1.1.0\"]}}'\n")
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Keeps while `during` runs; returns all that was said.
fn kept(keeping: &Keeping, during: impl FnOnce(&Heard)) -> Vec<String> {
    let (said, ended) = run_with(|stop, say| keep(keeping, stop, say), during);
    ended.unwrap();
    said
}

#[test]
fn what_is_lost_or_damaged_is_put_back_and_nothing_is_left_beside() {
    let node = Node::new();
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 5] = [
        ("lost", |path| fs::remove_file(path).unwrap()),
        ("truncated", |path| fs::write(path, "").unwrap()),
        ("not executable", |path| fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap()),
        ("of another machine", |path| write(path, "\x7fELF of another machine")),
        ("failing", |path| write(path, "#!/bin/sh\nexit 1\n")),
    ];
    kept(&node.keeping("image"), |_| {
        until("the first installation", || node.has("opt/bin", "1"));
        for (what, damage) in &damages {
            for name in PROGRAMS {
                damage(&node.path("opt/bin").join(name));
                until(&format!("{name} that was {what}"), || node.has("opt/bin", "1"));
            }
        }
    });
    assert_eq!(node.names("opt/bin"), PROGRAMS);
}

#[test]
fn a_directory_that_is_swapped_is_filled_again_and_never_made() {
    let node = Node::new();
    let said = kept(&node.keeping("image"), |heard| {
        until("the first installation", || node.has("opt/bin", "1"));
        fs::rename(node.path("opt/bin"), node.path("old")).unwrap();
        heard.wait_for("opt/bin is not there; it is waited for and not made here");
        assert!(!node.path("opt/bin").exists());
        assert_eq!(node.troubles(), [format!("{} is not there", node.path("opt/bin").display())]);
        fs::create_dir(node.path("opt/bin")).unwrap();
        heard.wait_for("opt/bin is as it should be again");
        assert!(node.has("opt/bin", "1"));
        // The one above it goes as well, and comes back as an upgrade's.
        fs::rename(node.path("opt"), node.path("older")).unwrap();
        heard.wait_for("opt/bin is not there");
        fs::create_dir_all(node.path("opt/bin")).unwrap();
        until("the second swap", || node.has("opt/bin", "1"));
    });
    assert_eq!(said.iter().filter(|line| line.contains("is not there")).count(), 2, "once each: {said:?}");
}

#[test]
fn a_link_that_leads_to_the_next_version_is_followed() {
    let node = Node::new();
    for release in ["data/a/bin", "data/b/bin"] {
        fs::create_dir_all(node.path(release)).unwrap();
    }
    symlink("a", node.path("data/current")).unwrap();
    let keeping = Keeping {
        delivery: node.delivery("image", &["data/current/bin", "opt/bin"]),
        ..node.keeping("image")
    };
    kept(&keeping, |_| {
        until("both directories", || node.has("data/a/bin", "1") && node.has("opt/bin", "1"));
        symlink("b", node.path("data/next")).unwrap();
        fs::rename(node.path("data/next"), node.path("data/current")).unwrap();
        until("the next version", || node.has("data/b/bin", "1"));
    });
}

#[test]
fn another_version_that_works_is_left_alone_until_it_does_not() {
    let node = Node::new();
    kept(&node.keeping("image"), |heard| {
        until("the first installation", || node.has("opt/bin", "1"));
        // As an init container of the next version does, before the pod's other containers start.
        node.ship("next", "2");
        for name in PROGRAMS {
            fs::rename(node.path("next").join(name), node.path("opt/bin").join(name)).unwrap();
        }
        heard.wait_for("multus-shim and ");
        assert!(node.has("opt/bin", "2"));
        assert_eq!(node.troubles(), Vec::<String>::new());
        fs::write(node.path("opt/bin/passthru"), "").unwrap();
        heard.wait_for("passthru was missing or did not work, and is installed");
        assert_eq!(fs::read_to_string(node.path("opt/bin/passthru")).unwrap(), program("1"));
        assert_eq!(fs::read_to_string(node.path("opt/bin/multus-shim")).unwrap(), program("2"));
    });
}

#[test]
fn a_wrapper_whose_interpreter_is_only_on_the_node_is_left_alone() {
    let node = Node::new();
    kept(&node.keeping("image"), |heard| {
        until("the first installation", || node.has("opt/bin", "1"));
        write(&node.path("opt/wrapper"), "#!/usr/bin/an-interpreter-of-the-node\n");
        fs::rename(node.path("opt/wrapper"), node.path("opt/bin/multus-shim")).unwrap();
        heard.wait_for("multus-shim of another version, in working order: left alone");
    });
    assert!(fs::read_to_string(node.path("opt/bin/multus-shim")).unwrap().contains("interpreter"));
}

#[test]
fn of_two_versions_at_once_the_newer_pods_is_kept_and_the_older_ones_comes_back_when_it_ends() {
    let node = Node::new();
    node.ship("next", "2");
    kept(&node.keeping("image"), |old| {
        until("the older version", || node.has("opt/bin", "1"));
        kept(&node.keeping("next"), |_| {
            until("the newer version", || node.has("opt/bin", "2"));
            old.wait_for("a newer pod of this install keeps ");
            for name in PROGRAMS {
                fs::remove_file(node.path("opt/bin").join(name)).unwrap();
            }
            until("the newer version, put back", || node.has("opt/bin", "2"));
        });
        // It was rolled back: its daemon is gone, and the older one answers.
        until("the older version again", || node.has("opt/bin", "1"));
    });
    assert_eq!(node.names("opt/bin"), PROGRAMS);
}

#[test]
fn a_probe_tells_what_does_not_work_and_writes_nothing() {
    let node = Node::new();
    let shown = |name: &str| node.path("opt/bin").join(name).display().to_string();
    assert_eq!(node.troubles(), PROGRAMS.map(|name| format!("{} is missing", shown(name))));
    assert_eq!(node.names("opt/bin"), Vec::<String>::new());
    kept(&node.keeping("image"), |_| until("the installation", || node.has("opt/bin", "1")));
    assert_eq!(node.troubles(), Vec::<String>::new());
    fs::set_permissions(node.path("opt/bin/passthru"), fs::Permissions::from_mode(0o644)).unwrap();
    let troubles = node.troubles();
    assert!(
        troubles.len() == 1 && troubles[0].contains("passthru does not work: cannot run"),
        "{troubles:?}"
    );
    assert_eq!(node.names("opt/bin"), PROGRAMS);
}

fn mount(arguments: &[&str]) {
    let ended = std::process::Command::new(arguments[0]).args(&arguments[1..]).status().unwrap();
    assert!(ended.success(), "{arguments:?}");
}

#[test]
fn a_directory_that_cannot_be_written_is_named_with_what_to_set_and_ends_nothing() {
    let node = Node::new();
    let path = node.path("opt/bin").display().to_string();
    mount(&["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", &path]);
    let said = kept(&node.keeping("image"), |heard| {
        heard.wait_for("chart's value cni.binDir");
        let troubles = node.troubles();
        assert!(troubles[0].contains("multus-shim is missing"), "{troubles:?}");
        assert!(
            troubles[2].contains("Read-only file system") && troubles[2].contains("cni.binDir"),
            "{troubles:?}"
        );
        mount(&["mount", "-o", "remount,rw", &path]);
        heard.wait_for("opt/bin is as it should be again");
        assert!(node.has("opt/bin", "1"));
    });
    mount(&["umount", "-l", &path]);
    assert_eq!(said.iter().filter(|line| line.contains("cni.binDir")).count(), 1, "{said:?}");
}
