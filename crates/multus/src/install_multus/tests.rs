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

#[test]
fn each_type_copies_its_plugin_and_passthru() {
    for (kind, plugin) in [("thin", "multus"), ("thick", "multus-shim")] {
        let (source, to) = (source(), tempfile::tempdir().unwrap());
        let mut output = Vec::new();
        let arguments = words(&["-t", kind, "--dest-dir", to.path().to_str().unwrap()]);
        install(&arguments, source.path(), &mut output).unwrap();
        assert_eq!(std::fs::read_to_string(to.path().join(plugin)).unwrap(), plugin);
        assert_eq!(std::fs::read_to_string(to.path().join("passthru")).unwrap(), "passthru");
        assert_eq!(std::fs::read_dir(to.path()).unwrap().count(), 2);
        assert_eq!(String::from_utf8(output).unwrap().matches("copy succeeded!").count(), 2);
    }
}

#[test]
fn a_missing_or_wrong_type_has_upstreams_text() {
    for arguments in [&[][..], &["--type=fat"]] {
        let error = install(&words(arguments), source().path(), &mut Vec::new()).unwrap_err();
        assert_eq!(error, "--type is missing or --type has invalid value");
    }
}

#[test]
fn q34_a_failed_copy_is_an_error() {
    let arguments = words(&["-t", "thin", "-d", "/does/not/exist"]);
    let error = install(&arguments, source().path(), &mut Vec::new()).unwrap_err();
    assert!(error.starts_with("failed to copy file multus: "), "{error}");
    assert!(error.contains("cni.binDir"), "{error}");
}
