//! Answers as they come and as they must not come, and sockets behind which nobody answers.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::thread;

use proptest::prelude::*;

use super::*;

fn read(bytes: &[u8]) -> Result<Response, Error> {
    read_response(&mut &*bytes, 1 << 20)
}

/// Gives its bytes in pieces of the sizes that `sizes` repeats.
struct Pieces<'a> {
    bytes: &'a [u8],
    sizes: Vec<usize>,
    turn: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let size = self.sizes[self.turn % self.sizes.len()].min(into.len()).min(self.bytes.len());
        self.turn += 1;
        into[..size].copy_from_slice(&self.bytes[..size]);
        self.bytes = &self.bytes[size..];
        Ok(size)
    }
}

#[derive(Debug, Clone, Copy)]
enum Framing {
    Length,
    Chunks(usize),
    Close,
}

fn written(status: u16, body: &[u8], framing: Framing) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} Because\r\nServer: somebody\r\n").into_bytes();
    match framing {
        Framing::Length => {
            text.extend(format!("content-length:  {}\r\n\r\n", body.len()).bytes());
            text.extend(body);
        }
        Framing::Chunks(size) => {
            text.extend(b"Transfer-Encoding: chunked\r\n\r\n");
            for chunk in body.chunks(size) {
                text.extend(format!("{:X};name=value\r\n", chunk.len()).bytes());
                text.extend(chunk);
                text.extend(b"\r\n");
            }
            text.extend(b"0\r\nTrailer: x\r\n\r\n");
        }
        Framing::Close => {
            text.extend(b"\r\n");
            text.extend(body);
        }
    }
    text
}

fn framing() -> impl Strategy<Value = Framing> {
    prop_oneof![Just(Framing::Length), (1_usize..300).prop_map(Framing::Chunks), Just(Framing::Close)]
}

proptest! {
    #[test]
    fn what_was_written_is_read_however_it_arrives(
        status in 200_u16..204,
        body in proptest::collection::vec(any::<u8>(), 0..2000),
        framing in framing(),
        sizes in proptest::collection::vec(1_usize..100, 1..8),
    ) {
        let text = written(status, &body, framing);
        let mut pieces = Pieces { bytes: &text, sizes, turn: 0 };
        let response = read_response(&mut pieces, 4000).unwrap();
        prop_assert_eq!(response, Response { status, body });
    }

    #[test]
    fn a_body_never_exceeds_its_bound(
        body in proptest::collection::vec(any::<u8>(), 101..2000),
        framing in framing(),
    ) {
        let text = written(200, &body, framing);
        let refused = matches!(read_response(&mut &*text, 100), Err(Error::TooLarge(100)));
        prop_assert!(refused);
    }

    #[test]
    fn an_answer_that_is_cut_off_is_no_answer(
        body in proptest::collection::vec(any::<u8>(), 1..500),
        framing in prop_oneof![Just(Framing::Length), (1_usize..300).prop_map(Framing::Chunks)],
        cut in 0.0_f64..1.0,
    ) {
        let text = written(200, &body, framing);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let kept = (text.len() as f64 * cut) as usize;
        prop_assert!(read(&text[..kept]).is_err());
    }

    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
        let _ = read(&bytes);
        let _ = read(&[b"HTTP/1.1 200 OK\r\n", bytes.as_slice()].concat());
        let _ = read(&[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", bytes.as_slice()].concat());
    }
}

#[test]
fn go_s_answers_are_read() {
    // As upstream's daemon writes them.
    let healthy = b"HTTP/1.1 200 OK\r\nDate: Mon, 01 Jan 2026 00:00:00 GMT\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert_eq!(read(healthy).unwrap(), Response { status: 200, body: Vec::new() });
    let missing = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert_eq!(read(missing).unwrap().status, 404);
    let old = b"HTTP/1.0 200 OK\n\nbody";
    assert_eq!(read(old).unwrap().body, b"body");
    let interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n";
    assert_eq!(read(interim).unwrap(), Response { status: 204, body: Vec::new() });
}

#[test]
fn what_is_not_http_is_refused() {
    for text in [
        "",
        "\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 999 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxx\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
    ] {
        assert!(read(text.as_bytes()).is_err(), "{text:?}");
    }
    let endless = [b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'x'; 1 << 20]].concat();
    assert!(matches!(read(&endless), Err(Error::NotHttp(_))));
    let interim = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(1000);
    assert!(matches!(read(&interim), Err(Error::NotHttp(_))));
}

fn request(body: &[u8], millis: u64) -> Request<'_> {
    Request {
        method: "POST",
        path: "/v1/lookup",
        body,
        largest_answer: 1 << 20,
        deadline: Instant::now() + Duration::from_millis(millis),
    }
}

#[test]
fn nobody_at_the_socket_is_said_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    assert!(matches!(call(&socket, &request(b"", 10_000)), Err(Error::Connect(_))));
    drop(UnixListener::bind(&socket).unwrap());
    assert!(matches!(call(&socket, &request(b"", 10_000)), Err(Error::Connect(_))));
    let long = dir.path().join("x".repeat(200));
    assert!(matches!(call(&long, &request(b"", 10_000)), Err(Error::Connect(_))));
}

#[test]
fn a_daemon_that_does_not_answer_costs_no_more_than_the_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let _silent = UnixListener::bind(&socket).unwrap();
    assert!(matches!(call(&socket, &request(b"{}", 50)), Err(Error::Late)));
    // A request larger than the socket's buffer is not taken by a daemon that does not read.
    assert!(matches!(call(&socket, &request(&vec![b' '; 8 << 20], 50)), Err(Error::Late)));
    assert!(matches!(call(&socket, &request(b"{}", 0)), Err(Error::Late)));
}

#[test]
fn a_daemon_that_is_stopped_and_whose_queue_is_full_costs_no_more_either() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    rustix::net::bind(&fd, &SocketAddrUnix::new(&socket).unwrap()).unwrap();
    rustix::net::listen(&fd, 0).unwrap();
    // The first connections fill the queue; whoever comes later is not even connected.
    let mut queued = Vec::new();
    while let Ok(stream) = open(&socket, Instant::now() + Duration::from_millis(50)) {
        queued.push(stream);
    }
    assert!(matches!(call(&socket, &request(b"{}", 50)), Err(Error::Late)));
}

#[test]
fn a_daemon_that_answers_a_byte_at_a_time_is_held_to_the_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let slow = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        while stream.write_all(b"H").is_ok() {
            #[allow(clippy::disallowed_methods, reason = "this is the slow daemon")]
            thread::sleep(Duration::from_millis(5));
        }
    });
    assert!(matches!(call(&socket, &request(b"{}", 100)), Err(Error::Late)));
    slow.join().unwrap();
}

#[test]
fn an_answer_before_the_request_was_read_is_heard() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let hasty = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno").unwrap();
        stream.shutdown(std::net::Shutdown::Both).unwrap();
    });
    let answer = call(&socket, &request(&vec![b' '; 4 << 20], 10_000)).unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (413, b"no".as_slice()));
    hasty.join().unwrap();
}
