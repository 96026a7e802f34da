use testbed::Netns;

use super::*;

/// A namespace with two interfaces of two families each.
fn namespace() -> Netns {
    let netns = Netns::unique("rt").unwrap();
    let lines = "link add one type veth peer name two
        link set one up
        link set two up
        address add 10.1.0.2/24 dev one
        address add 10.2.0.2/24 dev two
        -6 address add fd01::2/64 dev one nodad
        -6 address add fd02::2/64 dev two nodad";
    ip(&netns, lines);
    netns
}

fn ip(netns: &Netns, lines: &str) {
    for line in lines.lines() {
        netns.run("ip", &line.split_whitespace().collect::<Vec<_>>()).unwrap();
    }
}

fn shown(netns: &Netns, what: &str) -> Vec<String> {
    let text = netns.run("ip", &what.split_whitespace().collect::<Vec<_>>()).unwrap();
    // What `ip` adds depends on its version: only destination, gateway, device and metric matter.
    let keep = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let after = |word: &str| words.iter().position(|one| *one == word).map(|at| words[at + 1]);
        [after("via"), after("dev"), after("metric")].iter().flatten().copied().collect::<Vec<_>>().join(" ")
    };
    text.lines().filter(|line| line.starts_with("default")).map(keep).collect()
}

fn wish(clear_v4: bool, clear_v6: bool, gateways: &[&str]) -> Wish {
    Wish { clear_v4, clear_v6, gateways: gateways.iter().map(|gateway| gateway.parse().unwrap()).collect() }
}

fn open(netns: &Netns) -> PodNetns {
    PodNetns::open(netns.path().to_str().unwrap()).unwrap()
}

#[test]
fn q1_all_default_routes_of_the_interface_go_and_no_others() {
    let netns = namespace();
    ip(
        &netns,
        "route add default via 10.1.0.1 dev one
        route add default via 10.1.0.3 dev one metric 50
        route add default dev one metric 60
        route add default via 10.2.0.1 dev two metric 10
        route add 10.50.0.0/16 via 10.1.0.1 dev one
        route add default via 10.1.0.1 dev one table 77
        -6 route add default via fd01::1 dev one
        -6 route add default via fd01::3 dev one metric 9
        -6 route add default via fd02::1 dev two metric 2000",
    );
    apply(&mut open(&netns), "one", &wish(true, true, &[])).unwrap();
    assert_eq!(shown(&netns, "-4 route"), ["10.2.0.1 two 10"]);
    assert_eq!(shown(&netns, "-6 route"), ["fd02::1 two 2000"]);
    assert_eq!(shown(&netns, "-4 route show table 77"), ["10.1.0.1 one"]);
    assert!(netns.run("ip", &["route"]).unwrap().contains("10.50.0.0/16"));
}

#[test]
fn q1_only_the_families_that_are_to_go_go() {
    let netns = namespace();
    ip(
        &netns,
        "route add default via 10.1.0.1 dev one
        -6 route add default via fd01::1 dev one",
    );
    apply(&mut open(&netns), "one", &wish(true, false, &[])).unwrap();
    assert_eq!(shown(&netns, "-4 route"), Vec::<String>::new());
    assert_eq!(shown(&netns, "-6 route"), ["fd01::1 one 1024"]);
}

#[test]
fn n61_several_gateways_become_routes_in_the_order_of_preference() {
    let netns = namespace();
    ip(&netns, "route add default via 10.1.0.1 dev one");
    let wanted = wish(true, true, &["10.1.0.7", "fd01::7", "10.1.0.8", "fd01::8"]);
    apply(&mut open(&netns), "one", &wanted).unwrap();
    assert_eq!(shown(&netns, "-4 route"), ["10.1.0.7 one", "10.1.0.8 one 1"]);
    assert_eq!(shown(&netns, "-6 route"), ["fd01::7 one 1024", "fd01::8 one 1025"]);
    // Again: what is there already is fine.
    apply(&mut open(&netns), "one", &wanted).unwrap();
    assert_eq!(shown(&netns, "-4 route").len(), 2);
}

#[test]
fn q1_a_default_route_of_another_interface_in_the_way_is_an_error_and_no_silence() {
    let netns = namespace();
    ip(&netns, "route add default via 10.2.0.1 dev two");
    let why = apply(&mut open(&netns), "one", &wish(true, false, &["10.1.0.1"])).unwrap_err();
    assert!(why.contains("10.1.0.1") && why.contains("another interface"), "{why}");
}

#[test]
fn a_route_over_several_interfaces_is_not_passed_over_in_silence() {
    let netns = namespace();
    ip(&netns, "route add default nexthop via 10.1.0.1 dev one nexthop via 10.2.0.1 dev two");
    let why = apply(&mut open(&netns), "one", &wish(true, false, &[])).unwrap_err();
    assert!(why.contains("several interfaces"), "{why}");
    ip(
        &netns,
        "route del default
        route add default nexthop via 10.1.0.1 dev one nexthop via 10.1.0.3 dev one",
    );
    apply(&mut open(&netns), "one", &wish(true, false, &[])).unwrap();
    assert_eq!(shown(&netns, "-4 route"), Vec::<String>::new());
}

#[test]
fn an_unreachable_gateway_and_a_missing_interface_are_named() {
    let netns = namespace();
    let why = apply(&mut open(&netns), "one", &wish(false, false, &["192.0.2.1"])).unwrap_err();
    assert!(why.contains("192.0.2.1") && why.contains("subnet"), "{why}");
    let why = apply(&mut open(&netns), "nope", &wish(true, true, &[])).unwrap_err();
    assert!(why.contains("\"nope\""), "{why}");
}

#[test]
fn the_own_thread_stays_in_its_own_namespace() {
    let netns = namespace();
    let before = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    assert!(open(&netns).index_of("one").unwrap().is_some());
    assert_eq!(std::fs::read_link("/proc/thread-self/ns/net").unwrap(), before);
}

#[test]
fn q36_every_spelling_of_the_default_destination_is_known() {
    for (text, v4, expected) in [
        ("0.0.0.0/0", true, true),
        ("::/0", false, true),
        ("::0/0", false, true),
        ("0:0::0/0", false, true),
        ("0.0.0.0/1", true, false),
        ("::/0", true, false),
        ("default", true, false),
        ("", false, false),
    ] {
        assert_eq!(is_default_destination(text, v4), expected, "{text}");
    }
}
