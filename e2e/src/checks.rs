//! What several scenarios end with.

use crate::networks::{BRIDGE, MACVLAN, bridge_and_macvlan};
use crate::{Leftovers, Pod, World};

/// Two pods with a bridge and a macvlan network, on the first and on the last node, that see each other.
#[derive(Debug)]
pub struct Pair {
    pods: [Pod; 2],
}

const ADDRESSES: [&str; 2] = ["10.56.0.1/24", "10.56.0.2/24"];

impl Pair {
    /// Creates the networks and the pods, named after `name`, and looks at them from inside.
    ///
    /// # Panics
    /// When a pod lacks an interface, an address or its status, or does not reach the other.
    #[must_use]
    pub fn start(world: &World, name: &str) -> Self {
        let apply = world.apply(&format!("{BRIDGE}---{MACVLAN}"));
        apply.unwrap_or_else(|error| panic!("create the networks: {error:?}"));
        let nodes = world.cluster().nodes();
        let (first, last) = (nodes[0].name(), nodes[nodes.len() - 1].name());
        let pods = [("1", first, ADDRESSES[0]), ("2", last, ADDRESSES[1])].map(|(suffix, node, address)| {
            Pod::new(&format!("{name}-{suffix}"), node).networks(bridge_and_macvlan(address))
        });
        world.start(&pods).unwrap_or_else(|error| panic!("{error:?}"));
        let pair = Self { pods };
        pair.look(world);
        pair
    }

    /// Looks at both pods: interfaces, addresses, status, and whether they reach each other over macvlan.
    ///
    /// # Panics
    /// When something is not as it should be.
    pub fn look(&self, world: &World) {
        for (pod, address) in self.pods.iter().zip(ADDRESSES) {
            let interfaces = world.interfaces(&pod.name).unwrap_or_else(|error| panic!("{error:?}"));
            let names: Vec<_> = interfaces.keys().map(String::as_str).collect();
            assert_eq!(names, ["eth0", "net1", "net2"], "interfaces of {}", pod.name);
            assert_eq!(interfaces["net2"], [address], "{}", pod.name);
            let status = world.network_status(&pod.name).unwrap_or_else(|error| panic!("{error:?}"));
            let names: Vec<_> = status.iter().filter_map(|entry| entry["name"].as_str()).collect();
            assert_eq!(names, ["cbr0", "default/bridge", "default/macvlan"], "status of {}", pod.name);
            let ip = address.split('/').next().unwrap_or(address);
            assert_eq!(status[2]["ips"][0], ip, "status of {}", pod.name);
        }
        for (from, to) in [(0, 1), (1, 0)] {
            let ip = ADDRESSES[to].split('/').next().unwrap_or_default();
            let ping = world.exec(&self.pods[from].name, &format!("ping -c 2 -W 2 -I net2 {ip}"));
            ping.unwrap_or_else(|error| {
                panic!("{} does not reach the other: {error:?}", self.pods[from].name)
            });
        }
    }

    /// Deletes both pods, and sees that nothing of them is left on the nodes.
    ///
    /// # Panics
    /// When something is.
    pub fn end(self, world: &World) {
        world.delete(&self.pods).unwrap_or_else(|error| panic!("{error:?}"));
        Leftovers::wait_until_none(world.cluster().nodes()).unwrap_or_else(|error| panic!("{error:?}"));
    }
}
