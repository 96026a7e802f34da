use std::os::unix::fs::symlink;
use std::process::Command;

use super::*;

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_is_replaced_with_its_mode_and_nothing_is_left_beside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("00-multus.conf");
    assert!(replace(&path, b"one", 0o600).unwrap());
    let first = fs::metadata(&path).unwrap();
    assert_eq!(first.mode() & 0o777, 0o600);
    assert!(!replace(&path, b"one", 0o600).unwrap(), "identical");
    assert_eq!(fs::metadata(&path).unwrap().ino(), first.ino());
    assert!(replace(&path, b"two", 0o600).unwrap());
    assert_eq!(fs::read(&path).unwrap(), b"two");
    assert_eq!(names(dir.path()), ["00-multus.conf"]);
}

#[test]
fn a_truncated_or_linked_file_is_put_right() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.conf");
    replace(&path, b"content", 0o600).unwrap();
    fs::write(&path, "").unwrap();
    assert!(replace(&path, b"content", 0o600).unwrap());
    fs::remove_file(&path).unwrap();
    symlink("/does/not/exist", &path).unwrap();
    assert!(replace(&path, b"content", 0o600).unwrap());
    assert!(fs::symlink_metadata(&path).unwrap().is_file());
}

#[test]
fn a_failure_leaves_the_old_file_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.conf");
    fs::create_dir(&path).unwrap();
    assert!(replace(&path, b"content", 0o600).is_err());
    assert_eq!(names(dir.path()), ["x.conf"]);
}

#[test]
fn a_program_is_copied_with_its_mode_and_only_when_it_differs() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::write(&from, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&from, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(install(&from, &to).unwrap());
    let first = fs::metadata(&to).unwrap();
    assert_eq!(first.mode() & 0o777, 0o755);
    assert!(!install(&from, &to).unwrap());
    assert_eq!(fs::metadata(&to).unwrap().ino(), first.ino());
    fs::write(&from, "#!/bin/sa\n").unwrap();
    assert!(install(&from, &to).unwrap());
    assert_eq!(fs::read(&to).unwrap(), b"#!/bin/sa\n");
}

#[test]
fn a_running_program_can_be_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("sleep");
    testbed::programs::copy(Path::new("/bin/sleep"), &to).unwrap();
    let mut running = Command::new(&to).arg("60").spawn().unwrap();
    let from = dir.path().join("from");
    fs::write(&from, "new").unwrap();
    let installed = install(&from, &to);
    running.kill().unwrap();
    running.wait().unwrap();
    assert!(installed.unwrap());
    assert_eq!(fs::read(&to).unwrap(), b"new");
}

#[test]
fn an_elf_program_that_does_not_run_is_not_installed() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::write(&to, "old").unwrap();
    fs::write(&from, b"\x7fELF of another machine").unwrap();
    fs::set_permissions(&from, fs::Permissions::from_mode(0o755)).unwrap();
    let error = install(&from, &to).unwrap_err().to_string();
    assert!(error.contains("does not run"), "{error}");
    assert_eq!(fs::read(&to).unwrap(), b"old");
    assert_eq!(names(dir.path()), ["from", "to"]);
}

#[test]
fn a_program_that_runs_and_answers_something_else_is_no_plugin() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("to");
    fs::write(&to, "old").unwrap();
    let error = install(Path::new("/bin/true"), &to).unwrap_err().to_string();
    assert!(error.contains("does not run on this machine: decoding version info"), "{error}");
    assert_eq!(fs::read(&to).unwrap(), b"old");
}

#[test]
fn what_a_killed_process_left_is_removed_and_what_another_writes_now_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.conf");
    let old = dir.path().join(".x-conf.0000000000000001");
    let new = dir.path().join(".x-conf.0000000000000002");
    fs::write(&old, "half").unwrap();
    fs::write(&new, "half").unwrap();
    let long_ago = std::time::SystemTime::now() - 2 * ABANDONED;
    File::options().write(true).open(&old).unwrap().set_modified(long_ago).unwrap();
    replace(&path, b"content", 0o600).unwrap();
    assert_eq!(names(dir.path()), [".x-conf.0000000000000002", "x.conf"]);
}

#[test]
fn a_file_is_removed_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.conf");
    fs::write(&path, "content").unwrap();
    assert!(remove(&path).unwrap());
    assert!(!remove(&path).unwrap());
    assert!(remove(dir.path()).is_err());
}
