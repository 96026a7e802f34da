//! A primary network that is a NetworkAttachmentDefinition, asked for again and again. Its configuration becomes part of ours, so
//! that no pod has to wait for an API server because of it.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube_cluster::Session;
use node_config::{Error, Origin, Primary};
use serde::Deserialize;

/// How often it is looked at, and how long one look may take.
const EVERY: Duration = Duration::from_secs(30);
const SOON: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(10);

/// What is known: nothing yet, with the reason; or the network, or why there is none.
type Known = Result<Result<Primary, String>, String>;

/// The definition. Dropped, it is asked for no more.
#[derive(Debug)]
pub(crate) struct Definition {
    known: Arc<Mutex<Known>>,
    _end: Sender<()>,
}

#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    spec: Spec,
}

#[derive(Default, Deserialize)]
struct Spec {
    #[serde(default)]
    config: String,
}

impl Definition {
    /// Asks for `namespace/name` from now on.
    pub(crate) fn follow(session: Arc<Session>, namespace: &str, name: &str) -> Self {
        let shown = format!("NetworkAttachmentDefinition {namespace}/{name}");
        let known = Arc::new(Mutex::new(Err(format!("{shown} has not been looked at yet"))));
        let (end, ended) = channel::<()>();
        let shared = Arc::clone(&known);
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        std::thread::spawn(move || {
            loop {
                let found = look(&session, &namespace, &name, &shown);
                let pause = if matches!(found, Ok(Ok(_))) { EVERY } else { SOON };
                {
                    let mut known = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    // What was found once holds while it cannot be asked for.
                    if found.is_ok() || known.is_err() {
                        *known = found;
                    }
                }
                if ended.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
                    return;
                }
            }
        });
        Self { known, _end: end }
    }

    /// What is known now: the network, or why there is none.
    ///
    /// # Errors
    /// [`Error::Missing`] while nothing is known.
    pub(crate) fn now(&self) -> Result<Result<Primary, String>, Error> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone().map_err(Error::Missing)
    }
}

fn look(session: &Session, namespace: &str, name: &str, shown: &str) -> Known {
    let path =
        format!("/apis/k8s.cni.cncf.io/v1/namespaces/{namespace}/network-attachment-definitions/{name}");
    let found: Object = match session.get(format!("get {shown}"), path, Instant::now() + LIMIT) {
        Ok(found) => found,
        // An answer: there is none.
        Err(error) if error.code() == Some(404) => return Ok(Err(format!("there is no {shown}"))),
        Err(error) => return Err(error.to_string()),
    };
    if found.spec.config.trim().is_empty() {
        return Ok(Err(format!("{shown} has no spec.config")));
    }
    let origin = Origin::Definition(namespace.to_owned(), name.to_owned());
    Ok(Primary::parse(origin, found.spec.config.into_bytes()).map_err(|error| error.to_string()))
}
