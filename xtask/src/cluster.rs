//! `cargo xtask cluster`: a real Kubernetes cluster on this computer, for a person to try things on.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use testbed::cluster::{Cluster, Containerd, Helm, NodeSpec, Spec};

use crate::say;

const USAGE: &str = "usage: cargo xtask cluster [--name NAME] COMMAND, as root

  up [OPTION...]           bring a cluster up; it stays until `down`
      --node NODE          NAME[,layout=generic|k3s|k3s-old][,containerd=debian|2][,primary=bridge|flannel], repeatable;
                           without any: node1, and node2 with containerd=2
      --k3s                two nodes as k3s makes them, and its version suffix
      --suffix TEXT        what a distribution adds to Kubernetes' version, as in +k3s1
  down                     take it down, in whatever state it is, and remove its folder
  status                   its nodes, services and pods
  kubectl|helm|helm3 ...   run that program on it; helm is Helm 4
  load ARCHIVE...          import OCI archives on all nodes
  exec MACHINE PROGRAM...  run a program on a node or on `control-plane`
  reboot NODE              cut a node's power and boot it again";

/// The cluster that is meant when no name is given.
const NAME: &str = "default";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let (name, arguments) = match arguments {
        [flag, name, rest @ ..] if flag == "--name" => (name.as_str(), rest),
        _ => (NAME, arguments),
    };
    let Some((command, rest)) = arguments.split_first() else { bail!("{USAGE}") };
    match (command.as_str(), rest) {
        ("up", _) => up(&spec(name, rest)?),
        ("down", []) => down(name),
        ("status", []) => status(&Cluster::open(name)?),
        ("kubectl", _) => become_program(Cluster::open(name)?.kubectl().args(rest)),
        ("helm", _) => become_program(Cluster::open(name)?.helm(Helm::V4)?.args(rest)),
        ("helm3", _) => become_program(Cluster::open(name)?.helm(Helm::V3)?.args(rest)),
        ("load", [_, ..]) => {
            let cluster = Cluster::open(name)?;
            rest.iter().try_for_each(|archive| cluster.load(Path::new(archive)))
        }
        ("exec", [machine, program, arguments @ ..]) => {
            let cluster = Cluster::open(name)?;
            let machine = match machine.as_str() {
                "control-plane" => cluster.control_plane(),
                node => cluster.node(node)?.machine(),
            };
            become_program(machine.command(program).args(arguments))
        }
        ("reboot", [node]) => Cluster::open(name)?.reboot(node),
        _ => bail!("{USAGE}"),
    }
}

fn spec(name: &str, options: &[String]) -> Result<Spec> {
    let mut spec = Spec::new(name);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let mut value = || options.next().with_context(|| format!("{option} needs a value\n{USAGE}"));
        spec = match option.as_str() {
            "--node" => spec.node(value()?.parse()?),
            "--suffix" => spec.suffix(value()?),
            "--k3s" => spec.suffix("+k3s1").node(NodeSpec::k3s("node1")).node(NodeSpec::k3s("node2")),
            _ => bail!("there is no option {option:?}\n{USAGE}"),
        };
    }
    if spec.nodes.is_empty() {
        spec = spec.node(NodeSpec::new("node1")).node(NodeSpec::new("node2").containerd(Containerd::V2));
    }
    Ok(spec)
}

fn up(spec: &Spec) -> Result<()> {
    crate::test::install_tools()?;
    let start = Instant::now();
    let cluster = Cluster::up_to_stay(spec)?;
    say(&format!("The cluster {:?} is up after {:.1} s.", spec.name, start.elapsed().as_secs_f32()));
    say(&format!("Its files and logs are in {}.", cluster.dir().display()));
    let name = if spec.name == NAME { String::new() } else { format!("--name {} ", spec.name) };
    say(&format!("Next: cargo xtask cluster {name}kubectl get nodes"));
    Ok(())
}

fn down(name: &str) -> Result<()> {
    let existed = Cluster::take_down(name)?;
    say(&if existed {
        format!("The cluster {name:?} is down.")
    } else {
        format!("There is no cluster {name:?}.")
    });
    Ok(())
}

fn status(cluster: &Cluster) -> Result<()> {
    for (machine, service, runs) in cluster.services() {
        say(&format!("{machine:16} {service:24} {}", if runs { "runs" } else { "DOES NOT RUN" }));
    }
    for objects in ["nodes", "pods"] {
        say("");
        let shown = cluster.kubectl().args(["get", objects, "--all-namespaces", "--output=wide"]).status();
        if !shown.context("start kubectl")?.success() {
            bail!("the API server did not show its {objects}; its log is in {}", cluster.dir().display());
        }
    }
    Ok(())
}

/// Signals, the terminal and the exit code are the program's own.
fn become_program(command: &mut Command) -> Result<()> {
    let error = command.exec();
    Err(error).with_context(|| format!("start {command:?}"))
}
