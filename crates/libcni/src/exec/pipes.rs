//! The three pipes of a plugin, served by one thread without ever blocking on one of them.

use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::start::Ends;

/// Most bytes of stdout that are kept.
pub(super) const MOST_STDOUT: usize = 1 << 20;
/// Most bytes of stderr that are kept; the last ones, where programs say why they fail.
const MOST_STDERR: usize = 64 << 10;
/// Bytes moved at a time.
const CHUNK: usize = 64 << 10;

pub(super) struct Pipes<'a> {
    stdin: Option<PipeWriter>,
    unwritten: &'a [u8],
    stdout: Option<PipeReader>,
    stderr: Option<PipeReader>,
    kept_stdout: Vec<u8>,
    too_long: bool,
    kept_stderr: Vec<u8>,
}

impl<'a> Pipes<'a> {
    pub(super) fn of(ends: Ends, stdin: &'a [u8]) -> io::Result<Pipes<'a>> {
        // Only our ends become non-blocking; the plugin's are other open files.
        for end in [ends.stdin.as_fd(), ends.stdout.as_fd(), ends.stderr.as_fd()] {
            rustix::io::ioctl_fionbio(end, true)?;
        }
        Ok(Pipes {
            stdin: Some(ends.stdin),
            unwritten: stdin,
            stdout: Some(ends.stdout),
            stderr: Some(ends.stderr),
            kept_stdout: Vec::new(),
            too_long: false,
            kept_stderr: Vec::new(),
        })
    }

    /// Waits until a pipe can be served, the process behind `pidfd` has ended, or time is up; serves what can
    /// be served.
    pub(super) fn turn(&mut self, pidfd: Option<&OwnedFd>, patience: Option<Duration>) -> io::Result<()> {
        let [to_stdin, to_stdout, to_stderr] = self.wait(pidfd, patience)?;
        if to_stdin {
            self.write();
        }
        if to_stdout && let Some(bytes) = read(&mut self.stdout)? {
            let room = MOST_STDOUT - self.kept_stdout.len();
            self.too_long |= bytes.len() > room;
            self.kept_stdout.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
        if to_stderr && let Some(bytes) = read(&mut self.stderr)? {
            self.kept_stderr.extend_from_slice(&bytes);
            if self.kept_stderr.len() > 2 * MOST_STDERR {
                keep_last(&mut self.kept_stderr);
            }
        }
        Ok(())
    }

    fn wait(&self, pidfd: Option<&OwnedFd>, patience: Option<Duration>) -> io::Result<[bool; 3]> {
        let timeout = patience.map(|time| Timespec {
            tv_sec: time.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        });
        let mut polled = Vec::with_capacity(4);
        let ends = [
            (self.stdin.as_ref().map(AsFd::as_fd), PollFlags::OUT),
            (self.stdout.as_ref().map(AsFd::as_fd), PollFlags::IN),
            (self.stderr.as_ref().map(AsFd::as_fd), PollFlags::IN),
        ];
        let places = ends.map(|(end, flags)| {
            polled.push(PollFd::from_borrowed_fd(end?, flags));
            Some(polled.len() - 1)
        });
        polled.extend(pidfd.map(|pidfd| PollFd::new(pidfd, PollFlags::IN)));
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(places.map(|place| place.is_some_and(|index| !polled[index].revents().is_empty())))
    }

    /// Writes what fits, and closes stdin when all is written. A plugin may well not read its stdin, or not to
    /// the end: that is no failure of ours.
    fn write(&mut self) {
        let Some(stdin) = &mut self.stdin else { return };
        if !self.unwritten.is_empty() {
            match stdin.write(self.unwritten) {
                Ok(written) => self.unwritten = &self.unwritten[written..],
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                    return;
                }
                Err(_) => self.unwritten = &[],
            }
        }
        if self.unwritten.is_empty() {
            self.stdin = None;
        }
    }

    pub(super) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Whether everyone who could write has gone.
    pub(super) fn are_closed(&self) -> bool {
        self.stdout.is_none() && self.stderr.is_none()
    }

    /// Stdout, whether it was cut, and stderr.
    pub(super) fn into_output(mut self) -> (Vec<u8>, bool, Vec<u8>) {
        keep_last(&mut self.kept_stderr);
        (self.kept_stdout, self.too_long, self.kept_stderr)
    }
}

fn keep_last(bytes: &mut Vec<u8>) {
    if let Some(surplus) = bytes.len().checked_sub(MOST_STDERR) {
        bytes.drain(..surplus);
    }
}

/// Reads once; closes the pipe at its end.
fn read(pipe: &mut Option<impl Read>) -> io::Result<Option<Vec<u8>>> {
    let Some(reader) = pipe else { return Ok(None) };
    let mut chunk = vec![0; CHUNK];
    match reader.read(&mut chunk) {
        Ok(0) => {
            *pipe = None;
            Ok(None)
        }
        Ok(length) => {
            chunk.truncate(length);
            Ok(Some(chunk))
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}
