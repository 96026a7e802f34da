//! The wish to end: SIGINT or SIGTERM. The second one ends the process at once.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, low_level::pipe};

/// Waits for it.
#[derive(Debug)]
pub(crate) struct Stop {
    receiver: UnixStream,
}

/// Readable as soon as the wish is there.
impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}

impl Stop {
    /// Listens for the signals.
    pub(crate) fn on_signals() -> io::Result<Self> {
        let (receiver, sender) = UnixStream::pair()?;
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag down and raises it.
            flag::register_conditional_shutdown(signal, 1, Arc::clone(&asked))?;
            flag::register(signal, Arc::clone(&asked))?;
            pipe::register(signal, sender.try_clone()?)?;
        }
        Ok(Self { receiver })
    }

    /// A stop that another thread asks for by writing to, or closing, the other end.
    #[cfg(test)]
    pub(crate) fn by_hand() -> io::Result<(Self, UnixStream)> {
        let (receiver, sender) = UnixStream::pair()?;
        Ok((Self { receiver }, sender))
    }

    /// Waits as long as `limit`; returns whether it came.
    pub(crate) fn within(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut byte = [0];
        loop {
            // A timeout of zero would be none.
            let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            match self.receiver.set_read_timeout(Some(left)).and_then(|()| (&self.receiver).read(&mut byte)) {
                // The very signal that is waited for interrupts the wait: with a timeout the kernel does not go on by itself.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
                }
                Ok(_) => return true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHILD: &str = "STOP_TEST_CHILD";

    /// The child says whether the signal that reaches it in its wait ends the wait.
    #[test]
    fn a_signal_ends_the_wait_that_it_interrupts() {
        if std::env::var_os(CHILD).is_some() {
            let stop = Stop::on_signals().unwrap();
            println!("listening");
            assert!(stop.within(Duration::from_secs(60)));
            return;
        }
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "thin_entrypoint::stop::tests::a_signal_ends_the_wait_that_it_interrupts",
                "--nocapture",
            ])
            .env(CHILD, "1")
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening") {
            line.clear();
            assert_ne!(
                std::io::BufRead::read_line(&mut said, &mut line).unwrap(),
                0,
                "the child ended early"
            );
        }
        let asleep = || {
            let threads = std::fs::read_dir(format!("/proc/{}/task", child.id())).unwrap().flatten();
            let mut states =
                threads.map(|thread| std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default());
            states.all(|stat| stat.contains(") S ")).then_some(())
        };
        testbed::wait::until("the child to wait", Duration::from_secs(20), asleep).unwrap();
        let sent = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
        assert!(sent.unwrap().success());
        // Read to the end, or the child could not write that it has passed.
        std::io::copy(&mut said, &mut std::io::sink()).unwrap();
        assert!(child.wait().unwrap().success());
    }
}
