//! The most telling faults while pods come and go; `cargo xtask soak` has all of them, and takes its time.

use e2e::faults;
use e2e::soak::{Engine, Pace, Scene};

#[test]
fn no_pod_is_without_its_networks_and_nothing_is_left_whatever_happens_to_the_node() {
    let scene = Scene::up("soak", Engine::Ours, Pace::Short, 1).unwrap();
    for name in ["daemon-killed", "api-cut-multus", "conf-deleted", "journals", "reboot"] {
        let row = scene.round(faults::named(name).unwrap()).unwrap();
        assert!(row.is_clean(), "{row:#?}");
    }
}
