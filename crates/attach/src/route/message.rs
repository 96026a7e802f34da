//! The messages of rtnetlink that are about routes. The library's own type for any message brings the readers of links, filters and
//! neighbours along, which would be a fifth of a plugin's file.

use netlink_packet_core::{
    DecodeError, Emitable, NetlinkDeserializable, NetlinkHeader, NetlinkPayload, NetlinkSerializable,
    Parseable,
};
use netlink_packet_route::route::RouteMessage;

/// What is done with a route: the kernel's number for it (`RTM_…`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Verb {
    /// `RTM_NEWROUTE`; also what the kernel answers with.
    New = 24,
    /// `RTM_DELROUTE`.
    Del = 25,
    /// `RTM_GETROUTE`.
    Get = 26,
}

/// A route, and what is done with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) verb: Verb,
    pub(super) route: RouteMessage,
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        self.verb as u16
    }

    fn buffer_len(&self) -> usize {
        self.route.buffer_len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        self.route.emit(buffer);
    }
}

impl NetlinkDeserializable for Message {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        let verb = [Verb::New, Verb::Del, Verb::Get]
            .into_iter()
            .find(|verb| *verb as u16 == header.message_type)
            .ok_or_else(|| DecodeError::from("an answer that is about no route"))?;
        Ok(Self { verb, route: RouteMessage::parse(payload)? })
    }
}

impl From<Message> for NetlinkPayload<Message> {
    fn from(message: Message) -> Self {
        Self::InnerMessage(message)
    }
}
