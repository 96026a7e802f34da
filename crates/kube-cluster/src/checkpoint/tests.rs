use proptest::prelude::*;

use super::*;

const TEXT: &str = r#"{"Data":{"PodDeviceEntries":[
  {"PodUID":"u1","ContainerName":"a","ResourceName":"intel.com/sriov_net_A","DeviceIDs":{"-1":["0000:03:02.3"]},"AllocResp":"CgA="},
  {"PodUID":"u1","ContainerName":"b","ResourceName":"intel.com/sriov_net_A","DeviceIDs":{"0":["0000:03:02.0"],"1":null}},
  {"PodUID":"u2","ContainerName":"a","ResourceName":"intel.com/sriov_net_B","DeviceIDs":{"0":["x"]}}],
  "RegisteredDevices":{"intel.com/sriov_net_A":["0000:03:02.0"]}},"Checksum":229855270}"#;

#[test]
fn device_ids_of_all_containers_are_sorted() {
    let devices = parse(TEXT.as_bytes(), "u1").unwrap();
    assert_eq!(devices.len(), 1);
    assert_eq!(devices["intel.com/sriov_net_A"], ["0000:03:02.0", "0000:03:02.3"]);
}

#[test]
fn a_pod_without_devices_has_none() {
    assert!(parse(TEXT.as_bytes(), "u3").unwrap().is_empty());
    assert!(parse(br#"{"Data":null}"#, "u1").unwrap().is_empty());
}

#[test]
fn a_bad_path_bad_json_and_an_empty_uid_are_errors() {
    let error = read(Path::new("/does/not/exist"), "u1").unwrap_err().to_string();
    assert!(error.contains("error reading file /does/not/exist"), "{error}");
    assert!(parse(b"{", "u1").unwrap_err().to_string().contains("unmarshalling"));
    assert!(parse(TEXT.as_bytes(), "").unwrap_err().to_string().contains("cannot be empty"));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&bytes, "u1");
    }

    #[test]
    fn a_changed_checkpoint_is_read_or_refused(at in 0..TEXT.len(), text in "[\\[\\]{}\",:0-9a-z]{0,12}") {
        let mut changed = TEXT.to_owned();
        changed.insert_str(at, &text);
        let _ = parse(changed.as_bytes(), "u1");
    }
}
