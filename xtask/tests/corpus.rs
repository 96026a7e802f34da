//! Replays the fuzz corpus: what a fuzzer once found, and the hostile inputs that were written by hand, stay answered.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(unreachable_pub, reason = "the fuzz crate calls them from outside")]
#[path = "../../fuzz/src/targets.rs"]
mod targets;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Far above what any input needs; an input that takes time quadratic in its length goes beyond it.
const PATIENCE: Duration = Duration::from_secs(20);

fn replay(name: &str, target: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
    let mut inputs: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{} has no inputs", dir.display());
    let everything = inputs.iter().map(|path| (path.display().to_string(), fs::read(path).unwrap()));
    for (input, bytes) in everything.chain(hostile()) {
        let start = Instant::now();
        target(&bytes);
        assert!(start.elapsed() < PATIENCE, "{name} took {:?} for {input}", start.elapsed());
    }
}

/// What no parser may choke on, whatever it reads.
fn hostile() -> Vec<(String, Vec<u8>)> {
    let large = |unit: &str, times: usize| unit.repeat(times).into_bytes();
    [
        ("nothing", Vec::new()),
        ("NUL", vec![0; 64]),
        ("no UTF-8", vec![0xff; 64]),
        ("a lone surrogate", br#"{"name":"\ud800"}"#.to_vec()),
        ("deep lists", large("[", 1_000_000)),
        ("deep objects", large("{\"a\":", 200_000)),
        ("a long string", [b"{\"name\":\"".to_vec(), large("x", 4 << 20), b"\"}".to_vec()].concat()),
        (
            "many duplicate keys",
            [b"{".to_vec(), large("\"type\":\"x\",", 100_000), b"\"type\":\"y\"}".to_vec()].concat(),
        ),
        ("a long list", [b"[".to_vec(), large("{},", 100_000), b"{}]".to_vec()].concat()),
        ("commas", large(",", 100_000)),
    ]
    .into_iter()
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .collect()
}

macro_rules! replays {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            replay(stringify!($name), targets::$name);
        })*
    };
}

replays!(
    network cni_result cache_entry cni_args call cni_error selection netconf primary status journal manifest kubeconfig checkpoint
    watch_stream signing_request
    http_response shim_request daemon_answer upstream_request upstream_answer daemon_config
);
