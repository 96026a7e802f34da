//! The NADs of the cluster.

use std::collections::HashMap;

use kube_cluster::watch::Event;
use kube_cluster::wire::Definition;
use plan::{Nad, NadRef};

use super::Freshness;

/// One that is longer is not kept but asked for when it is needed. Real ones have some hundred bytes.
const LONGEST: usize = 64 << 10;
/// All that is kept together: some 25,000 of ordinary length.
const MOST: usize = 16 << 20;
/// What one takes besides its texts.
const OVERHEAD: usize = 128;

/// NADs as a watch told of them, within a fixed amount of memory.
#[derive(Debug, Default)]
pub(crate) struct Nads {
    kept: HashMap<Box<str>, Kept>,
    /// Bytes of all that is kept.
    bytes: usize,
    /// How many were not kept since the last list because of their size.
    left_out: usize,
    freshness: Freshness,
}

#[derive(Debug)]
struct Kept {
    config: Box<str>,
    annotations: Box<[(Box<str>, Box<str>)]>,
    list: u32,
}

impl Kept {
    fn bytes(&self) -> usize {
        let annotations: usize = self.annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
        self.config.len() + annotations + OVERHEAD
    }
}

impl Nads {
    /// Takes what the watch tells.
    pub(crate) fn take(&mut self, event: Event<Definition>) {
        match event {
            Event::Listing => {
                self.freshness.listing();
                self.left_out = 0;
            }
            Event::Found(definition) => self.found(definition.into()),
            Event::Gone(definition) => {
                let nad: Nad = definition.into();
                self.remove(&key(&nad.reference));
            }
            Event::Complete => self.complete(),
            Event::Current => self.freshness.current(),
            // All is listed again after this, and what the list does not name goes.
            Event::PassedOver(_) => {}
            Event::Lost(error) if error.code() == Some(404) => {
                // The cluster has no such kind of object, so it has none of them.
                self.freshness.listing();
                self.complete();
            }
            Event::Lost(error) => self.freshness.lost(error.to_string()),
        }
    }

    fn found(&mut self, nad: Nad) {
        let key = key(&nad.reference);
        // Also where the new one is not kept: the old one is not what there is any more.
        self.remove(&key);
        let annotations = nad.annotations.into_iter().map(|(key, value)| (key.into(), value.into()));
        let kept = Kept {
            config: nad.config.into(),
            annotations: annotations.collect(),
            list: self.freshness.list(),
        };
        let bytes = key.len() + kept.bytes();
        if bytes > LONGEST || self.bytes + bytes > MOST {
            self.left_out += 1;
            return;
        }
        self.bytes += bytes;
        self.kept.insert(key, kept);
    }

    fn remove(&mut self, key: &str) {
        if let Some(kept) = self.kept.remove(key) {
            self.bytes -= key.len() + kept.bytes();
        }
    }

    fn complete(&mut self) {
        let list = self.freshness.list();
        let bytes = &mut self.bytes;
        self.kept.retain(|key, kept| {
            let named = kept.list == list;
            if !named {
                *bytes -= key.len() + kept.bytes();
            }
            named
        });
        self.kept.shrink_to_fit();
        self.freshness.complete();
    }

    /// Whether the NAD is held.
    #[must_use]
    pub(crate) fn holds(&self, reference: &NadRef) -> bool {
        self.kept.contains_key(&key(reference))
    }

    /// The NAD, if it is held.
    #[must_use]
    pub(crate) fn get(&self, reference: &NadRef) -> Option<Nad> {
        let kept = self.kept.get(&key(reference))?;
        let annotations = kept.annotations.iter().map(|(key, value)| (key.to_string(), value.to_string()));
        Some(Nad::new(reference.clone(), kept.config.as_ref(), annotations.collect()))
    }

    /// How far what is held can be trusted.
    #[must_use]
    pub(crate) fn freshness(&self) -> &Freshness {
        &self.freshness
    }

    /// How many are held.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    /// How many were not kept because of their size; they are asked for when they are needed.
    #[must_use]
    pub(crate) fn left_out(&self) -> usize {
        self.left_out
    }
}

/// A namespace has no slash in it.
fn key(reference: &NadRef) -> Box<str> {
    reference.to_string().into()
}
