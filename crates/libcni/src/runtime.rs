//! The verbs, as a runtime calls them.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::cache::Cache;
use crate::config::Network;
use crate::error::Error;
use crate::json::Object;
use crate::result::CniResult;
use crate::search::Search;

/// Identity and arguments of one attachment.
#[derive(Debug, Clone, Default)]
pub struct Attachment {
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_NETNS`, the path of the network namespace.
    pub netns: String,
    /// `CNI_IFNAME`.
    pub if_name: String,
    /// `CNI_ARGS`.
    pub args: Vec<(String, String)>,
    /// What the runtime has to offer; each plugin gets those that it declares.
    pub capability_args: Object,
}

/// An attachment that GC has to spare.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcAttachment {
    /// The container.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// The interface.
    #[serde(rename = "ifname")]
    pub if_name: String,
}

/// Runs plugins.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// Where plugins are.
    pub search: Search,
    /// Where results are kept between ADD and DEL.
    pub cache: Cache,
    /// When each call has to be over, if ever.
    pub deadline: Option<Instant>,
    /// The environment of plugins; `CNI_*` is replaced.
    pub environment: Vec<(OsString, OsString)>,
}

#[allow(clippy::unimplemented, missing_docs, unused_variables)]
impl Runtime {
    pub fn add(&self, network: &Network, attachment: &Attachment) -> Result<CniResult, Error> {
        unimplemented!()
    }
    pub fn del(&self, network: &Network, attachment: &Attachment) -> Result<(), Error> {
        unimplemented!()
    }
    pub fn del_with(
        &self,
        network: &Network,
        attachment: &Attachment,
        prev: Option<&CniResult>,
    ) -> Result<(), Error> {
        unimplemented!()
    }
    pub fn check(&self, network: &Network, attachment: &Attachment) -> Result<(), Error> {
        unimplemented!()
    }
    pub fn check_with(
        &self,
        network: &Network,
        attachment: &Attachment,
        prev: Option<&CniResult>,
    ) -> Result<(), Error> {
        unimplemented!()
    }
    pub fn status(&self, network: &Network) -> Result<(), Error> {
        unimplemented!()
    }
    pub fn gc(&self, network: &Network, valid: &[GcAttachment]) -> Result<(), Vec<Error>> {
        unimplemented!()
    }
    pub fn validate(&self, network: &Network) -> Result<BTreeSet<String>, Error> {
        unimplemented!()
    }
}
