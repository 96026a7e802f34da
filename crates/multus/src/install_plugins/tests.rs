use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;

use super::record::NAME;
use super::*;

/// A directory with plugins, and one of a node.
struct Place {
    from: tempfile::TempDir,
    to: tempfile::TempDir,
}

impl Place {
    fn new(plugins: &[&str]) -> Self {
        let place = Self { from: tempfile::tempdir().unwrap(), to: tempfile::tempdir().unwrap() };
        plugins.iter().for_each(|name| place.ship(name, &format!("{name} 1")));
        place
    }

    fn ship(&self, name: &str, content: &str) {
        write(&self.from.path().join(name), content);
    }

    fn at(&self, name: &str) -> PathBuf {
        self.to.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.to.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    /// Runs the program and returns what it said.
    fn install(&self, more: &[&str]) -> Result<String, Vec<String>> {
        let mut arguments = vec!["--from", self.from.path().to_str().unwrap()];
        let to = format!("--to={}", self.to.path().display());
        arguments.extend([to.as_str()].iter().chain(more));
        let arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let mut output = Vec::new();
        super::install(&flags::parse(&FLAGS, &arguments).unwrap(), &mut output)?;
        Ok(String::from_utf8(output).unwrap())
    }
}

fn write(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn missing_plugins_are_installed_and_recorded_as_sha256sum_reads_it() {
    let place = Place::new(&["macvlan", "static"]);
    let said = place.install(&[]).unwrap();
    assert_eq!(said.matches(": installed\n").count(), 2, "{said}");
    assert_eq!(place.read("macvlan"), "macvlan 1");
    assert_eq!(fs::metadata(place.at("macvlan")).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(place.names(), [NAME, "macvlan", "static"]);
    let mut check = Command::new("sha256sum");
    let checked = check.args(["--check", "--strict", NAME]).current_dir(place.to.path()).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn a_second_run_writes_nothing() {
    let place = Place::new(&["macvlan"]);
    place.install(&[]).unwrap();
    let before =
        [NAME, "macvlan"].map(|name| (fs::metadata(place.at(name)).unwrap().ino(), place.read(name)));
    assert!(place.install(&[]).unwrap().ends_with("macvlan: up to date\n"));
    let after = [NAME, "macvlan"].map(|name| (fs::metadata(place.at(name)).unwrap().ino(), place.read(name)));
    assert_eq!(before, after);
}

#[test]
fn what_this_program_installed_is_replaced_by_another_version() {
    let place = Place::new(&["macvlan"]);
    place.install(&[]).unwrap();
    place.ship("macvlan", "macvlan 2");
    let said = place.install(&[]).unwrap();
    assert!(said.ends_with("macvlan: replaced by another version\n"), "{said}");
    assert_eq!(place.read("macvlan"), "macvlan 2");
    assert_eq!(
        fs::read_to_string(place.at(NAME)).unwrap().lines().count(),
        1,
        "only the last version is kept"
    );
}

#[test]
fn a_file_of_another_program_is_never_replaced_and_never_becomes_ours() {
    let place = Place::new(&["bridge", "macvlan", "static"]);
    write(&place.at("bridge"), "of the distribution");
    // The same bytes today may be another version of theirs tomorrow.
    write(&place.at("macvlan"), "macvlan 1");
    for next in 2..4 {
        let said = place.install(&[]).unwrap();
        assert_eq!(said.matches("left alone: another program installed it").count(), 2, "{said}");
        assert_eq!(place.read("bridge"), "of the distribution");
        assert_eq!(place.read("macvlan"), "macvlan 1");
        place.ship("macvlan", &format!("macvlan {next}"));
    }
}

#[test]
fn a_file_that_another_program_changed_since_counts_as_theirs() {
    let place = Place::new(&["macvlan"]);
    place.install(&[]).unwrap();
    write(&place.at("macvlan"), "of an operator");
    place.ship("macvlan", "macvlan 2");
    let said = place.install(&[]).unwrap();
    assert!(said.ends_with("macvlan: left alone: another program changed it\n"), "{said}");
    assert_eq!(place.read("macvlan"), "of an operator");
}

#[test]
fn a_link_is_left_alone_even_where_it_leads_nowhere() {
    let place = Place::new(&["bridge"]);
    symlink("/var/lib/rancher/k3s/data/0123/bin/cni", place.at("bridge")).unwrap();
    place.install(&[]).unwrap();
    assert!(fs::symlink_metadata(place.at("bridge")).unwrap().is_symlink());
}

#[test]
fn a_run_killed_between_record_and_record_knows_its_files_again() {
    let place = Place::new(&["macvlan", "static"]);
    place.install(&[]).unwrap();
    let (old, new) = (place.read(NAME), ["macvlan 2", "static 2"]);
    for (name, content) in ["macvlan", "static"].iter().zip(new) {
        place.ship(name, content);
    }
    // As the killed run leaves them: both versions in the record, one plugin copied.
    let mut record = Record::read(place.to.path()).unwrap();
    for name in ["macvlan", "static"] {
        record.add(name, &hash(&place.from.path().join(name)).unwrap());
    }
    record.write(place.to.path()).unwrap();
    assert_ne!(place.read(NAME), old);
    write(&place.at("macvlan"), "macvlan 2");
    let said = place.install(&[]).unwrap();
    assert!(said.contains("macvlan: up to date\n") && said.contains("static: replaced"), "{said}");
}

#[test]
fn a_removed_plugin_comes_back() {
    let place = Place::new(&["macvlan"]);
    place.install(&[]).unwrap();
    fs::remove_file(place.at("macvlan")).unwrap();
    place.install(&[]).unwrap();
    assert_eq!(place.read("macvlan"), "macvlan 1");
}

#[test]
fn a_broken_record_makes_files_foreign_and_stops_nothing() {
    let place = Place::new(&["macvlan", "static"]);
    place.install(&["--include=macvlan"]).unwrap();
    fs::write(place.at(NAME), b"\xff\xfe nonsense\n\n").unwrap();
    place.ship("macvlan", "macvlan 2");
    let said = place.install(&[]).unwrap();
    assert!(said.contains("macvlan: left alone") && said.contains("static: installed"), "{said}");
}

#[test]
fn include_and_exclude_choose_by_name() {
    for (arguments, chosen) in [
        (&["--include=macvlan,static"][..], &[NAME, "macvlan", "static"][..]),
        (&["--include", "macvlan", "--include= static "], &[NAME, "macvlan", "static"]),
        (&["--exclude=bridge"], &[NAME, "macvlan", "static"]),
        (&["--include=macvlan,bridge", "--exclude=bridge"], &[NAME, "macvlan"]),
    ] {
        let place = Place::new(&["bridge", "macvlan", "static"]);
        place.install(arguments).unwrap();
        assert_eq!(place.names(), chosen, "{arguments:?}");
    }
}

#[test]
fn an_unknown_name_is_refused_with_those_there_are() {
    for flag in ["--include", "--exclude"] {
        let place = Place::new(&["bridge", "macvlan"]);
        let errors = place.install(&[flag, "macvaln"]).unwrap_err();
        assert!(errors[0].contains("\"macvaln\"") && errors[0].ends_with("bridge, macvlan"), "{errors:?}");
        assert!(place.names().is_empty());
    }
}

#[test]
fn each_directory_is_served_and_missing_ones_are_made() {
    let place = Place::new(&["macvlan"]);
    let second = place.at("made/on/the/way");
    place.install(&["--to", second.to_str().unwrap()]).unwrap();
    assert_eq!(fs::read_to_string(second.join("macvlan")).unwrap(), "macvlan 1");
    assert!(second.join(NAME).is_file());
    assert_eq!(place.read("macvlan"), "macvlan 1");
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {output:?}");
}

#[test]
fn a_directory_that_cannot_be_written_is_named_with_the_value_to_set_and_the_others_are_served() {
    let place = Place::new(&["macvlan"]);
    let sealed = tempfile::tempdir().unwrap();
    let path = sealed.path().to_str().unwrap();
    run("mount", &["-t", "tmpfs", "-o", "ro", "tmpfs", path]);
    let errors = place.install(&["--to", path]);
    run("umount", &["-l", path]);
    let errors = errors.unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    for part in [path, "Read-only file system", "cni.binDir"] {
        assert!(errors[0].contains(part), "{errors:?}");
    }
    assert_eq!(place.read("macvlan"), "macvlan 1");
}

#[test]
fn a_directory_that_cannot_be_written_and_lacks_nothing_is_no_error() {
    let place = Place::new(&["macvlan"]);
    place.install(&[]).unwrap();
    let path = place.to.path().to_str().unwrap();
    run("mount", &["--bind", path, path]);
    testbed::mounts::read_only(place.to.path(), &["bind"]).unwrap();
    let said = place.install(&[]);
    run("umount", &["-l", path]);
    assert!(said.unwrap().ends_with("macvlan: up to date\n"));
}

#[test]
fn a_program_that_does_not_run_here_is_not_installed() {
    let place = Place::new(&["static"]);
    place.ship("macvlan", "\x7fELF of another architecture");
    let errors = place.install(&[]).unwrap_err();
    assert!(errors[0].contains("macvlan") && errors[0].contains("does not run"), "{errors:?}");
    assert_eq!(place.names(), [NAME, "static"]);
}

#[test]
fn without_a_target_nothing_is_done() {
    let values = flags::parse(&FLAGS, &[]).unwrap();
    let errors = super::install(&values, &mut Vec::new()).unwrap_err();
    assert!(errors[0].contains("--to"), "{errors:?}");
}
