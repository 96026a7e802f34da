use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::*;

fn moment() -> Instant {
    Instant::now() + Duration::from_millis(100)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

#[test]
fn n100_one_call_at_a_time_for_a_sandbox_and_many_for_many() {
    let dir = tempfile::tempdir().unwrap();
    let first = SandboxLock::acquire(dir.path(), "a", soon()).unwrap();
    let second = SandboxLock::acquire(dir.path(), "a", moment());
    assert!(matches!(second, Err(LockError::Held { owner_alive: true })));
    SandboxLock::acquire(dir.path(), "b", moment()).unwrap();
    drop(first);
    SandboxLock::acquire(dir.path(), "a", moment()).unwrap();
}

/// A process that inherits the lock's descriptor, as an orphaned delegate does.
fn orphan(dir: &Path) -> (SandboxLock, Child) {
    let lock = SandboxLock::acquire(dir, "a", soon()).unwrap();
    let child = Command::new("sleep").arg("120").stdin(Stdio::null()).spawn().unwrap();
    (lock, child)
}

#[test]
fn a_released_lock_is_free_although_a_child_still_has_its_descriptor() {
    let dir = tempfile::tempdir().unwrap();
    let (lock, mut child) = orphan(dir.path());
    drop(lock);
    let taken = SandboxLock::try_acquire(dir.path(), "a");
    child.kill().unwrap();
    child.wait().unwrap();
    taken.unwrap();
}

#[test]
fn c59_a_released_lock_is_free_at_once_although_another_thread_starts_programs() {
    let dir = tempfile::tempdir().unwrap();
    let done = AtomicBool::new(false);
    let taken = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                Command::new("/bin/true").status().unwrap();
            }
        });
        let taken = (0..300).try_for_each(|_| {
            NodeLock::exclusive(dir.path(), Instant::now()).map(drop)?;
            Slot::acquire(dir.path(), 1, Instant::now()).map(drop)
        });
        done.store(true, Ordering::Relaxed);
        taken
    });
    taken.unwrap();
}

#[test]
fn an_orphan_of_a_dead_owner_is_waited_for_and_then_passed_by() {
    let dir = tempfile::tempdir().unwrap();
    let (lock, mut child) = orphan(dir.path());
    // As if the owner had been killed: it is nobody's pid, and the lock is not released.
    fs::write(dir.path().join(".locks/a"), format!("{} 1\n", std::process::id())).unwrap();
    let waited = Instant::now();
    let taken = SandboxLock::acquire(dir.path(), "a", moment()).unwrap();
    assert!(taken.taken_over && waited.elapsed() >= Duration::from_millis(100));
    // Whoever comes now waits for the new lock, not for the orphan's.
    assert!(matches!(SandboxLock::try_acquire(dir.path(), "a"), Err(LockError::Held { owner_alive: true })));
    drop((taken, lock));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn removing_the_lock_file_lets_nobody_in_beside_the_next_holder() {
    let dir = tempfile::tempdir().unwrap();
    let inside = AtomicU32::new(0);
    let work = || {
        for _ in 0..50 {
            let lock = SandboxLock::acquire(dir.path(), "a", soon()).unwrap();
            let others = inside.fetch_add(1, Ordering::SeqCst);
            assert_eq!(others, 0);
            thread::yield_now();
            inside.fetch_sub(1, Ordering::SeqCst);
            lock.release_and_remove();
        }
    };
    thread::scope(|scope| {
        (0..4).for_each(|_| drop(scope.spawn(work)));
    });
    assert_eq!(fs::read_dir(dir.path().join(".locks")).unwrap().count(), 0);
}

#[test]
fn c49_a_waiting_gc_keeps_new_calls_from_starting() {
    let dir = tempfile::tempdir().unwrap();
    let running = NodeLock::shared(dir.path(), soon()).unwrap();
    NodeLock::shared(dir.path(), moment()).unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| NodeLock::exclusive(dir.path(), soon()).map(drop));
        // Its place at the gate shows that it waits.
        testbed::wait::until("GC to wait", Duration::from_secs(10), || {
            NodeLock::shared(dir.path(), Instant::now()).is_err().then_some(())
        })
        .unwrap();
        assert!(!waiting.is_finished());
        drop(running);
        waiting.join().unwrap().unwrap();
    });
    NodeLock::shared(dir.path(), moment()).unwrap();
}

#[test]
fn the_number_of_calls_at_once_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let mut taken: Vec<Slot> = (0..3).map(|_| Slot::acquire(dir.path(), 3, moment()).unwrap()).collect();
    assert!(matches!(Slot::acquire(dir.path(), 3, moment()), Err(LockError::Held { .. })));
    taken.pop();
    Slot::acquire(dir.path(), 3, moment()).unwrap();
}

#[test]
fn a_folder_that_takes_no_lock_is_told_from_a_lock_that_is_held() {
    let nowhere = Path::new("/proc/nowhere");
    assert!(matches!(SandboxLock::acquire(nowhere, "a", moment()), Err(LockError::Unusable(..))));
    assert!(matches!(NodeLock::shared(nowhere, moment()), Err(LockError::Unusable(..))));
}
