//! Plugins made of shell, and a runtime that finds them; for this crate's own tests.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::{Attachment, Cache, Network, Object, Observer, Runtime, Search};

pub(crate) struct Bed {
    root: TempDir,
    pub(crate) runtime: Runtime,
}

/// Records the call, then goes on with the test's own lines; `$type` and `$dir` are set, stdin is read.
const PRELUDE: &str = r#"#!/bin/sh
dir=$(dirname "$0")/..
type=$(basename "$0")
echo "$CNI_COMMAND $type" >> "$dir/calls"
cat > "$dir/$type.$CNI_COMMAND.stdin"
env > "$dir/$type.$CNI_COMMAND.env"
"#;

impl Bed {
    pub(crate) fn new() -> Bed {
        let root = tempfile::tempdir().unwrap();
        let bin = root.path().join("bin");
        fs::create_dir(&bin).unwrap();
        let runtime = Runtime {
            search: Search(vec![bin]),
            cache: Cache::new(root.path().join("cache")),
            deadline: Some(Instant::now() + Duration::from_secs(60)),
            environment: std::env::vars_os().collect(),
            observer: Observer::default(),
        };
        Bed { root, runtime }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// A plugin that records its call and then runs this.
    pub(crate) fn plugin(&self, name: &str, script: &str) -> &Bed {
        self.raw_plugin(name, &format!("{PRELUDE}{script}\n"))
    }

    /// A plugin that is exactly this.
    pub(crate) fn raw_plugin(&self, name: &str, content: &str) -> &Bed {
        let path = self.path("bin").join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    pub(crate) fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.path("calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }

    pub(crate) fn stdin_text(&self, call: &str) -> String {
        fs::read_to_string(self.path(&format!("{call}.stdin"))).unwrap()
    }

    pub(crate) fn stdin(&self, call: &str) -> Value {
        serde_json::from_str(&self.stdin_text(call)).unwrap()
    }

    pub(crate) fn env(&self, call: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(&format!("{call}.env"))).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// The same runtime with another deadline.
    pub(crate) fn within(&self, time: Duration) -> Runtime {
        Runtime { deadline: Some(Instant::now() + time), ..self.runtime.clone() }
    }
}

pub(crate) fn network(text: &str) -> Network {
    Network::parse(text.as_bytes()).unwrap()
}

pub(crate) fn attachment() -> Attachment {
    Attachment {
        container_id: "cid1".to_owned(),
        netns: "/run/netns/p1".to_owned(),
        if_name: "eth0".to_owned(),
        args: vec![("A".to_owned(), "1".to_owned()), ("B".to_owned(), "x=y".to_owned())],
        capability_args: Object::default(),
    }
}

/// Polls for something that has no event; false when it does not come within ten seconds.
#[allow(clippy::disallowed_methods)]
pub(crate) fn comes_true(condition: impl Fn() -> bool) -> bool {
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    condition()
}
