use std::path::PathBuf;

use super::*;

fn machine(life: Life) -> (Machine, Record, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let mut recorded = None;
    let machine = Machine::boot("box", dir.path(), life, |record| {
        recorded = Some(record.clone());
        Ok(())
    });
    (machine.unwrap(), recorded.unwrap(), dir)
}

#[test]
fn a_machine_has_its_own_processes_network_files_and_name() {
    let (machine, _, dir) = machine(Life::Held);
    assert_eq!(machine.run("hostname", &[] as &[&str]).unwrap(), "box\n");
    assert_eq!(machine.run("sh", &["-c", "ls /sys/class/net"]).unwrap(), "lo\n");
    let processes = machine.run("sh", &["-c", "ls -d /proc/[0-9]* | wc -l"]).unwrap();
    assert!(processes.trim().parse::<u32>().unwrap() < 10, "{processes}");
    machine.run("sh", &["-c", "echo there >/var/lib/file; echo gone >/run/file"]).unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("var/lib/file")).unwrap(), "there\n");
    assert!(!dir.path().join("run/file").exists());
    assert!(
        machine.run("sh", &["-c", "echo >/usr/file"]).is_err(),
        "the computer's own files can be written"
    );
    machine.kill().unwrap();
}

#[test]
fn what_a_kubelet_would_set_is_set_for_the_machine_alone() {
    let (machine, _, _dir) = machine(Life::Held);
    let own = |file: &str| machine.run("cat", &[format!("/proc/sys/{file}")]).unwrap();
    for (file, value) in KERNEL {
        assert_eq!(own(file).trim(), value, "{file}");
    }
    let boot = "kernel/random/boot_id";
    assert_ne!(own(boot), fs::read_to_string(format!("/proc/sys/{boot}")).unwrap());
    machine.kill().unwrap();
}

#[test]
fn a_machine_ends_with_all_that_runs_on_it() {
    let (machine, record, _dir) = machine(Life::Own);
    let outside = service(&machine);
    machine.kill().unwrap();
    assert!(!record.is_alive());
    assert!(!outside.exists(), "a service outlived its machine");
}

#[test]
fn a_machine_that_is_held_ends_when_it_is_let_go() {
    let (machine, record, _dir) = machine(Life::Held);
    let outside = service(&machine);
    drop(machine);
    wait::until("the machine to end", Duration::from_secs(20), || (!record.is_alive()).then_some(()))
        .unwrap();
    assert!(!outside.exists(), "a service outlived its machine");
}

#[test]
fn a_machine_is_found_again_by_its_record() {
    let (started, record, dir) = machine(Life::Own);
    drop(started);
    let found = Machine::find(&record, dir.path()).unwrap();
    assert_eq!(found.run("hostname", &[] as &[&str]).unwrap(), "box\n");
    found.kill().unwrap();
    assert!(Machine::find(&record, dir.path()).is_err());
}

#[test]
fn another_process_under_the_same_id_is_left_alone() {
    let own = std::process::id();
    let record = Record { name: "box".to_owned(), pid: own, started: start_of(own).unwrap() + 1 };
    assert!(!record.is_alive());
    record.kill().unwrap();
}

#[test]
fn a_machine_that_cannot_be_put_on_record_does_not_live() {
    let dir = tempfile::tempdir().unwrap();
    let mut seen = None;
    let refused = Machine::boot("box", dir.path(), Life::Own, |record| {
        seen = Some(record.clone());
        bail!("no space")
    });
    assert!(refused.unwrap_err().to_string().contains("no space"));
    let record = seen.unwrap();
    wait::until("its end", Duration::from_secs(20), || (!record.is_alive()).then_some(())).unwrap();
}

#[test]
fn a_service_is_ended_by_a_signal_and_logs_to_a_file() {
    let (machine, _, dir) = machine(Life::Held);
    machine.start("ticker", &[("WORD", "hello")], &["sh", "-c", "echo $WORD; exec sleep 1000"]).unwrap();
    assert!(machine.is_running("ticker"));
    machine.signal("ticker", "KILL").unwrap();
    assert!(!machine.is_running("ticker"));
    assert_eq!(fs::read_to_string(dir.path().join("var/log/ticker.log")).unwrap(), "hello\n");
    machine.kill().unwrap();
}

/// Starts a service and returns its folder in this process' own /proc.
fn service(machine: &Machine) -> PathBuf {
    machine.start("sleeper", &[], &["sleep", "100000"]).unwrap();
    let children = |pid: u32| {
        fs::read_dir("/proc").unwrap().flatten().filter_map(move |entry| {
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let parent: u32 = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
            (parent == pid && stat.contains("(sleep)")).then(|| entry.path())
        })
    };
    let started = || {
        children(machine.pid())
            .find(|path| fs::read_to_string(path.join("cmdline")).is_ok_and(|line| line.contains("100000")))
    };
    wait::until("the service to be a child of process 1", Duration::from_secs(10), started).unwrap()
}
