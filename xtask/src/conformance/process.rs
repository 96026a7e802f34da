//! Running a program of the target within a time limit.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// No program may take longer.
const LIMIT: Duration = Duration::from_secs(60);

/// How a program ended.
#[derive(Debug, Default)]
pub(super) struct Ended {
    pub(super) exit: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
    pub(super) took: Duration,
    /// Killed because it took too long.
    pub(super) late: bool,
}

/// A program that runs.
pub(super) struct Running {
    child: Child,
    start: Instant,
    stdout: Arc<Mutex<Vec<u8>>>,
    readers: [JoinHandle<Vec<u8>>; 2],
}

impl Running {
    pub(super) fn start(
        program: &Path,
        arguments: &[String],
        environment: &BTreeMap<String, String>,
        dir: &Path,
        stdin: &str,
    ) -> Result<Self> {
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(environment)
            .current_dir(dir)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let start = Instant::now();
        let (mut pipe, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let stdin = stdin.to_owned();
        // A program that does not read its stdin must not block us; it may end first, which is no error here.
        std::thread::spawn(move || pipe.as_mut().map(|pipe| pipe.write_all(stdin.as_bytes())));
        let stdout = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&stdout);
        let out = std::thread::spawn(move || {
            let Some(out) = out else { return Vec::new() };
            let mut out = BufReader::new(out);
            loop {
                let mut line = Vec::new();
                if out.read_until(b'\n', &mut line).unwrap_or(0) == 0 {
                    return seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
                }
                seen.lock().unwrap_or_else(PoisonError::into_inner).extend(line);
            }
        });
        let err = std::thread::spawn(move || {
            let mut all = Vec::new();
            if let Some(mut err) = err {
                let _ = err.read_to_end(&mut all);
            }
            all
        });
        Ok(Self { child, start, stdout, readers: [out, err] })
    }

    /// Whether stdout holds `text` by now.
    pub(super) fn said(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.stdout.lock().unwrap_or_else(PoisonError::into_inner)).contains(text)
    }

    pub(super) fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    pub(super) fn terminate(&self) {
        self.signal("TERM");
    }

    fn signal(&self, signal: &str) {
        let _ = Command::new("kill")
            .args([&format!("-{signal}"), "--", &format!("-{}", self.child.id())])
            .output();
    }

    pub(super) fn wait(mut self) -> Result<Ended> {
        let mut late = false;
        if testbed::wait::until("the program", LIMIT.saturating_sub(self.start.elapsed()), || {
            self.has_ended().then_some(())
        })
        .is_err()
        {
            late = true;
            self.signal("KILL");
        }
        let took = self.start.elapsed();
        let status = self.child.wait().context("wait for the program")?;
        let [out, err] = self.readers.map(|reader| {
            let read = reader.join().unwrap_or_default();
            String::from_utf8_lossy(&read).into_owned()
        });
        let exit = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
        Ok(Ended { exit, stdout: out, stderr: err, took, late })
    }
}
