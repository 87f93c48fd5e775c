//! What the kernel says about a process (proc(5)).

use std::fs;
use std::io;
use std::time::Duration;

/// The unit of times in /proc/pid/stat: USER_HZ is 100 on every architecture that Naru builds for.
const TICK: Duration = Duration::from_millis(10);

pub(super) fn cpu_time(pid: u32) -> io::Result<Duration> {
    parse_cpu_time(&fs::read_to_string(format!("/proc/{pid}/stat"))?)
}

pub(super) fn resident_bytes(pid: u32) -> io::Result<u64> {
    parse_resident_bytes(&fs::read_to_string(format!("/proc/{pid}/status"))?)
}

/// Fields 14 and 15, counted after the command's closing bracket, since the command may hold spaces and brackets.
pub(super) fn parse_cpu_time(stat: &str) -> io::Result<Duration> {
    let after_command = stat.rsplit_once(')').ok_or_else(|| unreadable("stat: no command"))?.1;
    let mut fields = after_command.split_ascii_whitespace().skip(11);
    let mut ticks = || -> io::Result<u32> {
        fields.next().and_then(|field| field.parse().ok()).ok_or_else(|| unreadable("stat: no times"))
    };
    Ok(TICK * (ticks()? + ticks()?))
}

/// The line `VmRSS: 1234 kB`.
pub(super) fn parse_resident_bytes(status: &str) -> io::Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_ascii_whitespace().next()).and_then(|number| number.parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| unreadable("status: no VmRSS"))
}

fn unreadable(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
