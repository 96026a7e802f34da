use proptest::prelude::*;

use super::*;

fn step(name: Option<&str>, verb: Verb, form: Form) -> Step {
    Step { plugin_type: "t".to_owned(), name: name.map(str::to_owned), verb, form }
}

#[test]
fn c74_error_objects_are_read_as_go_reads_them() {
    let parse = |text: &str| CniError::parse(text.as_bytes());
    assert_eq!(
        parse(r#"{"code":7,"msg":"m","details":"d","cniVersion":"1.0.0"}"#).unwrap(),
        CniError::new(7, "m", "d")
    );
    assert_eq!(parse(r#"{"CODE":7,"code":8,"Msg":null}"#).unwrap(), CniError::new(8, "", ""));
    assert_eq!(parse("{}").unwrap(), CniError::default());
    for bad in [
        "",
        "[]",
        "x",
        r#"{"code":"7"}"#,
        r#"{"code":-1}"#,
        r#"{"code":4294967296}"#,
        r#"{"msg":{}}"#,
        "{} x",
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
    let deep = format!(r#"{{"msg":{}{}}}"#, "[".repeat(1 << 19), "]".repeat(1 << 19));
    assert!(CniError::parse(deep.as_bytes()).is_err());
    assert_eq!(CniError::new(1, "m", "d").to_string(), "m; d");
    assert_eq!(CniError::new(1, "m", "").to_string(), "m");
}

#[test]
fn c23_prefixes_are_libcnis() {
    let text = |step: Step| step.prefix();
    assert_eq!(text(step(Some("n"), Verb::Add, Form::List)), r#"plugin type="t" name="n" failed (add): "#);
    assert_eq!(text(step(Some(""), Verb::Add, Form::List)), r#"plugin type="t" failed (add): "#);
    assert_eq!(text(step(None, Verb::Del, Form::List)), r#"plugin type="t" failed (delete): "#);
    for verb in [Verb::Check, Verb::Status, Verb::Version] {
        assert_eq!(text(step(Some("n"), verb, Form::List)), "");
    }
    assert_eq!(text(step(Some("n"), Verb::Add, Form::Single)), "");
    assert_eq!(text(step(Some("n"), Verb::Gc, Form::Single)), "failed to GC plugin t: ");
}

#[test]
fn c23_code_message_and_details_survive() {
    let plugin = |code| Error::Plugin {
        step: step(None, Verb::Del, Form::List),
        source: CniError::new(code, "m", "d"),
    };
    assert_eq!(plugin(101).to_cni(), CniError::new(101, r#"plugin type="t" failed (delete): m"#, "d"));
    assert_eq!(plugin(0).to_cni().code, CniError::INTERNAL);
    assert_eq!(plugin(0).cni().unwrap().code, 0);
}

#[test]
fn c75_our_own_failures_have_fitting_codes() {
    let timed_out = Error::TimedOut {
        step: step(None, Verb::Add, Form::List),
        after: Duration::from_millis(1500),
        stderr: String::new(),
    };
    assert_eq!(
        timed_out.to_cni(),
        CniError::new(
            11,
            r#"plugin type="t" failed (add): timed out after 1.5s and was killed, with everything it had started"#,
            ""
        )
    );
    let config = crate::Network::parse(b"{}").unwrap_err();
    assert_eq!(Error::from(config).to_cni().code, CniError::BAD_CONFIG);
}

proptest! {
    #[test]
    fn c74_errors_are_read_back(code in any::<u32>(), msg in ".*", details in ".*") {
        let error = CniError::new(code, msg, details);
        prop_assert_eq!(CniError::parse(&serde_json::to_vec(&error).unwrap()).unwrap(), error);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = CniError::parse(&bytes);
    }
}
