use super::*;

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn source() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["multus", "multus-shim", "passthru"] {
        std::fs::write(dir.path().join(name), name).unwrap();
    }
    dir
}

fn install(arguments: &[&str], source: &Path, output: &mut dyn Write) -> Result<(), String> {
    match asked(arguments, source)? {
        Asked::Copy(delivery) => copy(&delivery, output),
        _ => panic!("asked for something else"),
    }
}

fn asked(arguments: &[&str], source: &Path) -> Result<Asked, String> {
    Asked::of(&flags::parse(&FLAGS, &words(arguments)).unwrap(), source)
}

#[test]
fn each_type_copies_its_plugin_and_passthru() {
    for (kind, plugin) in [("thin", "multus"), ("thick", "multus-shim")] {
        let (source, to) = (source(), tempfile::tempdir().unwrap());
        let mut output = Vec::new();
        install(&["-t", kind, "--dest-dir", to.path().to_str().unwrap()], source.path(), &mut output)
            .unwrap();
        assert_eq!(std::fs::read_to_string(to.path().join(plugin)).unwrap(), plugin);
        assert_eq!(std::fs::read_to_string(to.path().join("passthru")).unwrap(), "passthru");
        assert_eq!(std::fs::read_dir(to.path()).unwrap().count(), 2);
        assert_eq!(String::from_utf8(output).unwrap().matches("copy succeeded!").count(), 2);
    }
}

#[test]
fn every_directory_gets_the_programs() {
    let (source, to, also) = (source(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let flags = ["-t", "thick", "-d", to.path().to_str().unwrap(), "-d", also.path().to_str().unwrap()];
    install(&flags, source.path(), &mut Vec::new()).unwrap();
    for dir in [to, also] {
        assert!(["multus-shim", "passthru"].iter().all(|name| dir.path().join(name).exists()));
    }
    let Asked::Copy(delivery) = asked(&["-t", "thick"], source.path()).unwrap() else { panic!() };
    assert_eq!(delivery.destinations, [Path::new("/host/opt/cni/bin")]);
}

#[test]
fn a_missing_or_wrong_type_has_upstreams_text() {
    for arguments in [&[][..], &["--type=fat"]] {
        let error = install(arguments, source().path(), &mut Vec::new()).unwrap_err();
        assert_eq!(error, "--type is missing or --type has invalid value");
    }
}

#[test]
fn q34_a_failed_copy_is_an_error() {
    let error =
        install(&["-t", "thin", "-d", "/does/not/exist"], source().path(), &mut Vec::new()).unwrap_err();
    assert!(error.starts_with("failed to copy file multus: "), "{error}");
    assert!(error.contains("cni.binDir"), "{error}");
}

#[test]
fn a_program_of_another_machine_does_not_replace_one_that_works() {
    let (source, to) = (source(), tempfile::tempdir().unwrap());
    std::fs::write(source.path().join("multus-shim"), b"\x7fELF of another machine").unwrap();
    std::fs::write(to.path().join("multus-shim"), "works").unwrap();
    let flags = ["-t", "thick", "-d", to.path().to_str().unwrap()];
    let error = install(&flags, source.path(), &mut Vec::new()).unwrap_err();
    assert!(error.contains("the copy does not run on this machine: cannot run "), "{error}");
    assert_eq!(std::fs::read_to_string(to.path().join("multus-shim")).unwrap(), "works");
    assert_eq!(std::fs::read_dir(to.path()).unwrap().count(), 1);
}

#[test]
fn flags_that_make_no_sense_are_refused_with_their_names() {
    for (flags, part) in [
        (&["--daemonset=a/b", "--node-name=n"][..], "--daemonset is for --keep"),
        (&["--keep", "--daemonset=a/../b", "--node-name=n"], "NAMESPACE/NAME"),
        (&["--keep", "--daemonset=a/b"], "node-name \"\""),
    ] {
        let flags: Vec<&str> = ["-t", "thick"].iter().chain(flags).copied().collect();
        let error = asked(&flags, Path::new("/")).err().unwrap();
        assert!(error.contains(part), "{flags:?}: {error}");
    }
    let all = ["-t", "thick", "--healthy", "--keep", "--daemonset=a/b", "--node-name=n", "--owner=a/c"];
    assert!(matches!(asked(&all, Path::new("/")), Ok(Asked::Health(_))), "with the container's flags");
    assert!(matches!(asked(&all[..2], Path::new("/")), Ok(Asked::Copy(_))));
}
