//! Starting a program without copying this process.
//!
//! fork copies the page tables of this process, and then each page that either side writes to: for a caller that starts one small
//! plugin after another that is more than all else it does. `posix_spawn` shares the memory until the program is executed, but it
//! cannot ask for PDEATHSIG. Here is what it does, with what a plugin needs besides.
//!
//! All `unsafe` of the workspace is in this module.
#![allow(unsafe_code)]

use std::ffi::{CString, OsStr, OsString, c_char, c_int, c_void};
use std::io::{self, PipeReader, PipeWriter};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::ptr;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions};

/// The child's stack until it executes its program: room for a few system calls.
const STACK: usize = 64 << 10;

/// A process that was started here.
#[derive(Debug)]
pub(super) struct Child {
    pid: Pid,
    /// Set once it has been reaped.
    status: Option<ExitStatus>,
}

/// Our ends of its standard streams.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) stdin: PipeWriter,
    pub(super) stdout: PipeReader,
    pub(super) stderr: PipeReader,
}

impl Child {
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// How it ended, if it has.
    pub(super) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            let found = rustix::process::waitpid(Some(self.pid), WaitOptions::NOHANG)?;
            self.status = found.map(|(_, status)| ExitStatus::from_raw(status.as_raw()));
        }
        Ok(self.status)
    }
}

/// What the child does before it executes its program; all of it made by the parent, since the child may allocate nothing.
struct Orders<'a> {
    program: *const c_char,
    arguments: *const *const c_char,
    environment: *const *const c_char,
    stdin: BorrowedFd<'a>,
    stdout: BorrowedFd<'a>,
    stderr: BorrowedFd<'a>,
    parent: Pid,
    /// Give up a protection from the OOM killer that was meant for the container runtime.
    raise_oom_score: bool,
    /// The child's answer: why the program does not run.
    failed: Option<Errno>,
}

/// Starts the program at `path` with this environment, as leader of a process group of its own. It is killed when the thread that
/// calls this ends.
pub(super) fn start(
    path: &Path,
    environment: &[(OsString, OsString)],
    raise_oom_score: bool,
) -> io::Result<(Child, Ends)> {
    let program = c_string(&[path.as_os_str()])?;
    let variables = environment.iter().map(|(key, value)| c_string(&[key, OsStr::new("="), value]));
    let variables = variables.collect::<io::Result<Vec<CString>>>()?;
    let arguments = [program.as_ptr(), ptr::null()];
    let environment: Vec<*const c_char> =
        variables.iter().map(|variable| variable.as_ptr()).chain([ptr::null()]).collect();
    let (their_stdin, stdin) = io::pipe()?;
    let (stdout, their_stdout) = io::pipe()?;
    let (stderr, their_stderr) = io::pipe()?;
    let child = run(Orders {
        program: program.as_ptr(),
        arguments: arguments.as_ptr(),
        environment: environment.as_ptr(),
        stdin: their_stdin.as_fd(),
        stdout: their_stdout.as_fd(),
        stderr: their_stderr.as_fd(),
        parent: rustix::process::getpid(),
        raise_oom_score,
        failed: None,
    })?;
    Ok((child, Ends { stdin, stdout, stderr }))
}

fn c_string(parts: &[&OsStr]) -> io::Result<CString> {
    let bytes: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
    CString::new(bytes.concat()).map_err(io::Error::from)
}

fn run(mut orders: Orders<'_>) -> io::Result<Child> {
    let mut stack = Box::<[u128]>::new_uninit_slice(STACK / size_of::<u128>());
    let top: *mut MaybeUninit<u128> = stack.as_mut_ptr_range().end;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let blocked = Blocked::all();
    // SAFETY: CLONE_VFORK suspends this thread until the child has executed its program or ended, so `orders`, what it points to and
    // `stack` outlive the child's use of them, and nothing else of ours touches them meanwhile. The child has this memory (CLONE_VM)
    // but neither our signal handlers, which are blocked and then reset, nor our descriptors; see `in_child` for what it does.
    // The stack grows down from `top`, which is aligned to 16 bytes.
    let pid = unsafe { libc::clone(in_child, top.cast(), flags, ptr::from_mut(&mut orders).cast()) };
    // Before anything else may change errno.
    let error = io::Error::last_os_error();
    drop(blocked);
    let pid = Pid::from_raw(pid).filter(|_| pid > 0).ok_or(error)?;
    match orders.failed {
        None => Ok(Child { pid, status: None }),
        Some(why) => {
            // It has ended already.
            let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
            Err(why.into())
        }
    }
}

/// Runs in the child, on the parent's memory: only system calls, no allocation, no lock, no unwinding. Comes back when the program
/// cannot be executed; then the child ends, and the parent goes on.
extern "C" fn in_child(orders: *mut c_void) -> c_int {
    // SAFETY: `run` passes its `Orders`, which nobody else touches while the parent is suspended.
    let orders = unsafe { &mut *orders.cast::<Orders<'_>>() };
    if let Err(why) = prepare(orders) {
        orders.failed = Some(why);
        return 127;
    }
    // SAFETY: a C string, and two arrays of C strings that end with a null pointer; the parent keeps them.
    unsafe { libc::execve(orders.program, orders.arguments, orders.environment) };
    orders.failed = io::Error::last_os_error().raw_os_error().map(Errno::from_raw_os_error);
    127
}

fn prepare(orders: &Orders<'_>) -> Result<(), Errno> {
    rustix::stdio::dup2_stdin(orders.stdin)?;
    rustix::stdio::dup2_stdout(orders.stdout)?;
    rustix::stdio::dup2_stderr(orders.stderr)?;
    rustix::process::setpgid(None, None)?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if rustix::process::getppid() != Some(orders.parent) {
        // The parent has gone before it could be watched.
        return Err(Errno::PIPE);
    }
    if orders.raise_oom_score {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        if let Ok(file) = rustix::fs::open(c"/proc/self/oom_score_adj", flags, Mode::empty()) {
            let _ = rustix::io::write(&file, b"0");
        }
    }
    reset_signals();
    Ok(())
}

/// Handlers of ours must not run in the child, and the program starts with nothing blocked, nor with the SIGPIPE that Rust ignores.
fn reset_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: asks for an action, which is written where the pointer leads; the C library refuses signals of its own.
        let known = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) } == 0;
        // SAFETY: all zeros are an action, and a successful call has written one.
        let handler = unsafe { action.assume_init() }.sa_sigaction;
        let is_handled = ![libc::SIG_DFL, libc::SIG_IGN].contains(&handler);
        if known && (is_handled || signal == libc::SIGPIPE) {
            // SAFETY: the default action runs no code of ours.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
    set_mask(&no_signals());
}

/// All signals of this thread are blocked until this is dropped.
struct Blocked {
    before: libc::sigset_t,
}

impl Blocked {
    fn all() -> Blocked {
        let mut all = no_signals();
        // SAFETY: fills the set that the pointer leads to.
        unsafe { libc::sigfillset(&raw mut all) };
        Blocked { before: set_mask(&all) }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        set_mask(&self.before);
    }
}

fn no_signals() -> libc::sigset_t {
    let mut none = MaybeUninit::zeroed();
    // SAFETY: empties the set that the pointer leads to; all zeros are a set, too.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        none.assume_init()
    }
}

/// Sets this thread's signal mask and returns the one of before.
fn set_mask(mask: &libc::sigset_t) -> libc::sigset_t {
    let mut before = no_signals();
    // SAFETY: reads one set and writes the other.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, &raw mut before) };
    before
}
