use std::time::Duration;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use testbed::apiserver::{FakeApi, Fault, FaultKind};

use super::*;
use crate::certificate::NodeCertificate;
use crate::{Api, Source};

const NODE: &str = "node1";

/// A request in PEM, in base64 as the API has it.
fn pem(change: impl FnOnce(&mut CertificateParams)) -> String {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = name(&["system:multus"], &["system:multus:node1"]);
    change(&mut params);
    STANDARD.encode(params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap())
}

fn name(organizations: &[&str], common_names: &[&str]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    organizations.iter().for_each(|text| name.push(DnType::OrganizationName, *text));
    common_names.iter().for_each(|text| name.push(DnType::CommonName, *text));
    name
}

/// What upstream's daemon asks for, by the kubelet's credentials.
fn good() -> Value {
    json!({
        "metadata": {"name": "csr-1", "uid": "u1"},
        "spec": {
            "request": pem(|_| {}),
            "signerName": "kubernetes.io/kube-apiserver-client",
            "usages": ["digital signature", "client auth"],
            "expirationSeconds": 600,
            "username": format!("system:node:{NODE}"),
            "groups": ["system:nodes", "system:authenticated"],
        },
        "status": {},
    })
}

fn judge(change: impl FnOnce(&mut Value)) -> Verdict {
    let mut request = good();
    change(&mut request);
    SigningRequest::deserialize(&request).unwrap().judge()
}

fn reason(change: impl FnOnce(&mut Value)) -> String {
    match judge(change) {
        Verdict::Deny(reason) => reason,
        other => panic!("not denied: {other:?}"),
    }
}

fn approve() -> Verdict {
    Verdict::Approve { node: NODE.to_owned() }
}

#[test]
fn a_node_s_first_request_and_its_renewal_are_approved() {
    assert_eq!(judge(|_| {}), approve());
    let renewal = |request: &mut Value| {
        request["spec"]["username"] = "system:multus:node1".into();
        request["spec"]["groups"] = json!(["system:multus", "system:authenticated"]);
    };
    assert_eq!(judge(renewal), approve());
    assert_eq!(judge(|request| request["spec"]["expirationSeconds"] = LONGEST.into()), approve());
    assert_eq!(
        judge(|request| request["spec"]["usages"] = json!(["client auth", "digital signature"])),
        approve()
    );
}

/// What `openssl req` makes of the same subject.
#[test]
fn a_request_that_another_program_made_is_read_as_well() {
    let theirs = include_str!("../../../multus/src/cert_approver/tests/request.base64").trim();
    assert_eq!(judge(|request| request["spec"]["request"] = theirs.into()), approve());
}

#[test]
fn what_our_own_daemon_asks_for_is_approved() {
    let dir = tempfile::tempdir().unwrap();
    let own = NodeCertificate {
        node: NODE.to_owned(),
        dir: dir.path().to_owned(),
        bootstrap: dir.path().join("none"),
        duration: Duration::from_secs(600),
    };
    let body = own.signing_request(&KeyPair::generate().unwrap()).unwrap();
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let same = |request: &mut Value| {
        for key in ["request", "signerName", "usages", "expirationSeconds"] {
            request["spec"][key] = asked["spec"][key].clone();
        }
    };
    assert_eq!(judge(same), approve());
}

#[test]
fn who_asks_must_be_the_node_itself() {
    for user in ["system:serviceaccount:kube-system:multus", "kubernetes-admin", "", "system:node:", "node1"]
    {
        let reason = reason(|request| request["spec"]["username"] = user.into());
        assert!(reason.contains("unexpected user") || reason.contains("DNS subdomain"), "{user}: {reason}");
    }
    // Another node's kubelet.
    let other = reason(|request| request["spec"]["username"] = "system:node:node2".into());
    assert!(other.contains(r#"commonName to be "system:multus:node2""#), "{other}");
    for node in ["Node1", "-a", "a..b", "a\nb", &"a".repeat(254)] {
        let reason = reason(|request| request["spec"]["username"] = format!("system:node:{node}").into());
        assert!(reason.contains("not a valid DNS subdomain") && !reason.contains('\n'), "{node}: {reason}");
    }
}

#[test]
fn groups_say_what_a_user_is_and_more_of_them_are_too_many() {
    for groups in [
        json!(["system:nodes", "system:authenticated", "system:masters"]),
        json!(["system:authenticated"]),
        json!(["system:multus", "system:authenticated"]),
        json!([]),
        Value::Null,
    ] {
        let reason = reason(|request| request["spec"]["groups"] = groups.clone());
        assert!(reason.contains("unexpected groups"), "{groups}: {reason}");
    }
}

#[test]
fn the_certificate_is_a_client_s_and_nothing_else() {
    for usages in [
        json!(["digital signature", "client auth", "server auth"]),
        json!(["digital signature"]),
        json!(["server auth"]),
        json!(["digital signature", "client auth", "any"]),
        Value::Null,
    ] {
        let reason = reason(|request| request["spec"]["usages"] = usages.clone());
        assert!(reason.contains("unexpected usages"), "{usages}: {reason}");
    }
}

#[test]
fn its_life_is_given_and_a_year_at_most() {
    for (seconds, part) in [
        (Value::Null, "without specifying"),
        (json!(LONGEST + 1), "invalid expirationSeconds"),
        (json!(0), "invalid expirationSeconds"),
        (json!(-600), "invalid expirationSeconds"),
        (json!(i64::MAX), "invalid expirationSeconds"),
    ] {
        let reason = reason(|request| request["spec"]["expirationSeconds"] = seconds.clone());
        assert!(reason.contains(part), "{seconds}: {reason}");
    }
}

#[test]
fn the_subject_is_the_node_s_and_nothing_beside_it() {
    let with = |names: DistinguishedName| {
        move |request: &mut Value| {
            request["spec"]["request"] = pem(|params| params.distinguished_name = names).into();
        }
    };
    let ours = ["system:multus:node1"];
    for (names, part) in [
        (name(&["system:multus"], &["system:multus:node2"]), "commonName"),
        (name(&["system:multus"], &["system:multus:node1:x"]), "commonName"),
        (name(&["system:multus"], &["system:multus"]), "commonName"),
        (name(&["system:multus"], &["system:multusnode1"]), "commonName"),
        (name(&["system:masters"], &ours), "organization"),
        (name(&[], &ours), "organization"),
    ] {
        let reason = reason(with(names));
        assert!(reason.contains(part), "{part}: {reason}");
    }
    let mut unit = name(&["system:multus"], &ours);
    unit.push(DnType::OrganizationalUnitName, "system:masters");
    assert!(reason(with(unit)).contains("asks for more"));
}

/// The signer copies alternative names into the certificate, whoever may read them there.
#[test]
fn names_beside_the_subject_are_refused() {
    let reason = reason(|request| {
        request["spec"]["request"] = pem(|params| {
            params.subject_alt_names =
                vec![rcgen::SanType::DnsName("kubernetes.default".try_into().unwrap())];
        })
        .into();
    });
    assert!(reason.contains("alternative names"), "{reason}");
}

/// rcgen keeps one value of a kind; a hostile client need not.
#[test]
fn several_names_of_one_kind_are_refused() {
    let several = |common_names: &[&str], organizations: &[&str]| Subject {
        common_names: common_names.iter().map(|name| (*name).to_owned()).collect(),
        organizations: organizations.iter().map(|name| (*name).to_owned()).collect(),
        others: 0,
        extensions: false,
    };
    let (good, organization) = ("system:multus:node1", "system:multus");
    assert!(several(&[good], &[organization]).is(good).is_ok());
    assert!(several(&["system:admin", good], &[organization]).is(good).is_err());
    assert!(several(&[good, "system:admin"], &[organization]).is(good).is_err());
    assert!(several(&[good], &[organization, "system:masters"]).is(good).is_err());
}

#[test]
fn what_asks_for_no_name_of_multus_is_left_to_others() {
    let admin = |request: &mut Value| {
        let names = name(&["system:masters"], &["admin"]);
        request["spec"]["request"] = pem(|params| params.distinguished_name = names).into();
    };
    assert_eq!(judge(admin), Verdict::NotOurs);
    for signer in ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet", ""] {
        assert_eq!(judge(|request| request["spec"]["signerName"] = signer.into()), Verdict::NotOurs);
    }
}

/// What this and the signer could read differently is not read at all.
#[test]
fn only_one_block_of_pem_is_a_request() {
    let text = String::from_utf8(STANDARD.decode(pem(|_| {})).unwrap()).unwrap();
    let der = STANDARD
        .decode(text.trim().strip_prefix(BEGIN).unwrap().strip_suffix(END).unwrap().replace(['\r', '\n'], ""))
        .unwrap();
    let block = |der: &[u8]| format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(der));
    assert!(subject(&STANDARD.encode(block(&der))).is_some());
    let mut longer = der.clone();
    longer.push(0);
    for broken in [
        format!("{text}{text}"),
        format!("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n{text}"),
        format!("hello\n{text}"),
        text.replace(BEGIN, &format!("{BEGIN}\nProc-Type: 4,ENCRYPTED\n")),
        text.replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"),
        block(&longer),
        block(&der[..der.len() - 1]),
        block(b""),
        String::new(),
    ] {
        assert!(subject(&STANDARD.encode(&broken)).is_none(), "{broken}");
        let ours = judge(|request| request["spec"]["request"] = STANDARD.encode(&broken).into());
        assert_eq!(ours, Verdict::NotOurs);
    }
    assert!(subject("not base64!").is_none());
}

#[test]
fn what_is_decided_stays_decided() {
    for status in [
        json!({"conditions": [{"type": "Approved"}]}),
        json!({"conditions": [{"type": "Denied"}]}),
        json!({"certificate": "AAAA"}),
    ] {
        assert_eq!(judge(|request| request["status"] = status.clone()), Verdict::Settled);
    }
    assert_eq!(judge(|request| request["status"] = json!({"conditions": [{"type": "Failed"}]})), approve());
}

fn settle_at(api: &FakeApi) -> Result<Verdict, Error> {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::Kubeconfig(api.write_kubeconfig(&dir.path().join("kubeconfig")).unwrap());
    let api = Api::new(source).unwrap();
    crate::runtime().unwrap().block_on(api.settle("csr-1", Instant::now() + Duration::from_secs(20)))
}

fn conditions(api: &FakeApi) -> Value {
    api.signing_request("csr-1").unwrap()["status"]["conditions"].clone()
}

#[test]
fn an_approval_and_its_event_reach_the_api_server() {
    let api = FakeApi::plain().unwrap();
    let mut request = good();
    request["spec"]["someNewField"] = json!({"kept": [1]});
    api.add_signing_request(request);
    assert_eq!(settle_at(&api).unwrap(), approve());
    assert_eq!(
        conditions(&api),
        json!([{"type": "Approved", "status": "True", "reason": "AutoApproved", "message": "Auto-approved CSR \"csr-1\""}])
    );
    let put = api.requests().into_iter().find(|request| request.method == "PUT").unwrap();
    let body: Value = serde_json::from_slice(&put.body).unwrap();
    assert_eq!(body["spec"]["someNewField"], json!({"kept": [1]}), "nothing of a newer Kubernetes is lost");
    let events = api.events();
    assert_eq!((events[0].reason.as_str(), events[0].component.as_str()), ("CSRApproved", "cert-approver"));
    assert_eq!(events[0].about, "CertificateSigningRequest /csr-1");
    // Again: nothing happens.
    assert_eq!(settle_at(&api).unwrap(), Verdict::Settled);
    assert_eq!(api.events().len(), 1);
}

/// Upstream sends denials where the API server ignores them.
#[test]
fn q33_a_denial_goes_where_it_counts() {
    let api = FakeApi::plain().unwrap();
    let mut request = good();
    request["spec"]["usages"] = json!(["server auth"]);
    api.add_signing_request(request);
    assert!(matches!(settle_at(&api).unwrap(), Verdict::Deny(_)));
    let condition = &conditions(&api)[0];
    assert_eq!((&condition["type"], &condition["reason"]), (&"Denied".into(), &"CSRDenied".into()));
    let event = &api.events()[0];
    assert_eq!((event.event_type.as_str(), event.reason.as_str()), ("Warning", "CSRDenied"));
    assert!(
        event.message.starts_with(r#"The CSR "csr-1" has been denied by csr-approver: CSR "#),
        "{event:?}"
    );
}

/// Upstream's program dies of it.
#[test]
fn q33_a_request_that_is_gone_is_settled() {
    let api = FakeApi::plain().unwrap();
    assert_eq!(settle_at(&api).unwrap(), Verdict::Settled);
}

#[test]
fn a_request_that_changed_meanwhile_is_judged_anew() {
    let api = FakeApi::plain().unwrap();
    api.add_signing_request(good());
    let conflict = FaultKind::Status(409, "Conflict".to_owned(), "the object has been modified".to_owned());
    api.add_fault(Fault { method: "PUT".to_owned(), path: "approval".to_owned(), times: 1, kind: conflict });
    assert_eq!(settle_at(&api).unwrap(), approve());
    let read = api.requests().into_iter().filter(|request| request.method == "GET").count();
    assert_eq!(read, 2);
}

#[test]
fn without_the_right_to_approve_the_error_says_so() {
    let api = FakeApi::plain().unwrap();
    api.add_signing_request(good());
    let why = "user not permitted to approve requests with signerName".to_owned();
    let forbidden = FaultKind::Status(403, "Forbidden".to_owned(), why);
    api.add_fault(Fault { method: "PUT".to_owned(), path: "approval".to_owned(), times: 1, kind: forbidden });
    let error = settle_at(&api).unwrap_err();
    assert!(error.code() == Some(403) && error.to_string().contains("csr-1"), "{error}");
    assert!(conditions(&api).is_null() && api.events().is_empty());
}
