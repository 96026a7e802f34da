//! `install_multus --keep` as a program, with the plugin as it is built.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use testbed::wait::until;

const LONG: Duration = Duration::from_secs(30);
const IMAGE: &str = "/usr/src/multus-cni/bin";

/// Puts the program where the image has it; only this process and its children see it there.
fn unpack() {
    testbed::netns::require_namespace().unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "tmpfs", "/usr/src"]).status().unwrap();
    assert!(mounted.success());
    fs::create_dir_all(IMAGE).unwrap();
    let image = Path::new(IMAGE);
    fs::copy(env!("CARGO_BIN_EXE_multus"), image.join("multus")).unwrap();
    for name in ["passthru", "install_multus"] {
        symlink("multus", image.join(name)).unwrap();
    }
}

fn command(dir: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(Path::new(IMAGE).join("install_multus"));
    command.args(["--type=thin", "--dest-dir"]).arg(dir).args(flags).env_clear();
    command
}

fn run(dir: &Path, flags: &[&str]) -> (bool, String) {
    let Output { status, stdout, .. } = command(dir, flags).output().unwrap();
    (status.success(), String::from_utf8(stdout).unwrap())
}

#[test]
fn it_keeps_the_plugin_answers_its_probe_and_leaves_all_in_place_on_a_signal() {
    unpack();
    let node = tempfile::tempdir().unwrap();
    let dir = node.path().join("bin");
    fs::create_dir(&dir).unwrap();
    let image = fs::read(Path::new(IMAGE).join("multus")).unwrap();
    let program = |name: &str| -> PathBuf { dir.join(name) };
    let is_right = |name: &str| fs::read(program(name)).is_ok_and(|bytes| bytes == image);
    let all_right = || (is_right("multus") && is_right("passthru")).then_some(());

    assert!(!run(&dir, &["--healthy"]).0);
    assert!(run(&dir, &[]).0, "as an init container");
    assert_eq!(run(&dir, &["--healthy"]), (true, String::new()));

    let mut keeper = command(&dir, &["--keep"]).stdout(Stdio::null()).spawn().unwrap();
    fs::remove_file(program("multus")).unwrap();
    until("the lost program", LONG, all_right).unwrap();
    // It starts all the same: what it has lost is of no use for VERSION.
    fs::write(program("multus"), &image[..image.len() - 1]).unwrap();
    until("the truncated program", LONG, all_right).unwrap();
    fs::rename(&dir, node.path().join("old")).unwrap();
    fs::create_dir(&dir).unwrap();
    until("the swapped directory", LONG, all_right).unwrap();
    kill_process(Pid::from_child(&keeper), Signal::TERM).unwrap();
    assert_eq!(keeper.wait().unwrap().code(), Some(0));
    assert!(all_right().is_some());
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 2);

    fs::write(program("multus"), &image[..image.len() - 1]).unwrap();
    let (healthy, why) = run(&dir, &["--keep", "--healthy"]);
    assert!(!healthy && why.ends_with("bin/multus is truncated\n"), "{why}");
}
