use super::*;

fn pod(name: &str, uid: &str) -> PodRef {
    PodRef { namespace: "n".to_owned(), name: name.to_owned(), uid: Some(uid.to_owned()) }
}

#[test]
fn events_of_one_record_have_different_names() {
    let pod = pod("p", "u");
    assert_ne!(unique(&pod.name), unique(&pod.name));
}

#[test]
fn an_event_for_a_cause_has_one_name_for_each_pod() {
    let name = fixed(&pod("p", "0A-1b"), "no-networks");
    assert_eq!(name, "p.no-networks-0a1b");
    assert_eq!(name, fixed(&pod("p", "0A-1b"), "no-networks"));
    assert_ne!(name, fixed(&pod("p", "0A-1c"), "no-networks"));
}

#[test]
fn the_longest_pod_name_leaves_room() {
    let long = format!("{}.{}", "a".repeat(179), "b".repeat(73));
    let uid = "01234567-89ab-cdef-0123-456789abcdef";
    for name in [unique(&long), fixed(&pod(&long, uid), "no-networks")] {
        assert!(name.len() <= 253, "{name}");
        assert!(name.starts_with(&format!("{}.", "a".repeat(179))), "{name}");
        assert!(!name.contains(".."), "{name}");
    }
    assert!(unique(&"ä".repeat(126)).len() <= 253);
}

/// What a plugin says ends in an event, as does what stands in an annotation.
#[test]
fn what_others_say_stays_short_and_moves_no_cursor() {
    let message = |said: &str| {
        let event = PlanEvent::warning("R", said);
        let request = request(&pod("p", "u"), &event, "p.1").unwrap();
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        body["message"].as_str().unwrap().to_owned()
    };
    let long = message(&"ä".repeat(100_000));
    assert!(long.len() <= 1024 && long.starts_with("ää") && long.ends_with('…'), "{long}");
    assert_eq!(message("a\nb\u{1b}[2J\u{9b}0m\u{202e}c"), "a\\nb\\u{1b}[2J\\u{9b}0m\\u{202e}c");
    assert_eq!(message(&"x".repeat(1024)).len(), 1024);
}

#[test]
fn a_message_is_sent_as_it_is() {
    let event = PlanEvent::warning("NoNetworkFound", "100% \"quoted\"");
    let request = request(&pod("p", "u"), &event, "p.1").unwrap();
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body["message"], "100% \"quoted\"");
    assert_eq!(body["involvedObject"]["uid"], "u");
}
