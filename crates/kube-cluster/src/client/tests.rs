use std::time::Duration;

use testbed::apiserver::{FakeApi, Fault, FaultKind};
use tokio::time::sleep;

use super::*;

/// A server with one pod, and a kubeconfig that leads there.
fn serving(kubeconfig: &std::path::Path) -> FakeApi {
    let api = FakeApi::plain().unwrap();
    api.add_pod_with("ns", "a", "u", &[]);
    api.write_kubeconfig(kubeconfig).unwrap();
    api
}

#[test]
fn a_connection_of_the_old_credentials_is_not_used_after_the_change() {
    let dir = tempfile::tempdir().unwrap();
    let kubeconfig = dir.path().join("kubeconfig");
    let old = serving(&kubeconfig);
    let kind = FaultKind::Delay(Duration::from_secs(1));
    old.add_fault(Fault { method: String::new(), path: String::new(), times: 1, kind });
    let client = Arc::new(Client::new(Source::Kubeconfig(kubeconfig.clone())).unwrap());
    let get = Request::get("get pod".to_owned(), "/api/v1/namespaces/ns/pods/a".to_owned());
    let deadline = Instant::now() + Duration::from_secs(30);
    crate::runtime().unwrap().block_on(async {
        let under_way = {
            let (client, get) = (Arc::clone(&client), get.clone());
            tokio::spawn(async move { client.call(&get, deadline).await })
        };
        while old.requests().is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
        let new = serving(&kubeconfig);
        assert!(client.read_again().await.unwrap());
        client.call(&get, deadline).await.unwrap();
        under_way.await.unwrap().unwrap();
        client.call(&get, deadline).await.unwrap();
        assert_eq!((old.requests().len(), new.requests().len()), (1, 2));
    });
}
