//! Starting children that die with this process.
//!
//! PR_SET_PDEATHSIG fires when the THREAD that forked ends, and async runtimes end idle threads. So one thread that
//! lives as long as the process starts every child.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

use super::{NodeError, nix_pid};

struct Order {
    command: Command,
    reply: mpsc::SyncSender<io::Result<Child>>,
}

/// Starts `command` with its output appended to `log`, in a process group of its own, so that Ctrl-C on a terminal
/// reaches the owner alone, who then ends its nodes in order.
pub(super) fn spawn(mut command: Command, log: &Path) -> Result<Child, NodeError> {
    let file_error = |source| NodeError::File { path: log.to_owned(), source };
    let output = OpenOptions::new().create(true).append(true).open(log).map_err(file_error)?;
    let errors = output.try_clone().map_err(file_error)?;
    command.stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0);
    tie(&mut command);
    let program = Path::new(command.get_program()).to_owned();
    on_spawner(command).map_err(|source| NodeError::Spawn { program, source })
}

/// Ties a process to the thread that starts it: however that one ends, the kernel ends the process.
pub fn tie(command: &mut Command) -> &mut Command {
    let owner = nix::unistd::getpid();
    // SAFETY: between fork and exec only the async-signal-safe calls prctl and getppid are made, nothing allocates.
    unsafe {
        command.pre_exec(move || {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            // The owner may have died between fork and prctl: then nobody would send the signal.
            if nix::unistd::getppid() == owner { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
        })
    }
}

/// How long a process may take to stand still: each of its threads must be scheduled once.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// Sends a signal to a child of this process. SIGSTOP stops each thread when it is scheduled next, and on a busy machine
/// one may answer a request until then: after SIGSTOP this blocks until all have stopped, or the child has ended.
///
/// # Errors
/// If there is no such child, or it does not stand still within ten seconds.
pub fn signal_child(pid: u32, signal: Signal) -> io::Result<()> {
    let pid = nix_pid(pid);
    nix::sys::signal::kill(pid, signal)?;
    if signal != Signal::SIGSTOP {
        return Ok(());
    }
    // WNOWAIT leaves what is found to whoever waits for the child's end.
    let stopped = WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    let deadline = Instant::now() + STOP_WITHIN;
    while waitid(Id::Pid(pid), stopped)? == WaitStatus::StillAlive {
        if Instant::now() >= deadline {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "it does not stand still"));
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "it must live as long as the process, so nobody joins it")]
fn on_spawner(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Mutex<mpsc::SyncSender<Order>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        // One order at a time: callers wait for their child anyway.
        let (orders, inbox) = mpsc::sync_channel::<Order>(1);
        thread::spawn(move || {
            for mut order in inbox {
                let child = order.command.spawn();
                // The caller waits for this answer; if it is gone, dropping the handle leaves the child to pdeathsig.
                if order.reply.send(child).is_err() {
                    tracing::warn!("nobody waits for a child that was started");
                }
            }
        });
        Mutex::new(orders)
    });
    let (reply, answer) = mpsc::sync_channel(1);
    let gone = |_| io::Error::other("the spawner thread has ended");
    let orders = spawner.lock().unwrap_or_else(PoisonError::into_inner).clone();
    orders.send(Order { command, reply }).map_err(|_| io::Error::other("the spawner thread has ended"))?;
    answer.recv().map_err(gone)?
}
