//! Disks of a node that can be full.

use anyhow::{Context, Result};

use super::Node;

/// Where the small disk is mounted.
const SMALL: &str = "/run/small-disk";

impl Node {
    /// Moves folders to a disk of their own, which [`Node::fill_small_disk`] can fill. For a node without pods of its own network: containerd
    /// and the kubelet are stopped for it, and what mounted one of the folders goes on with the old one until it is started again.
    ///
    /// # Errors
    /// When something is not moved.
    pub fn move_to_small_disk(&self, folders: &[&str]) -> Result<()> {
        let script = format!(
            "mkdir -p {SMALL} && mount -t tmpfs -o size=64m small {SMALL}
             for folder; do
               mkdir -p {SMALL}$folder && cp -a $folder/. {SMALL}$folder/ && mount --bind {SMALL}$folder $folder
             done"
        );
        self.while_stopped(&script, folders).context("move folders to a small disk")
    }

    /// Moves the folders of [`Node::move_to_small_disk`] back.
    ///
    /// # Errors
    /// When something is not moved.
    pub fn move_from_small_disk(&self, folders: &[&str]) -> Result<()> {
        let script = format!(
            "for folder; do
               umount -l $folder && find $folder -mindepth 1 -delete && cp -a {SMALL}$folder/. $folder/
             done
             umount -l {SMALL}"
        );
        self.while_stopped(&script, folders).context("move folders from a small disk")
    }

    fn while_stopped(&self, script: &str, folders: &[&str]) -> Result<()> {
        for service in ["kubelet", "containerd"] {
            self.machine().signal(service, "TERM")?;
        }
        self.machine().run("sh", &[&["-ec", script, "sh"], folders].concat())?;
        self.start_containerd()?;
        self.start_kubelet()
    }

    /// Not one more block can be written to the small disk, or again some.
    ///
    /// # Errors
    /// When there is none.
    pub fn fill_small_disk(&self, full: bool) -> Result<()> {
        self.fill(SMALL, if full { None } else { Some("64m") })
    }

    /// The same with `/run`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn fill_run(&self, full: bool) -> Result<()> {
        self.fill("/run", if full { None } else { Some("50%") })
    }

    /// A tmpfs as large as what is in it is full.
    fn fill(&self, mount: &str, size: Option<&str>) -> Result<()> {
        let script = "size=${1:-$(df -k --output=used \"$0\" | tail -1 | tr -d ' ')k}
                      mount -o remount,size=\"$size\" \"$0\"";
        self.machine().run("sh", &["-ec", script, mount, size.unwrap_or_default()])?;
        Ok(())
    }
}
