//! Archives as a reader sees them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use oci_archive::{Config, Error, Image, Layer, Platform, write_archive, write_layout};
use serde_json::Value;

const REFERENCE: &str = "registry.example/tools/sample:v1";

fn sample() -> Image {
    let mut layer = Layer::new();
    layer.file("/usr/bin/tool", "#!/bin/true\n", 0o755).unwrap();
    layer.link("/tool", "usr/bin/tool").unwrap();
    layer.folder("/tmp", 0o1777).unwrap();
    layer.file("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n", 0o644).unwrap();
    Image {
        references: vec![REFERENCE.to_owned()],
        config: Config { entrypoint: vec!["/tool".to_owned()], ..Config::default() },
        layers: vec![layer],
        ..Image::default()
    }
}

fn unpack(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(std::fs::File::open(path).unwrap());
    let mut files = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        files.insert(entry.path().unwrap().display().to_string(), bytes);
    }
    files
}

fn blob<'a>(files: &'a BTreeMap<String, Vec<u8>>, descriptor: &Value) -> &'a [u8] {
    let path = format!("blobs/{}", descriptor["digest"].as_str().unwrap().replace(':', "/"));
    let bytes = &files[&path];
    assert_eq!(descriptor["size"], bytes.len());
    bytes
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn an_archive_leads_from_its_name_to_every_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.tar");
    write_archive(&path, &[sample()]).unwrap();

    let files = unpack(&path);
    let index = json(&files["index.json"]);
    let entry = &index["manifests"][0];
    assert_eq!(entry["annotations"]["io.containerd.image.name"], REFERENCE);
    let manifest = json(blob(&files, entry));
    let config = json(blob(&files, &manifest["config"]));
    assert_eq!(config["config"]["Entrypoint"][0], "/tool");
    assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 1);

    let seen = entries(GzDecoder::new(blob(&files, &manifest["layers"][0])));
    let wanted = [
        "755 etc/",
        "644 etc/passwd",
        "1777 tmp/",
        "777 tool -> usr/bin/tool",
        "755 usr/",
        "755 usr/bin/",
        "755 usr/bin/tool",
    ];
    assert_eq!(seen, wanted);
}

/// Mode, path and target of each entry, in the archive's order.
fn entries(layer: impl Read) -> Vec<String> {
    let mut layer = tar::Archive::new(layer);
    let describe = |entry: tar::Entry<'_, _>| {
        let target = entry.link_name().unwrap().map(|target| format!(" -> {}", target.display()));
        let mode = entry.header().mode().unwrap();
        format!("{mode:o} {}{}", entry.path().unwrap().display(), target.unwrap_or_default())
    };
    layer.entries().unwrap().map(|entry| describe(entry.unwrap())).collect()
}

#[test]
fn hard_links_come_after_what_they_link_to() {
    let mut layer = Layer::uncompressed();
    layer.file("/usr/bin/tool", "tool", 0o755).unwrap();
    layer.hard_link("/a", "/usr/bin/tool").unwrap();
    let missing = layer.hard_link("/b", "/usr/bin/other").map(|_| ());
    assert!(matches!(missing, Err(Error::Entry { .. })));
    assert_eq!(layer.files().collect::<Vec<_>>(), ["a", "usr/bin/tool"]);

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.tar");
    write_archive(&path, &[Image { layers: vec![layer], ..sample() }]).unwrap();
    let files = unpack(&path);
    let manifest = json(blob(&files, &json(&files["index.json"])["manifests"][0]));
    assert_eq!(manifest["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar");
    let packed = blob(&files, &manifest["layers"][0]);
    let last = entries(packed).pop().unwrap();
    assert_eq!(last, "755 a -> usr/bin/tool");
    // Unpacked by another program, both names are one file.
    std::fs::write(dir.path().join("layer.tar"), packed).unwrap();
    let mut tar = std::process::Command::new("tar");
    assert!(tar.args(["-xf", "layer.tar"]).current_dir(dir.path()).status().unwrap().success());
    assert_eq!(std::fs::read(dir.path().join("a")).unwrap(), b"tool");
}

#[test]
fn images_of_one_name_for_different_machines_become_one_image() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.tar");
    let images = ["amd64", "arm64"].map(|arch| Image { platform: Platform::linux(arch), ..sample() });
    write_archive(&path, &images).unwrap();
    let files = unpack(&path);
    let index = json(&files["index.json"]);
    assert_eq!(index["manifests"].as_array().unwrap().len(), 1);
    assert_eq!(index["manifests"][0]["annotations"]["io.containerd.image.name"], REFERENCE);
    assert_eq!(index["manifests"][0]["mediaType"], "application/vnd.oci.image.index.v1+json");
    let inner = json(blob(&files, &index["manifests"][0]));
    for (at, arch) in ["amd64", "arm64"].into_iter().enumerate() {
        assert_eq!(inner["manifests"][at]["platform"]["architecture"], arch);
        let manifest = json(blob(&files, &inner["manifests"][at]));
        assert_eq!(json(blob(&files, &manifest["config"]))["architecture"], arch);
    }
}

#[test]
fn one_name_for_two_images_of_one_platform_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = write_archive(&dir.path().join("image.tar"), &[sample(), sample()]).unwrap_err();
    assert!(error.to_string().contains(REFERENCE), "{error}");
}

#[test]
fn a_layout_holds_the_same_files_as_an_archive() {
    let dir = tempfile::tempdir().unwrap();
    let (tar, folder) = (dir.path().join("image.tar"), dir.path().join("image"));
    write_archive(&tar, &[sample()]).unwrap();
    write_layout(&folder, &[sample()]).unwrap();
    for (name, bytes) in unpack(&tar) {
        assert_eq!(std::fs::read(folder.join(&name)).unwrap(), bytes, "{name}");
    }
}

#[test]
fn the_same_content_gives_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("1.tar"), dir.path().join("2.tar"));
    write_archive(&one, &[sample()]).unwrap();
    write_archive(&two, &[sample()]).unwrap();
    assert_eq!(std::fs::read(one).unwrap(), std::fs::read(two).unwrap());
}

#[test]
fn one_image_under_two_names_is_stored_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.tar");
    let mut image = sample();
    image.references.push("registry.example/tools/sample:v1-thick".to_owned());
    write_archive(&path, &[image]).unwrap();
    let files = unpack(&path);
    assert_eq!(json(&files["index.json"])["manifests"].as_array().unwrap().len(), 2);
    assert_eq!(files.keys().filter(|name| name.starts_with("blobs/")).count(), 3);
}

#[test]
fn a_path_that_would_leave_the_image_is_refused() {
    for path in ["", "/", "/../etc/passwd", "a//b", "./a"] {
        let refused = Layer::new().file(path, "", 0o644).map(|_| ());
        assert!(matches!(refused, Err(Error::Entry { .. })), "{path:?}");
    }
}

#[test]
fn a_file_below_a_link_is_refused() {
    let mut layer = Layer::new();
    layer.link("/var/run", "/run").unwrap();
    let refused = layer.file("/var/run/pid", "", 0o644).map(|_| ());
    assert!(matches!(refused, Err(Error::Entry { .. })));
}

#[test]
fn a_short_name_is_refused_with_the_form_to_use() {
    let dir = tempfile::tempdir().unwrap();
    for reference in ["sample", "sample:v1", "registry.example/sample", "registry.example:5000/sample"] {
        let image = Image { references: vec![reference.to_owned()], ..sample() };
        let error = write_archive(&dir.path().join("image.tar"), &[image]).unwrap_err();
        assert!(error.to_string().contains("registry.example/name:tag"), "{error}");
    }
}

#[test]
fn a_minimal_root_has_users_and_var_run() {
    let mut layer = Layer::uncompressed();
    layer.minimal_root().unwrap();
    let files: Vec<_> = layer.files().collect();
    assert_eq!(files, ["etc/group", "etc/nsswitch.conf", "etc/passwd", "var/run"]);
}
