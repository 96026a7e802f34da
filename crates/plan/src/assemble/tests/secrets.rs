//! Configurations may hold passwords and whole kubeconfigs, and errors end in events and logs, which more people read.

use crate::testing::Case;

const SECRET: &str = "hunter2";

/// Errors of whatever is made of `config` as a NAD, a file and the netconf's own delegate; nothing where it can be used.
fn errors(config: &str) -> Vec<String> {
    let nad = Case::new().selects("a").nad("test/a", config);
    let file = Case::new().selects("a").nad("test/a", "").file("10-a.conf", config);
    let asks = r#"[{"name":"a","ips":["10.0.0.9"],"mac":"02:00:00:00:00:01","cni-args":{"x":1}}]"#;
    let asked = Case::new().selects(asks).nad("test/a", config);
    let device = Case::new().selects("a").nad_with(
        "test/a",
        config,
        &[(crate::facts::RESOURCE_NAME_ANNOTATION, "r/x")],
    );
    let mut errors: Vec<String> = [nad, file, asked, device]
        .iter()
        .filter_map(|case| case.try_plan().err())
        .flat_map(|error| [error.to_string(), error.to_cni().details, format!("{:?}", error.event())])
        .collect();
    let netconf = format!(r#"{{"cniVersion":"1.0.0","delegates":[{config}]}}"#);
    errors.extend(crate::NetConf::parse(netconf.as_bytes()).err().map(|error| error.to_string()));
    errors
}

#[test]
fn q43_no_error_repeats_what_a_configuration_says() {
    let wrong = [
        // A value of the wrong type is the one that an error is most likely to show.
        r#"{"type":"t","capabilities":"hunter2"}"#,
        r#"{"type":"t","capabilities":{"ips":"hunter2"}}"#,
        r#"{"type":"t","capabilities":["hunter2"]}"#,
        r#"{"type":"t","cniVersion":["hunter2"]}"#,
        r#"{"type":"t","cniVersions":"hunter2"}"#,
        r#"{"type":"t","cniVersions":{"a":"hunter2"}}"#,
        r#"{"type":{"a":"hunter2"}}"#,
        r#"{"type":["hunter2"]}"#,
        r#"{"type":"t","name":["hunter2"]}"#,
        r#"{"type":"t","args":"hunter2"}"#,
        r#"{"type":"t","args":{"cni":"hunter2"}}"#,
        r#"{"type":"t","runtimeConfig":"hunter2"}"#,
        r#"{"type":"t","ipam":"hunter2"}"#,
        r#"{"type":"t","dns":"hunter2"}"#,
        r#"{"plugins":"hunter2"}"#,
        r#"{"plugins":["hunter2"]}"#,
        r#"{"plugins":[{"type":"t","capabilities":"hunter2"}]}"#,
        r#"{"plugins":[{"password":"hunter2"}]}"#,
        // And texts that are no JSON, or none of ours.
        r#"{"type":"t","password":"hunter2""#,
        r#"{"type":"t","password":"hunter2"}}"#,
        r#"{"password":"hunter2"}"#,
        "hunter2",
        "\"hunter2\"",
        "[\"hunter2\"]",
        "{hunter2:1}",
        "password: hunter2\ntype: t\n",
        "{\"type\":\"t\",\"password\":\"hunter2\u{1}\"}",
    ];
    for config in wrong {
        for error in errors(config) {
            assert!(!error.contains(SECRET), "{config}\n{error}");
        }
    }
    assert!(!errors(wrong[0]).is_empty() && !errors(wrong[18]).is_empty(), "these cannot be used");
}
