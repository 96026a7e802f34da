//! Two daemons and one socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use super::*;

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Whether `listener` is who answers at the socket.
fn answers(arriving: &Arriving, dir: &Path) -> bool {
    let listener = &arriving.calls;
    let Ok(mut client) = UnixStream::connect(socket_path(dir)) else { return false };
    let Ok((mut server, _)) = listener.accept() else { return false };
    server.write_all(b"x").unwrap();
    let mut byte = [0];
    client.read_exact(&mut byte).is_ok()
}

#[test]
fn folder_and_socket_are_for_their_owner_alone() {
    let parent = dir();
    let dir = parent.path().join("multus");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
    let (socket, _listener) = Socket::bind(&dir).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&dir), mode(socket.path())), (0o700, 0o600));
    assert_eq!(names(&dir), [LOCK, "multus.sock", NOTICES]);
}

#[test]
fn what_else_is_in_the_folder_stays_where_upstream_deletes_it() {
    let dir = dir();
    fs::create_dir(dir.path().join("spool")).unwrap();
    fs::write(dir.path().join("spool/sandbox1"), "x").unwrap();
    let bound = Socket::bind(dir.path()).unwrap();
    assert!(dir.path().join("spool/sandbox1").exists());
    drop(bound);
    assert!(dir.path().join("spool/sandbox1").exists());
}

#[test]
fn a_new_daemon_takes_over_and_the_old_one_leaves_its_socket_alone() {
    let dir = dir();
    let (old, old_listener) = Socket::bind(dir.path()).unwrap();
    assert_eq!(old.lost(), None);
    assert!(answers(&old_listener, dir.path()));
    // Somebody is in the old one's queue when the new one comes.
    let _waiting = UnixStream::connect(old.path()).unwrap();
    let (new, new_listener) = Socket::bind(dir.path()).unwrap();
    assert_eq!((old.lost(), new.lost()), (Some(Lost::Taken), None));
    assert!(answers(&new_listener, dir.path()));
    assert!(old_listener.calls.accept().is_ok(), "whoever waited is still answered");
    drop(old);
    assert!(answers(&new_listener, dir.path()), "the old one took the new one's socket away");
    drop(new);
    assert_eq!(names(dir.path()), [LOCK]);
}

#[test]
fn at_every_moment_of_a_hand_over_there_is_a_socket() {
    let dir = dir();
    let mut kept = vec![Socket::bind(dir.path()).unwrap()];
    let stop = std::sync::atomic::AtomicBool::new(false);
    let refused = std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let connect = || UnixStream::connect(socket_path(dir.path()));
            let mut refused = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                // A queue that is full is no missing socket.
                refused += usize::from(connect().is_err_and(|error| error.kind() == io::ErrorKind::NotFound));
            }
            refused
        });
        for _ in 0..200 {
            kept.push(Socket::bind(dir.path()).unwrap());
            drop(kept.remove(0).0);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        client.join().unwrap()
    });
    assert_eq!(refused, 0);
}

#[test]
fn a_socket_or_folder_that_is_taken_away_is_noticed() {
    let parent = dir();
    let dir = parent.path().join("multus");
    let (socket, _listener) = Socket::bind(&dir).unwrap();
    fs::remove_file(socket.path()).unwrap();
    assert_eq!(socket.lost(), Some(Lost::Removed));
    let (again, listener) = Socket::bind(&dir).unwrap();
    assert!(again.lost().is_none() && answers(&listener, &dir));
    fs::remove_dir_all(&dir).unwrap();
    assert_eq!(again.lost(), Some(Lost::FolderGone));
    fs::create_dir(&dir).unwrap();
    assert_eq!(again.lost(), Some(Lost::FolderGone), "a new folder of that name is another one");
}

#[test]
fn what_a_killed_daemon_left_goes() {
    let dir = dir();
    drop(UnixListener::bind(socket_path(dir.path())).unwrap());
    drop(UnixListener::bind(dir.path().join(format!("{FRESH}4242"))).unwrap());
    let (_socket, listener) = Socket::bind(dir.path()).unwrap();
    assert!(answers(&listener, dir.path()));
    assert_eq!(names(dir.path()), [LOCK, "multus.sock", NOTICES]);
}

#[test]
fn a_folder_that_cannot_be_used_is_said() {
    let dir = dir();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let text = Socket::bind(&file.join("below")).unwrap_err().to_string();
    assert!(text.contains("cannot create") && text.contains("mounted from the host"), "{text}");
}
