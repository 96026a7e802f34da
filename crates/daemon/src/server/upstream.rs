//! Upstream's shim and its hot-plug controller, whose calls this daemon does not carry out: it runs no plugin. They are always
//! answered, with what happens instead.

use std::path::Path;

use engine::{About, Level};
use libcni::CniError;
use protocol::upstream::Request;

use super::Server;
use super::reply::Reply;
use crate::backend::Backend;

/// `POST /cni`: a whole CNI call of upstream's shim, which an upgrade has not replaced yet.
pub(super) async fn cni<B: Backend>(server: &Server<B>, body: Vec<u8>) -> Reply {
    let request = match Request::parse(&body) {
        Ok(request) => request,
        Err(error) => return Reply::text(400, format!("{error}\n")),
    };
    let verb = request.variable("CNI_COMMAND");
    let id = request.variable("CNI_CONTAINERID");
    let args = libcni::args::parse(request.variable("CNI_ARGS")).unwrap_or_default();
    let value = |key| args.iter().find(|(name, _)| name == key).map_or("", |(_, value)| value.as_str());
    let pod = format!("{}/{}", value("K8S_POD_NAMESPACE"), value("K8S_POD_NAME"));
    let about = About { sandbox: id, pod: &pod, network: "" };
    // An error would make the node NotReady, and nothing is known to be wrong with the default network.
    if verb == "STATUS" {
        return Reply::empty();
    }
    let msg = match verb {
        "" => "could not extract the CNI command args: unexpected or missing CNI_COMMAND".to_owned(),
        "DEL" => kept(server.options.cni_dir.as_deref(), id, &server.options.program),
        _ => not_served(verb, &server.options.program),
    };
    server.log.about(Level::Error, about, format_args!("upstream's shim: {msg}"));
    Reply::json(400, &CniError::new(CniError::TRY_AGAIN, msg, ""))
}

fn not_served(verb: &str, program: &str) -> String {
    format!(
        "{verb} is not served to upstream's multus-shim (Multus 4, POST /cni) by {program}, which attaches in its own shim on the \
         host: this node's multus-shim has to be the one of {program}; its init container install_multus puts it into the CNI \
         binary directory"
    )
}

/// Upstream's shim reports a failing DEL nowhere, so nobody calls again. What was attached is in the sandbox's journal, which both
/// write; our shim frees what is in there once the sandbox is gone.
fn kept(cni_dir: Option<&Path>, id: &str, program: &str) -> String {
    if libcni::container_id(id).is_err() {
        return format!(
            "DEL of a sandbox whose CNI_CONTAINERID {:?} is none",
            id.chars().take(64).collect::<String>()
        );
    }
    let why = not_served("DEL", program);
    match cni_dir.map(|dir| dir.join(id)) {
        Some(journal) if journal.exists() => format!(
            "nothing was detached yet: {} stays, and the next call of that shim after the sandbox is gone frees what it names. {why}",
            journal.display()
        ),
        Some(journal) => format!(
            "nothing was detached, and {} does not exist: what plugins still hold for sandbox {id} has to be freed by their GC. {why}",
            journal.display()
        ),
        None => format!(
            "nothing was detached yet: the next call of that shim after the sandbox is gone frees what its journal names. {why}"
        ),
    }
}

/// `POST /delegate`: a plugin run on demand, for hot-plug.
pub(super) fn delegate() -> Reply {
    Reply::text(
        501,
        "hot-plug is not available: this daemon runs no plugin. It needs the privileged agent, which this installation does not \
         have; a chart that ships it has the value agent.enabled\n"
            .to_owned(),
    )
}
