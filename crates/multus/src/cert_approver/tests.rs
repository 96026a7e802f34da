use std::cell::RefCell;

use serde_json::json;

use super::*;

/// A request that a node's Multus makes; its subject is `CN=system:multus:node1, O=system:multus`.
fn request(name: &str) -> SigningRequest {
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {
            "request": include_str!("tests/request.base64").trim(),
            "signerName": "kubernetes.io/kube-apiserver-client",
            "usages": ["digital signature", "client auth"],
            "expirationSeconds": 600,
            "username": "system:node:node1",
            "groups": ["system:nodes", "system:authenticated"],
        },
    }))
    .unwrap()
}

fn refused() -> Error {
    Error::Denied { attempt: "settle".to_owned(), reason: "no".to_owned(), code: 403 }
}

fn approved() -> Verdict {
    Verdict::Approve { node: "node1".to_owned() }
}

#[test]
fn a_decision_that_is_not_taken_is_told_again_later_and_later_until_it_is() {
    let (said, asked) = (RefCell::new(Vec::new()), RefCell::new(0));
    let settle = |name: &str| {
        assert_eq!(name, "csr-1");
        *asked.borrow_mut() += 1;
        if *asked.borrow() < 4 { Err(refused()) } else { Ok(approved()) }
    };
    let mut approver = Approver::new(settle, |line: &str| said.borrow_mut().push(line.to_owned()));
    let start = Instant::now();
    approver.take(Some(Event::Found(request("csr-1"))), start);
    for (second, expected) in [(0, 1), (1, 2), (2, 2), (3, 3), (6, 3), (7, 4), (100, 4)] {
        approver.take(None, start + Duration::from_secs(second));
        assert_eq!(*asked.borrow(), expected, "after {second} s");
    }
    assert_eq!(*said.borrow(), [r#""csr-1" is tried again: settle: no"#, r#"approved "csr-1": node node1"#]);
    assert_eq!(approver.pause(start), LONGEST_PAUSE);
}

#[test]
fn a_request_that_is_gone_is_not_asked_about_any_more() {
    let mut approver = Approver::new(|_: &str| Err(refused()), |_: &str| {});
    let now = Instant::now();
    approver.take(Some(Event::Found(request("csr-1"))), now);
    assert_eq!(approver.pause(now), Duration::from_secs(1));
    approver.take(Some(Event::Gone(request("csr-1"))), now);
    assert!(approver.waiting.is_empty());
}

#[test]
fn a_flood_of_requests_that_cannot_be_settled_is_bounded() {
    let mut approver = Approver::new(|_: &str| Err(refused()), |_: &str| {});
    let now = Instant::now();
    for number in 0..MOST_WAITING + 10 {
        approver.take(Some(Event::Found(request(&format!("csr-{number}")))), now);
    }
    assert_eq!(approver.waiting.len(), MOST_WAITING);
}

#[test]
fn what_is_others_is_not_asked_for() {
    let mut other = serde_json::to_value(json!({"metadata": {"name": "kubelet"}})).unwrap();
    other["spec"] = json!({"signerName": "kubernetes.io/kubelet-serving", "request": ""});
    let settle = |_: &str| -> Result<Verdict, Error> { panic!("asked for a request of others") };
    let mut approver = Approver::new(settle, |_: &str| {});
    approver.take(Some(Event::Found(serde_json::from_value(other).unwrap())), Instant::now());
}
