//! Plugins that hang, flood, fork, die and lie, through the public interface.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::error::{CniError, Error};
use crate::testing::{Bed, attachment, comes_true, network};
use crate::{Attachment, CniResult, Network};

const OK: &str = r#"{"cniVersion":"1.0.0"}"#;

/// An attachment that no other test has. Tests share one process, and what a deadline ends is recognised by its
/// attachment.
fn unique() -> Attachment {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let container_id = format!("unique{}", COUNT.fetch_add(1, Ordering::Relaxed));
    Attachment { container_id, ..attachment() }
}

fn one(plugin: &str) -> Network {
    network(&format!(r#"{{"cniVersion":"1.0.0","name":"n","type":"{plugin}"}}"#))
}

fn add(bed: &Bed) -> Result<CniResult, Error> {
    bed.runtime.add(&one("p"), &attachment())
}

fn plugin_error(script: &str) -> CniError {
    let bed = Bed::new();
    bed.plugin("p", script);
    add(&bed).unwrap_err().cni().unwrap().clone()
}

/// Has the named test run once more in a process where no other does; true in that process.
fn runs_alone(test: &str) -> bool {
    const ALONE: &str = "LIBCNI_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", test]).env(ALONE, "1").output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
    false
}

fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

/// Pids that a script has written, one file each.
fn pids(bed: &Bed, names: &[&str]) -> Vec<String> {
    let read = |name: &&str| fs::read_to_string(bed.path(name)).unwrap_or_default();
    assert!(comes_true(|| names.iter().all(|name| read(name).ends_with('\n'))), "the script did not start");
    names.iter().map(read).collect()
}

#[test]
fn c12_the_environment_holds_the_call_and_everything_else() {
    let mut bed = Bed::new();
    bed.plugin("p", &format!("echo '{OK}'"));
    bed.runtime.environment.push(("KEPT".into(), "yes".into()));
    bed.runtime.environment.push(("CNI_IFNAME".into(), "stale".into()));
    bed.runtime.environment.push(("CNI_NETNS_OVERRIDE".into(), "1".into()));
    add(&bed).unwrap();
    let env = bed.env("p.ADD");
    let path = format!("CNI_PATH={}", bed.path("bin").display());
    let expected = ["CNI_COMMAND=ADD", "CNI_CONTAINERID=cid1", "CNI_NETNS=/run/netns/p1", "CNI_IFNAME=eth0"];
    for line in expected.into_iter().chain(["CNI_ARGS=A=1;B=x=y", &path, "KEPT=yes", "CNI_NETNS_OVERRIDE=1"])
    {
        assert!(env.iter().any(|found| found == line), "{line} is not in {env:#?}");
    }
    assert_eq!(env.iter().filter(|line| line.starts_with("CNI_IFNAME=")).count(), 1);
}

#[test]
fn c23_a_plugins_own_error_survives() {
    let error =
        plugin_error(r#"echo '{"cniVersion":"1.0.0","code":11,"msg":"later","details":"d"}'; exit 1"#);
    assert_eq!(error, CniError::new(11, "later", "d"));
    // Go matches keys in any case.
    let error = plugin_error(r#"echo '{"Code":100,"MSG":"own"}'; echo noise >&2; exit 3"#);
    assert_eq!(error, CniError::new(100, "own", ""));
}

#[test]
fn c15_failures_without_an_error_object_get_libcnis_words() {
    let text = |script: &str| plugin_error(script).to_string();
    assert_eq!(text("exit 3"), "netplugin failed with no error message: exit status 3");
    assert_eq!(text("echo oops >&2; exit 1"), r#"netplugin failed: "oops\n""#);
    assert_eq!(text("echo oops >&2; echo '{}'; exit 1"), r#"netplugin failed: "oops\n""#);
    let told = text("echo no json; exit 1");
    assert!(told.starts_with(r#"netplugin failed but error parsing its diagnostic message "no json\n": "#));
    assert!(text("head -c 3000000 /dev/zero; exit 1").len() < 40_000);
}

#[test]
fn c15_a_signal_is_told_from_an_exit_code() {
    let bed = Bed::new();
    bed.plugin("p", "echo last words >&2; kill -SEGV $$");
    let error = add(&bed).unwrap_err();
    assert!(matches!(&error, Error::Signalled { signal: 11, stderr, .. } if stderr == "last words\n"));
    let text = error.to_string();
    assert_eq!(text, r#"netplugin was ended by signal 11 (segmentation fault); it had written "last words""#);
    assert_eq!(error.to_cni().code, CniError::INTERNAL);
}

#[test]
fn c17_output_that_is_no_result() {
    let bed = Bed::new();
    for script in ["true", "echo '{'", "echo '[]'", "echo '{} x'", r#"echo '{"cniVersion":"9.9.9"}'"#] {
        bed.plugin("p", script);
        let error = add(&bed).unwrap_err();
        assert!(matches!(error, Error::Result { .. }), "{script}: {error}");
        assert_eq!(error.to_cni().code, CniError::DECODE);
    }
    // Whatever a plugin says on success is its own affair where no result is expected.
    bed.plugin("p", "echo nonsense");
    bed.runtime.del(&one("p"), &attachment()).unwrap();
}

#[test]
fn c80_null_is_an_empty_result() {
    let bed = Bed::new();
    bed.plugin("p", "echo null");
    let result = add(&bed).unwrap();
    assert_eq!(result.bytes(), br#"{"cniVersion":"1.0.0"}"#);
}

#[test]
fn c13_megabytes_pass_in_every_direction_at_once() {
    let bed = Bed::new();
    // The plugin floods stderr and stdout before it reads a byte of its stdin.
    let script = format!(
        "#!/bin/sh\nhead -c 4000000 /dev/zero >&2\n\
         printf '{{\"code\":7,\"msg\":\"m\",\"details\":\"'; head -c 900000 /dev/zero | tr '\\0' x; printf '\"}}'\n\
         cat > {}\nexit 1\n",
        bed.path("got").display()
    );
    bed.raw_plugin("p", &script);
    let mut network = one("p");
    network.set_in_every_plugin("big", &"y".repeat(3 << 20));
    let error = bed.runtime.add(&network, &attachment()).unwrap_err().to_cni();
    assert_eq!((error.code, error.details.len()), (7, 900_000));
    assert!(fs::metadata(bed.path("got")).unwrap().len() > 3 << 20);
}

#[test]
fn c17_a_result_without_end_is_refused_and_not_kept() {
    let bed = Bed::new();
    bed.plugin("p", "head -c 30000000 /dev/zero");
    let error = add(&bed).unwrap_err();
    assert_eq!(error.to_string(), "the result is longer than 1048576 bytes");
}

#[test]
fn c13_a_plugin_may_leave_its_stdin_unread() {
    let bed = Bed::new();
    bed.raw_plugin("p", &format!("#!/bin/sh\nexec <&-\necho '{OK}'\n"));
    let mut network = one("p");
    network.set_in_every_plugin("big", &"y".repeat(1 << 20));
    bed.runtime.add(&network, &attachment()).unwrap();
}

#[test]
fn c13_stdin_is_closed_after_the_configuration() {
    let bed = Bed::new();
    bed.raw_plugin("p", &format!("#!/bin/sh\ncat > /dev/null\ncat\necho '{OK}'\n"));
    add(&bed).unwrap();
}

/// Design: a deadline ends the plugin and everything it started, whatever that did to get away.
#[test]
fn c22_a_deadline_ends_the_plugin_and_all_it_started() {
    // A process without environment is only taken for the plugin's while no other plugin runs in this process.
    if !runs_alone("exec::tests::c22_a_deadline_ends_the_plugin_and_all_it_started") {
        return;
    }
    let bed = Bed::new();
    let script = r#"
        export dir
        sh -c 'echo $$ > "$dir/child"; exec sleep 1000' &
        setsid sh -c 'echo $$ > "$dir/session"; exec sleep 1000' &
        (setsid sh -c 'sh -c "echo \$\$ > \"$dir/orphan\"; sleep 1000; true" & echo $$ > "$dir/parent"' &)
        (setsid env -i sh -c 'echo $$ > "$1/wiped"; exec sleep 1000' sh "$dir" &)
        echo $$ > "$dir/plugin"; echo waiting >&2; sleep 1000
    "#;
    bed.plugin("p", script);
    let names = ["child", "session", "orphan", "wiped", "plugin"];
    let (error, took) = std::thread::scope(|scope| {
        let call = scope.spawn(|| {
            let started = Instant::now();
            (bed.within(Duration::from_secs(2)).add(&one("p"), &unique()).unwrap_err(), started.elapsed())
        });
        for pid in pids(&bed, &names) {
            assert!(is_alive(&pid));
        }
        call.join().unwrap()
    });
    assert!(took < Duration::from_secs(5), "{took:?}");
    for (name, pid) in names.iter().zip(pids(&bed, &names)) {
        let gone = !fs::exists(format!("/proc/{}", pid.trim())).unwrap();
        assert!(gone, "{name} lives, or was not reaped");
    }
    assert!(matches!(error, Error::TimedOut { .. }));
    assert!(error.to_string().starts_with("timed out after 2."), "{error}");
    assert!(error.to_string().ends_with(r#"; it had written "waiting""#), "{error}");
    assert_eq!(error.to_cni().code, CniError::TRY_AGAIN);
}

#[test]
fn c22_a_deadline_spares_what_other_plugins_started() {
    let bed = Bed::new();
    let daemon = r#"(setsid sh -c 'echo $$ > "$0/daemon"; exec sleep 1000' "$dir" > /dev/null 2>&1 &)"#;
    bed.plugin("d", &format!("{daemon}\necho '{OK}'"));
    bed.plugin("p", "sleep 1000");
    // Both run for the same attachment, as two plugins of one chain do.
    let attachment = unique();
    bed.runtime.add(&one("d"), &attachment).unwrap();
    let daemon = pids(&bed, &["daemon"]).remove(0);
    bed.within(Duration::from_millis(300)).add(&one("p"), &attachment).unwrap_err();
    assert!(is_alive(&daemon));
    let pid = rustix::process::Pid::from_raw(daemon.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn c22_nothing_starts_after_the_deadline() {
    let bed = Bed::new();
    bed.plugin("p", &format!("echo '{OK}'"));
    let error = bed.within(Duration::ZERO).add(&one("p"), &unique()).unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }));
    assert_eq!(bed.calls(), Vec::<String>::new());
}

#[test]
fn c22_a_plugin_that_floods_is_ended_by_the_deadline() {
    let bed = Bed::new();
    bed.plugin("p", "exec cat /dev/zero");
    let started = Instant::now();
    let error = bed.within(Duration::from_millis(500)).add(&one("p"), &unique()).unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }));
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[test]
fn c15_an_orphan_that_holds_the_pipes_is_not_waited_for() {
    let bed = Bed::new();
    bed.plugin("p", &format!("sleep 1000 & echo $! > \"$dir/holder\"\necho '{OK}'"));
    let started = Instant::now();
    add(&bed).unwrap();
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let holder = pids(&bed, &["holder"]).remove(0);
    assert!(is_alive(&holder), "what a successful plugin leaves behind is its own affair");
    let pid = rustix::process::Pid::from_raw(holder.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn c89_a_busy_executable_is_tried_again() {
    let bed = Bed::new();
    // A copied binary that is still open for writing; a shell reads the script that it is given as stdin.
    let path = bed.path("bin").join("p");
    fs::copy("/bin/cat", &path).unwrap();
    let writer = fs::OpenOptions::new().append(true).open(&path).unwrap();
    let error = bed.within(Duration::from_millis(200)).add(&one("p"), &unique()).unwrap_err();
    assert!(matches!(error, Error::Spawn { .. }), "{error}");
    assert!(!error.is_not_found_file());
    let result = std::thread::scope(|scope| {
        let call = scope.spawn(|| add(&bed));
        drop(writer);
        call.join().unwrap()
    });
    // `cat` answers with its own configuration, which makes a result that says nothing.
    assert_eq!(result.unwrap().version(), "1.0.0");
}

#[test]
fn c14_what_cannot_be_executed_is_named() {
    let bed = Bed::new();
    let error = bed.runtime.add(&one("absent"), &attachment()).unwrap_err();
    let expected = format!(r#"failed to find plugin "absent" in path [{}]"#, bed.path("bin").display());
    assert_eq!(error.to_string(), expected);
    assert!(error.is_not_found_file());
    bed.raw_plugin("p", "#!/nonexistent\n");
    assert!(add(&bed).unwrap_err().is_not_found_file());
    let path = bed.path("bin").join("p");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let text = add(&bed).unwrap_err().to_string();
    assert!(text.starts_with(&format!("cannot run {}: ", path.display())), "{text}");
}

#[test]
fn c12_arguments_that_no_environment_can_hold_are_refused() {
    let bed = Bed::new();
    bed.plugin("p", &format!("echo '{OK}'"));
    let mut with_nul = attachment();
    with_nul.args[0].1 = "a\0b".to_owned();
    assert!(matches!(bed.runtime.add(&one("p"), &with_nul), Err(Error::Spawn { .. })));
    let mut too_long = attachment();
    too_long.args[0].1 = "x".repeat(8 << 20);
    assert!(matches!(bed.runtime.add(&one("p"), &too_long), Err(Error::Spawn { .. })));
}

#[test]
fn c11_the_plugin_leads_a_group_and_is_not_spared_by_the_oom_killer() {
    let bed = Bed::new();
    let look = "cat /proc/self/oom_score_adj > \"$dir/oom\"; ps -o pgid= -p $$ > \"$dir/group\"";
    bed.plugin("p", &format!("{look}; echo $$ > \"$dir/pid\"; echo '{OK}'"));
    add(&bed).unwrap();
    let read = |name: &str| fs::read_to_string(bed.path(name)).unwrap().trim().to_owned();
    assert!(read("oom").parse::<i32>().unwrap() >= 0);
    assert_eq!(read("group"), read("pid"));
}

#[test]
fn c11_the_plugin_starts_with_the_signals_of_a_fresh_process() {
    let bed = Bed::new();
    // Rust ignores SIGPIPE in this process; a plugin that inherited that would not end with its reader.
    bed.plugin("p", &format!("grep -E 'SigBlk|SigIgn' /proc/self/status > \"$dir/signals\"; echo '{OK}'"));
    add(&bed).unwrap();
    let signals = fs::read_to_string(bed.path("signals")).unwrap();
    let mask = |name: &str| {
        let line = signals.lines().find(|line| line.starts_with(name)).unwrap();
        u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
    };
    assert_eq!(mask("SigBlk"), 0);
    assert_eq!(mask("SigIgn") & (1 << (rustix::process::Signal::PIPE.as_raw() - 1)), 0);
}

#[test]
fn c11_many_threads_start_plugins_at_once() {
    let bed = Bed::new();
    bed.plugin("p", &format!("test \"$CNI_IFNAME\" = eth0 && cat > /dev/null && echo '{OK}'"));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let attachment = unique();
                    let result = bed.runtime.add(&one("p"), &attachment).unwrap();
                    assert_eq!(result.version(), "1.0.0");
                    assert!(bed.runtime.add(&one("absent"), &attachment).is_err());
                }
            });
        }
    });
}

/// Design: killed mid-ADD. The runtime kills only the process it has started; the plugin must not go on alone.
#[test]
fn c11_the_plugin_dies_with_the_process_that_started_it() {
    const BIN: &str = "LIBCNI_TEST_BIN";
    if let Some(bin) = std::env::var_os(BIN) {
        // The process that will be killed: this test binary once more, running only this test.
        let mut runtime = Bed::new().runtime;
        runtime.search = crate::Search(vec![bin.into()]);
        runtime.add(&one("p"), &attachment()).unwrap_err();
        return;
    }
    let bed = Bed::new();
    bed.plugin("p", "echo $$ > \"$dir/plugin\"; exec sleep 1000");
    let mut caller = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "exec::tests::c11_the_plugin_dies_with_the_process_that_started_it"])
        .env(BIN, bed.path("bin"))
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let plugin = pids(&bed, &["plugin"]).remove(0);
    assert!(is_alive(&plugin));
    caller.kill().unwrap();
    caller.wait().unwrap();
    assert!(comes_true(|| !is_alive(&plugin)), "the plugin outlives its caller");
}
