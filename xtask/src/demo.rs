//! `cargo xtask demo`: three example pods, attached, looked at, used and detached, in namespaces of this process's own.
//!
//! The outer half builds what is needed and starts this program again in a new network and mount namespace (for an ordinary
//! user in a user namespace too); the inner half is the demo. Start reading at `play`.

mod paint;
mod reach;
mod residue;
mod stage;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use testbed::Netns;

use crate::{cni, say};
use paint::{Page, milliseconds};
use residue::Residue;
use stage::{PODS, Stage, WRONG};

/// Tells the inner half what the outer half built.
const MULTUS: &str = "MULTUS_DEMO_PROGRAM";
const PLUGINS: &str = "MULTUS_DEMO_PLUGINS";
const NETWORKS: &str = "k8s.v1.cni.cncf.io/networks";

/// Runs the demo.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if let Some(unknown) = arguments.first() {
        bail!("the demo takes no arguments, not even {unknown:?}");
    }
    if let (Some(multus), Some(plugins)) = (std::env::var_os(MULTUS), std::env::var_os(PLUGINS)) {
        return play(multus.into(), plugins.into());
    }
    say("multus-rs demo: three pods on four networks. Nothing of this machine's own network is touched.");
    say("");
    require_tools()?;
    say("Building multus and fetching the CNI reference plugins");
    let start = Instant::now();
    let multus = crate::build::debug_multus()?;
    let plugins = testbed::parts::reference_plugins()?;
    say(&format!("   done in {:.1} s", start.elapsed().as_secs_f32()));
    let environment = [(MULTUS, path(&multus)?), (PLUGINS, path(&plugins)?)];
    let status = testbed::enter(&environment)?.context("the demo is in its namespace before it began")?;
    if !status.success() {
        bail!("the demo did not end well");
    }
    Ok(())
}

fn path(path: &std::path::Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

/// Says at once what the machine lacks, and gets portmap's tool where that is allowed.
fn require_tools() -> Result<()> {
    let root = rustix::process::geteuid().is_root();
    for (tool, package) in [("ip", "iproute2"), ("unshare", "util-linux"), ("nsenter", "util-linux")] {
        if !crate::test::on_path(tool) {
            bail!("the demo needs `{tool}`; on Debian: apt-get install {package}");
        }
    }
    let flags = if root { "-nm" } else { "-rnm" };
    let allowed =
        std::process::Command::new("unshare").args([flags, "true"]).output().context("start unshare")?;
    if !allowed.status.success() {
        bail!(
            "this user may not make namespaces: {}; run the demo as root, or allow user namespaces (sysctl \
             kernel.unprivileged_userns_clone=1, or kernel.apparmor_restrict_unprivileged_userns=0)",
            String::from_utf8_lossy(&allowed.stderr).trim()
        );
    }
    if root && !crate::test::on_path("iptables") && !crate::test::on_path("nft") {
        say("Installing iptables, which the portmap plugin drives (apt-get install iptables)");
        if let Err(error) = crate::test::install(&["iptables"]) {
            say(&format!("   {error:#}; the demo goes on without port mappings"));
        }
    }
    Ok(())
}

/// The demo itself.
fn play(multus: PathBuf, plugins: PathBuf) -> Result<()> {
    let mut page = Page::new();
    let stage = Stage::set(multus, plugins)?;
    introduce(&mut page, &stage);
    attach(&mut page, &stage)?;
    look(&mut page, &stage)?;
    reach(&mut page, &stage);
    show_status(&mut page, &stage);
    refuse(&mut page, &stage)?;
    let before = Residue::of(&stage)?;
    detach(&mut page, &stage)?;
    prove_clean(&mut page, &before, &Residue::of(&stage)?);
    say("");
    match page.faults.as_slice() {
        [] => say(
            "All as it should be. The manifests are in examples/; docs/standalone.md says how to use them for real.",
        ),
        faults => bail!("{} of the above is not as it should be:\n  {}", faults.len(), faults.join("\n  ")),
    }
    Ok(())
}

fn introduce(page: &mut Page, stage: &Stage) {
    page.heading("The configuration that a container runtime would find in /etc/cni/net.d");
    page.text(&stage.netconf());
    page.text("");
    page.text("\"manifests\" stands where a cluster has a kubeconfig: the pods and networks of examples/ are read from there.");
    if let Some(reason) = &stage.no_port_mappings {
        page.text(&format!("Port mappings are left out of this run: {reason}."));
    }
}

fn call(stage: &Stage, verb: &str, pod: &str) -> Result<(Output, Duration)> {
    let environment = cni::environment(verb, &stage.sandbox(pod), "eth0", &stage.plugins);
    let mut command = cni::command(&stage.multus, &environment, stage.netconf().as_bytes())?;
    let start = Instant::now();
    let output = command.output().with_context(|| format!("start {}", stage.multus.display()))?;
    Ok((output, start.elapsed()))
}

/// Whether a call succeeded, for a verdict.
fn outcome(output: &Output, took: Duration) -> Result<String, String> {
    if output.status.success() { Ok(milliseconds(took)) } else { Err(cni::error_text(output)) }
}

fn attach(page: &mut Page, stage: &Stage) -> Result<()> {
    page.heading("Three pods start: the runtime calls multus with ADD");
    for pod in PODS {
        let manifest = std::fs::read_to_string(stage.manifests.join(format!("{pod}.yaml")))?;
        let manifest: Value =
            serde_saphyr::from_str(&manifest).with_context(|| format!("read {pod}.yaml"))?;
        let annotation = manifest["metadata"]["annotations"][NETWORKS].as_str().unwrap_or_default();
        let (output, took) = call(stage, "ADD", pod)?;
        page.verdict(&format!("{pod:<9} {}", names(annotation)), outcome(&output, took));
    }
    Ok(())
}

/// The networks that an annotation names, in either form.
fn names(annotation: &str) -> String {
    let list: Result<Vec<Value>, _> = serde_json::from_str(annotation);
    let Ok(list) = list else { return annotation.trim().to_owned() };
    list.iter().filter_map(|item| item["name"].as_str()).collect::<Vec<_>>().join(", ")
}

fn look(page: &mut Page, stage: &Stage) -> Result<()> {
    page.heading("What they got, read back from inside each pod");
    let mut rows = Vec::new();
    for pod in PODS {
        rows.extend(interfaces(stage, pod)?);
    }
    page.table(&["POD", "INTERFACE", "NETWORK", "ADDRESS", "MAC", "MTU", "ROUTES"], &rows);
    page.text("");
    let has = |pod: &str, interface: &str, column: usize, value: &str| {
        let found =
            rows.iter().find(|row| row[0] == pod && row[1] == interface).map(|row| row[column].clone());
        match found {
            Some(found) if found.contains(value) => Ok(String::new()),
            Some(found) => Err(format!("found {found:?}, expected {value:?}")),
            None => Err(format!("pod {pod} has no interface {interface}")),
        }
    };
    page.verdict(
        "web has its networks in the order named",
        has("web", "net1", 2, "storage").and(has("web", "net2", 2, "lan")),
    );
    page.verdict("database has the address that it asked for", has("database", "data0", 3, "10.10.0.50/24"));
    page.verdict("database has the MAC that it asked for", has("database", "data0", 4, "02:00:5e:10:00:50"));
    page.verdict("gateway's default route leads to dmz", has("gateway", "dmz", 6, "default via 10.30.0.1"));
    let moved = match has("gateway", "eth0", 6, "default") {
        Ok(_) => Err("eth0 still has a default route".to_owned()),
        Err(_) => Ok(String::new()),
    };
    page.verdict("gateway has no other default route", moved);
    page.verdict("tuning, second in dmz's chain, set the MTU", has("gateway", "dmz", 5, "1400"));
    Ok(())
}

/// One row for each interface of a pod but the loopback.
fn interfaces(stage: &Stage, pod: &str) -> Result<Vec<Vec<String>>> {
    let netns = &stage.pods[pod];
    let (addresses, routes, status) = (netns.addresses()?, netns.routes()?, stage.status(pod));
    let network = |interface: &str| {
        let entries = status["networkStatus"].as_array().into_iter().flatten();
        let entry = entries.into_iter().find(|entry| entry["interface"] == interface);
        let name = entry.and_then(|entry| entry["name"].as_str()).unwrap_or("?");
        name.strip_prefix("default/").unwrap_or(name).to_owned()
    };
    let mut links = netns.links()?;
    links.sort_by_key(|link| link["ifindex"].as_u64());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows = links.iter().filter(|link| link["ifname"] != "lo").map(|link| {
        let name = text(&link["ifname"]);
        let routes = routes.iter().filter(|route| route["dev"] == *name).filter_map(|route| {
            Some(format!("{} via {}", route["dst"].as_str()?, route["gateway"].as_str()?))
        });
        vec![
            pod.to_owned(),
            name.clone(),
            network(&name),
            addresses.get(&name).map(|found| found.join(", ")).unwrap_or_default(),
            text(&link["address"]),
            link["mtu"].to_string(),
            routes.collect::<Vec<_>>().join(", "),
        ]
    });
    Ok(rows.collect())
}

/// The IPv4 address of an interface.
fn address(netns: &Netns, interface: &str) -> Result<IpAddr> {
    let addresses = netns.addresses()?;
    let first = addresses.get(interface).and_then(|found| found.first());
    let first = first.with_context(|| format!("{} has no address on {interface}", netns.name()))?;
    first.split('/').next().unwrap_or_default().parse().with_context(|| format!("read the address {first}"))
}

fn reach(page: &mut Page, stage: &Stage) {
    page.heading("Traffic across the secondary networks");
    let pods = &stage.pods;
    let to = |pod: &str, interface: &str| address(&pods[pod], interface);
    let tries: [(&str, &Netns, Result<IpAddr>); 5] = [
        ("web -> database, over storage", &pods["web"], to("database", "data0")),
        ("database -> web, over storage", &pods["database"], to("web", "net1")),
        ("web -> gateway, over lan", &pods["web"], to("gateway", "net1")),
        (
            "web -> the router behind the card, over lan",
            &pods["web"],
            Ok(Ipv4Addr::new(192, 168, 50, 1).into()),
        ),
        (
            "gateway -> its default gateway, over dmz",
            &pods["gateway"],
            Ok(Ipv4Addr::new(10, 30, 0, 1).into()),
        ),
    ];
    for (what, from, address) in tries {
        let answer =
            address.and_then(|address| Ok(format!("{:<15} {}", address, reach::reach(from, address)?)));
        page.verdict(what, answer.map_err(|error| format!("{error:#}")));
    }
    if stage.no_port_mappings.is_none() {
        let port = (Ipv4Addr::new(10, 30, 0, 1), 8080).into();
        let answer = reach::through_port(port, &pods["gateway"], 80);
        let answer = answer.map(|took| format!("{:<15} {took}", "TCP")).map_err(|error| format!("{error:#}"));
        page.verdict("node port 8080 -> gateway port 80, by portmap", answer);
    }
}

fn show_status(page: &mut Page, stage: &Stage) {
    page.heading("The status: in a cluster an annotation of the pod, here a file beside its manifest");
    page.text(&stage.status_text("database"));
    let status = &stage.status("database")["networkStatus"];
    page.text("");
    let entries = status.as_array().map_or(0, Vec::len);
    let told = if entries == 2 { Ok(String::new()) } else { Err(format!("it has {entries} entries")) };
    page.verdict("one entry for each of its two networks", told);
}

fn refuse(page: &mut Page, stage: &Stage) -> Result<()> {
    page.heading("A wrong annotation: pod wrong-pod asks lan for a limit that lan cannot set");
    let (output, _) = call(stage, "ADD", WRONG)?;
    let error = cni::error_text(&output);
    page.paragraph(&error);
    page.text("");
    let named = ["lan", "bandwidth"].iter().all(|word| error.contains(word));
    let refused = match (output.status.success(), named) {
        (true, _) => Err("it was attached".to_owned()),
        (false, false) => Err("the error does not name network and key".to_owned()),
        (false, true) => Ok(String::new()),
    };
    page.verdict("refused, and the error names network and key", refused);
    let links = stage.pods[WRONG].link_names()?;
    let bare = if links.is_empty() { Ok(String::new()) } else { Err(format!("it has {}", links.join(", "))) };
    page.verdict("and nothing was attached", bare);
    // As a runtime does after a failed ADD.
    let (output, took) = call(stage, "DEL", WRONG)?;
    page.verdict("DEL after the failed ADD", outcome(&output, took));
    Ok(())
}

fn detach(page: &mut Page, stage: &Stage) -> Result<()> {
    page.heading("The pods end: the runtime calls multus with DEL");
    for pod in PODS {
        let (output, took) = call(stage, "DEL", pod)?;
        page.verdict(pod, outcome(&output, took));
    }
    Ok(())
}

fn prove_clean(page: &mut Page, before: &Residue, after: &Residue) {
    page.heading("What is left on the node");
    let count = |items: &[String]| items.len().to_string();
    let rows: Vec<_> = before
        .0
        .iter()
        .zip(&after.0)
        .map(|((kind, before), (_, after))| vec![(*kind).to_owned(), count(before), count(after)])
        .collect();
    page.table(&["", "BEFORE DEL", "AFTER"], &rows);
    page.text("");
    let left: Vec<_> = after
        .0
        .iter()
        .flat_map(|(kind, items)| items.iter().map(move |item| format!("{kind}: {item}")))
        .collect();
    page.verdict("nothing is left", if left.is_empty() { Ok(String::new()) } else { Err(left.join("; ")) });
    // A count that could not see anything would also end at zero.
    let unseen: Vec<_> =
        before.0.iter().filter(|(kind, items)| items.is_empty() && *kind != "records not yet made").collect();
    let seen = if unseen.is_empty() {
        Ok(String::new())
    } else {
        Err(format!("{} could not be seen before", unseen[0].0))
    };
    page.verdict("and it was there before", seen);
}
