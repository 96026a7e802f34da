//! Default routes of a pod, by netlink (NPWG `default-route`; Q1).
//!
//! Upstream looks for default routes without a destination, which its netlink library reports as `0.0.0.0/0`, and so removes
//! none. Here all of them in the main table go, the requested ones come, and both is verified by reading back.

mod message;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType, RouteVia,
};

use self::message::{Message, Verb};
use crate::netns::PodNetns;

/// The number of the table in which a route is looked for first.
pub(crate) const MAIN_TABLE: i64 = RouteHeader::RT_TABLE_MAIN as i64;

/// The metric that the kernel gives to an IPv6 route that asks for none.
const V6_METRIC: u32 = 1024;

/// What has to become of the default routes over one interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    /// IPv4 default routes over the interface go.
    pub(crate) clear_v4: bool,
    /// IPv6 default routes over the interface go.
    pub(crate) clear_v6: bool,
    /// Default routes over the interface that come, the preferred one first.
    pub(crate) gateways: Vec<IpAddr>,
}

impl Wish {
    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        !self.clear_v4 && !self.clear_v6 && self.gateways.is_empty()
    }

    pub(crate) fn clears(&self, v4: bool) -> bool {
        if v4 { self.clear_v4 } else { self.clear_v6 }
    }

    fn of_family(&self, v4: bool) -> impl Iterator<Item = IpAddr> + '_ {
        self.gateways.iter().copied().filter(move |gateway| gateway.is_ipv4() == v4)
    }
}

/// A default route of the main table, as far as it matters here.
#[derive(Debug)]
struct Found {
    message: RouteMessage,
    /// Interface and gateway of each hop.
    hops: Vec<(u32, Option<IpAddr>)>,
}

/// Makes the default routes over `if_name` what `wish` says.
pub(crate) fn apply(netns: &mut PodNetns, if_name: &str, wish: &Wish) -> Result<(), String> {
    let index = netns
        .index_of(if_name)
        .map_err(|error| format!("cannot look up interface {if_name:?} of the pod: {error}"))?
        .ok_or_else(|| {
            format!("the network's plugins left no interface {if_name:?} to set default routes on")
        })?;
    for v4 in [true, false] {
        if wish.clears(v4) {
            clear(netns, index, v4).map_err(|error| {
                format!("cannot remove the {} default route over {if_name:?}: {error}", family_name(v4))
            })?;
        }
        for (position, gateway) in wish.of_family(v4).enumerate() {
            add(netns, index, gateway, position).map_err(|error| {
                format!("cannot add the default route via {gateway} over {if_name:?}: {error}; is {gateway} in a subnet of this interface?")
            })?;
        }
        verify(netns, index, if_name, wish, v4)?;
    }
    Ok(())
}

fn clear(netns: &mut PodNetns, index: u32, v4: bool) -> io::Result<()> {
    for found in defaults(netns, v4)? {
        for deletion in deletions(&found, index, v4) {
            match netns.talk(Verb::Del, deletion, NLM_F_ACK) {
                // Somebody was faster, for example the kernel when a router advertisement expired.
                Err(error) if error.raw_os_error() == Some(3) => {}
                other => drop(other?),
            }
        }
    }
    Ok(())
}

/// What takes a route's hops over one interface away. An IPv6 route over several interfaces comes about by itself, when plugins
/// add routes of the same metric, and can be taken apart; an IPv4 one is made on purpose and goes as a whole or not at all.
fn deletions(found: &Found, index: u32, v4: bool) -> Vec<RouteMessage> {
    let is_ours = |hop: &(u32, Option<IpAddr>)| hop.0 == index;
    if v4 || found.hops.len() == 1 {
        return if found.hops.iter().all(is_ours) { vec![deletion(&found.message)] } else { Vec::new() };
    }
    let ours = found.hops.iter().filter(|hop| is_ours(hop));
    ours.map(|(_, gateway)| {
        let mut message = deletion(&found.message);
        message.attributes.retain(|attribute| matches!(attribute, RouteAttribute::Priority(_)));
        message.attributes.push(RouteAttribute::Oif(index));
        message.attributes.extend(gateway.map(|gateway| RouteAttribute::Gateway(gateway.into())));
        message
    })
    .collect()
}

/// The parts of a route that tell the kernel which one is meant.
fn deletion(found: &RouteMessage) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = found.header.clone();
    message.header.flags = Default::default();
    message.attributes = found
        .attributes
        .iter()
        .filter(|attribute| {
            matches!(
                attribute,
                RouteAttribute::Oif(_)
                    | RouteAttribute::Gateway(_)
                    | RouteAttribute::Via(_)
                    | RouteAttribute::Priority(_)
                    | RouteAttribute::MultiPath(_)
            )
        })
        .cloned()
        .collect();
    message
}

/// Several gateways become routes of rising metric: the first one is used as long as it can be.
fn add(netns: &mut PodNetns, index: u32, gateway: IpAddr, position: usize) -> io::Result<()> {
    let position = u32::try_from(position).unwrap_or(u32::MAX);
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: family(gateway.is_ipv4()),
        table: RouteHeader::RT_TABLE_MAIN,
        protocol: RouteProtocol::Boot,
        scope: RouteScope::Universe,
        kind: RouteType::Unicast,
        ..RouteHeader::default()
    };
    message.attributes = vec![RouteAttribute::Gateway(gateway.into()), RouteAttribute::Oif(index)];
    if position > 0 {
        let first = if gateway.is_ipv4() { 0 } else { V6_METRIC };
        message.attributes.push(RouteAttribute::Priority(first.saturating_add(position)));
    }
    match netns.talk(Verb::New, message, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL) {
        // The same route is there; `verify` sees whether it is over this interface.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map(drop),
    }
}

fn verify(netns: &mut PodNetns, index: u32, if_name: &str, wish: &Wish, v4: bool) -> Result<(), String> {
    let wanted: Vec<IpAddr> = wish.of_family(v4).collect();
    if !wish.clears(v4) && wanted.is_empty() {
        return Ok(());
    }
    let family = family_name(v4);
    let found: Vec<Option<IpAddr>> = defaults(netns, v4)
        .map_err(|error| format!("cannot read back the pod's {family} routes: {error}"))?
        .into_iter()
        .flat_map(|found| found.hops)
        .filter(|(hop, _)| *hop == index)
        .map(|(_, gateway)| gateway)
        .collect();
    if let Some(missing) = wanted.iter().find(|gateway| !found.contains(&Some(**gateway))) {
        return Err(format!(
            "the default route via {missing} over {if_name:?} is not there after it was added; another interface has a default route of the same metric"
        ));
    }
    if wish.clears(v4) && found.iter().any(|gateway| gateway.is_none_or(|gateway| !wanted.contains(&gateway)))
    {
        return Err(format!(
            "an {family} default route over {if_name:?} is still there after it was removed; it is part of a route over several interfaces, or something adds it again"
        ));
    }
    Ok(())
}

fn defaults(netns: &mut PodNetns, v4: bool) -> io::Result<Vec<Found>> {
    let mut request = RouteMessage::default();
    request.header.address_family = family(v4);
    let answers = netns.talk(Verb::Get, request, NLM_F_DUMP)?;
    Ok(answers
        .into_iter()
        .filter(|answer| answer.verb == Verb::New)
        .filter_map(|answer| default_route(answer.route))
        .collect())
}

fn default_route(message: RouteMessage) -> Option<Found> {
    let mut table = u32::from(message.header.table);
    let (mut interface, mut gateway, mut hops) = (None, None, Vec::new());
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(id) => table = *id,
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::MultiPath(paths) => {
                hops.extend(paths.iter().map(|hop| (hop.interface_index, gateway_of(&hop.attributes))));
            }
            _ => gateway = gateway.or(one_gateway(attribute)),
        }
    }
    hops.extend(interface.map(|index| (index, gateway)));
    let is_default = message.header.destination_prefix_length == 0
        && message.header.kind == RouteType::Unicast
        && table == u32::from(RouteHeader::RT_TABLE_MAIN)
        && !hops.is_empty();
    is_default.then_some(Found { message, hops })
}

fn gateway_of(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(one_gateway)
}

fn one_gateway(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        RouteAttribute::Gateway(RouteAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        RouteAttribute::Via(RouteVia::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

fn family(v4: bool) -> AddressFamily {
    if v4 { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn family_name(v4: bool) -> &'static str {
    if v4 { "IPv4" } else { "IPv6" }
}

impl PodNetns {
    /// One request and all its answers. The kernel answers at once; an error's number is all that is kept of its message.
    fn talk(&mut self, verb: Verb, route: RouteMessage, flags: u16) -> io::Result<Vec<Message>> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(Message { verb, route }));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.netlink.send(&bytes, 0)?;
        let mut answers = Vec::new();
        loop {
            let (datagram, _) = self.netlink.recv_from_full()?;
            if self.take_in(&datagram, &mut answers)? {
                return Ok(answers);
            }
        }
    }

    /// Whether the answer is complete.
    fn take_in(&self, datagram: &[u8], answers: &mut Vec<Message>) -> io::Result<bool> {
        let mut rest = datagram;
        while !rest.is_empty() {
            let message = NetlinkMessage::<Message>::deserialize(rest).map_err(|_| {
                io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer cannot be decoded")
            })?;
            // Messages are aligned to four bytes; the last one may lack the padding.
            let length = (message.header.length as usize).next_multiple_of(4).min(rest.len());
            rest = &rest[length.max(1)..];
            if message.header.sequence_number != self.sequence {
                continue;
            }
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(true),
                NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                NetlinkPayload::Error(_) => return Ok(true),
                NetlinkPayload::InnerMessage(inner) => answers.push(inner),
                _ => {}
            }
        }
        Ok(false)
    }
}

/// How a default route's destination is spelled in results: `0.0.0.0/0`, `::/0`, and upstream's `::0/0` (Q36).
pub(crate) fn is_default_destination(destination: &str, v4: bool) -> bool {
    let Some((address, "0")) = destination.split_once('/') else { return false };
    match v4 {
        true => address.parse() == Ok(Ipv4Addr::UNSPECIFIED),
        false => address.parse() == Ok(Ipv6Addr::UNSPECIFIED),
    }
}

#[cfg(test)]
mod tests;
