//! Who speaks which version of the protocol.
//!
//! A new field that a reader may ignore is no new version. A version is counted up when a message would be misunderstood; then the
//! daemon, which is replaced first on some nodes and last on others, goes on serving the version before.

/// The versions that one side of the socket speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// What it sends when it begins.
    pub newest: u32,
    /// The oldest that it understands.
    pub oldest: u32,
}

impl Versions {
    /// This program's. There is no version before the first.
    pub const OURS: Self = Self { newest: 1, oldest: 1 };

    /// Whether messages of this version are understood.
    #[must_use]
    pub fn serve(self, version: u32) -> bool {
        (self.oldest..=self.newest).contains(&version)
    }
}

/// What a program says of itself in messages, logs and errors: `multus-shim v4.0.0`.
#[must_use]
pub fn program(name: &str) -> String {
    format!("{name} v{} (multus-rs)", env!("CARGO_PKG_VERSION"))
}
