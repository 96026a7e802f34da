//! What the engine says survives the socket, and what does not fit is refused.

use std::collections::BTreeMap;

use engine::{Answer, PodLookup, PodRef, Query};
use plan::NadLookup;
use proptest::prelude::*;

use super::*;

fn text() -> impl Strategy<Value = String> {
    // Anything that a name, an annotation or an error can hold.
    proptest::collection::vec(any::<char>(), 0..12).prop_map(|chars| chars.into_iter().collect())
}

fn annotations() -> impl Strategy<Value = BTreeMap<String, String>> {
    let key = prop_oneof![
        Just(plan::RESOURCE_NAME_ANNOTATION.to_owned()),
        Just("kubernetes.io/config.source".to_owned()),
        text()
    ];
    proptest::collection::btree_map(key, text(), 0..4)
}

fn pod() -> impl Strategy<Value = PodLookup> {
    let found = (text(), text(), proptest::option::of(text()), annotations())
        .prop_map(|(namespace, name, uid, all)| PodLookup::Found(plan::Pod::new(namespace, name, uid, all)));
    let replaced = text().prop_map(|found_uid| PodLookup::Replaced { found_uid });
    prop_oneof![Just(PodLookup::NotAsked), Just(PodLookup::Missing), replaced, found]
}

fn nads() -> impl Strategy<Value = BTreeMap<plan::NadRef, NadLookup>> {
    let lookup = prop_oneof![
        text().prop_map(NadLookup::Missing),
        text().prop_map(NadLookup::Failed),
        (text(), annotations()).prop_map(|(config, annotations)| {
            NadLookup::Found(plan::Nad::new(plan::NadRef::default(), config, annotations))
        }),
    ];
    proptest::collection::btree_map((text(), text()), lookup, 0..5).prop_map(|all| {
        all.into_iter()
            .map(|((namespace, name), mut lookup)| {
                let reference = plan::NadRef::new(namespace, name);
                if let NadLookup::Found(nad) = &mut lookup {
                    nad.reference = reference.clone();
                }
                (reference, lookup)
            })
            .collect()
    })
}

fn query(answer: &Answer) -> Query {
    let asked = PodRef { namespace: "n".to_owned(), name: "p".to_owned(), uid: None };
    Query {
        pod: (!matches!(answer.pod, PodLookup::NotAsked)).then_some(asked),
        nads: answer.nads.keys().cloned().collect(),
        deadline: std::time::Instant::now(),
    }
}

fn found(answer: Answer) -> Found {
    Found {
        version: 1,
        pod: Outcome::of_pod(answer.pod),
        networks: answer.nads.into_values().map(Into::into).collect(),
        devices: BTreeMap::new(),
    }
}

fn again<T: Serialize + serde::de::DeserializeOwned>(message: &T) -> T {
    serde_json::from_slice(&serde_json::to_vec(message).unwrap()).unwrap()
}

proptest! {
    #[test]
    fn an_answer_survives_the_socket(pod in pod(), nads in nads()) {
        let answer = Answer { pod, nads };
        let back = again(&found(answer.clone())).into_answer(&query(&answer)).unwrap();
        prop_assert_eq!(format!("{back:?}"), format!("{answer:?}"));
    }

    #[test]
    fn an_answer_to_another_question_is_refused(nads in nads(), extra in text()) {
        let answer = Answer { pod: PodLookup::NotAsked, nads };
        let mut asked = query(&answer);
        asked.nads.push(plan::NadRef::new("other", extra));
        prop_assert!(again(&found(answer.clone())).into_answer(&asked).is_err());
        let mut asked = query(&answer);
        asked.pod = Some(PodRef { namespace: String::new(), name: String::new(), uid: None });
        prop_assert!(again(&found(answer)).into_answer(&asked).is_err());
    }

    #[test]
    fn a_record_survives_the_socket(
        namespace in text(), name in text(), uid in proptest::option::of(text()),
        status in proptest::option::of(text()),
        events in proptest::collection::vec((any::<bool>(), text(), text()), 0..4),
    ) {
        let events = events.into_iter().map(|(normal, reason, message)| plan::PlanEvent {
            kind: if normal { plan::EventKind::Normal } else { plan::EventKind::Warning },
            reason,
            message,
        });
        let pod = PodRef { namespace, name, uid };
        let record = engine::Record { pod, status, events: events.collect() };
        let message = Record {
            version: 1,
            caller: Caller::default(),
            timeout_millis: 3000,
            pod: (&record.pod).into(),
            network_status: record.status.clone(),
            events: record.events.iter().map(Into::into).collect(),
        };
        prop_assert_eq!(engine::Record::from(again(&message)), record);
    }

    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = serde_json::from_slice::<Lookup>(&bytes);
        let _ = serde_json::from_slice::<Found>(&bytes);
        let _ = serde_json::from_slice::<Failure>(&bytes);
    }
}

#[test]
fn the_shapes_are_kubernetes_own_and_stay_as_they_are() {
    let nad = plan::Nad::new(
        plan::NadRef::new("test", "lan"),
        r#"{"type":"macvlan"}"#,
        BTreeMap::from([(plan::RESOURCE_NAME_ANNOTATION.to_owned(), "intel.com/x".to_owned())]),
    );
    let nads = BTreeMap::from([
        (nad.reference.clone(), NadLookup::Found(nad)),
        (plan::NadRef::new("test", "none"), NadLookup::Missing("not found".to_owned())),
    ]);
    let pod = PodLookup::Replaced { found_uid: "u2".to_owned() };
    let text = serde_json::to_string(&found(Answer { pod, nads })).unwrap();
    assert_eq!(
        text,
        r#"{"version":1,"pod":{"status":{"reason":"Conflict","message":"another pod has that name","details":{"uid":"u2"}}},"networks":[{"object":{"metadata":{"namespace":"test","name":"lan","annotations":{"k8s.v1.cni.cncf.io/resourceName":"intel.com/x"}},"spec":{"config":"{\"type\":\"macvlan\"}"}}},{"status":{"reason":"NotFound","message":"not found"}}]}"#
    );
}

#[test]
fn unknown_fields_and_unknown_failures_of_a_newer_daemon_are_understood_as_far_as_they_can_be() {
    let failure: Failure = serde_json::from_str(
        r#"{"version":3,"program":"p","failure":"onFire","reason":"smoke","since":"noon"}"#,
    )
    .unwrap();
    assert_eq!((failure.failure, failure.version), (FailureKind::Unavailable, 3));
    let found: Found = serde_json::from_str(r#"{"version":1,"more":{}}"#).unwrap();
    assert!(found.networks.is_empty());
}

#[test]
fn a_timeout_of_the_other_side_is_bounded() {
    let longest = std::time::Duration::from_secs(5);
    let bound = std::time::Instant::now() + longest * 2;
    assert!(deadline(u64::MAX, longest) < bound);
}
