use super::*;

#[test]
fn an_annotation_is_set_and_every_other_byte_of_a_value_kept() {
    let pod = br#"{"spec":{"x": 1e3,"y":18446744073709551616},"metadata":{"annotations":{"a":"\u0041"},"name":"p"}}"#;
    let text = String::from_utf8(with_annotation(pod, "[{}]").unwrap()).unwrap();
    assert_eq!(
        text,
        r#"{"metadata":{"annotations":{"a":"\u0041","k8s.v1.cni.cncf.io/network-status":"[{}]"},"name":"p"},"spec":{"x": 1e3,"y":18446744073709551616}}"#
    );
}

#[test]
fn a_pod_without_annotations_gets_them() {
    for pod in [r#"{"metadata":{}}"#, r#"{"metadata":{"annotations":null}}"#, "{}"] {
        let written = with_annotation(pod.as_bytes(), "s").unwrap();
        let value: serde_json::Value = serde_json::from_slice(&written).unwrap();
        assert_eq!(value["metadata"]["annotations"][STATUS_ANNOTATION], "s");
    }
}

#[test]
fn a_right_to_patch_that_was_wanting_is_asked_for_again_after_a_while() {
    let (permissions, now) = (Permissions::default(), Instant::now());
    assert!(permissions.may_patch(now));
    permissions.learn(false, now);
    assert!(!permissions.may_patch(now + PUT_FOR / 2));
    assert!(permissions.may_patch(now + PUT_FOR));
    permissions.learn(true, now);
    assert!(permissions.may_patch(now));
}
