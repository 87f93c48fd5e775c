//! The children's side of the verdict: each ended as it was asked to, and none wrote what somebody must look at.
//!
//! A service that panics and is replaced, or a broker that hangs at its end, can leave a history without a blemish; it is
//! a finding all the same. What the plan itself did to a child (a SIGKILL at its time) is no finding.

use std::io::{self, BufRead, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;

use crate::check::Verdict;

/// How a role of this binary ends when it is asked to.
pub const ENDS_WELL: i32 = 0;
/// How a JVM ends on SIGTERM after its shutdown hooks: 128 and the signal's number.
pub const JVM_ENDS_ON_SIGTERM: i32 = 143;

/// Bytes of a line that are looked at as one; a longer line is looked at in pieces.
const LINE_BYTES_MAX: u64 = 4_096;
/// Characters of a line that the report shows.
const SHOWN_CHARS_MAX: usize = 300;
/// Lines of one child that are kept to be named; the others are counted.
const LINES_NAMED_MAX: usize = 10;

/// What marks a line that somebody must look at: an ERROR of ours in either log format, a panic, and the words by which a
/// JVM says that a thread, or all of it, has died.
const TROUBLE: [&str; 5] =
    [" ERROR ", "\"level\":\"ERROR\"", "panicked at", "Exception in thread", "fatal error has been detected"];

/// How the relay marks an alarm. An alarm is the relay's answer to what the plan does to it: whether it was over at the
/// end is judged by how the relay stands then.
const ALARM: &str = ": alarm group=";

/// How a child's process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It was asked to end, and did so by itself.
    Asked(ExitStatus),
    /// It was asked to end, did not in time, and was killed.
    Forced,
    /// It was gone before it was asked to end, or before the planned fault struck it; the status if the system kept it.
    Early(Option<ExitStatus>),
}

/// One ending of one child. A child that a fault restarts has one for each process of it that ended unplanned.
#[derive(Debug, Clone)]
pub struct Ended {
    /// As the report names it: "cluster a", "service payment".
    pub child: String,
    /// The exit code that it should end with.
    pub code: i32,
    /// How it ended.
    pub ending: Ending,
}

/// The lines of one child that somebody must look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trouble {
    /// As the report names the child.
    pub child: String,
    /// The first of them, cut to what a reader needs.
    pub named: Vec<String>,
    /// All of them.
    pub total: u64,
}

/// Reads a child's whole output.
///
/// # Errors
/// If the file cannot be read.
pub fn trouble_of(child: &str, log: &Path) -> io::Result<Trouble> {
    trouble(child, io::BufReader::new(std::fs::File::open(log)?))
}

fn trouble(child: &str, mut log: impl BufRead) -> io::Result<Trouble> {
    let mut found = Trouble { child: child.to_owned(), ..Trouble::default() };
    let mut line = Vec::new();
    loop {
        line.clear();
        if log.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(found);
        }
        let text = String::from_utf8_lossy(&line);
        if !TROUBLE.iter().any(|word| text.contains(word)) || text.contains(ALARM) {
            continue;
        }
        found.total += 1;
        if found.named.len() < LINES_NAMED_MAX {
            found.named.push(text.trim_end().chars().take(SHOWN_CHARS_MAX).collect());
        }
    }
}

/// Every child ended as asked, and none wrote an ERROR or panicked.
pub fn check(endings: &[Ended], troubles: &[Trouble]) -> Verdict {
    let sentence = "every process that the run started ended as asked, and none panicked or wrote an ERROR";
    let mut verdict = Verdict::open("children", sentence, "endings and logs");
    for Ended { child, code, ending } in endings {
        verdict.examined += 1;
        let detail = match ending {
            Ending::Asked(status) if status.code() == Some(*code) => continue,
            Ending::Asked(status) => format!("{} when asked to end, instead of exit code {code}", shown(*status)),
            Ending::Forced => "did not end in time and was killed".to_owned(),
            Ending::Early(Some(status)) => format!("{} before anybody asked it to end", shown(*status)),
            Ending::Early(None) => "ended before anybody asked it to".to_owned(),
        };
        verdict.find(|| child.clone(), || detail);
    }
    for Trouble { child, named, total } in troubles {
        verdict.examined += 1;
        for line in named {
            verdict.find(|| child.clone(), || line.clone());
        }
        for _ in named.len() as u64..*total {
            verdict.find(|| child.clone(), || "a further line of the kind".to_owned());
        }
    }
    verdict
}

fn shown(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended in an unknown way".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test panics on failure")]

    use super::*;

    fn exited(code: i32) -> ExitStatus {
        ExitStatus::from_raw(code << 8)
    }

    #[test]
    fn a_child_that_did_not_end_as_asked_is_named() {
        let check = |code: i32, ending: Ending, expect: Option<&str>| {
            let ended = Ended { child: "service payment".to_owned(), code, ending };
            let verdict = check(&[ended], &[]);
            assert_eq!((verdict.passed, verdict.examined), (expect.is_none(), 1), "{ending:?}");
            let found: Vec<_> = verdict.named.iter().map(|f| (f.record.as_str(), f.detail.as_str())).collect();
            assert_eq!(found, expect.map(|detail| ("service payment", detail)).into_iter().collect::<Vec<_>>());
        };
        let sigsegv = ExitStatus::from_raw(11);
        check(ENDS_WELL, Ending::Asked(exited(0)), None);
        check(ENDS_WELL, Ending::Asked(exited(101)), Some("exit code 101 when asked to end, instead of exit code 0"));
        check(ENDS_WELL, Ending::Asked(sigsegv), Some("ended by signal 11 when asked to end, instead of exit code 0"));
        check(ENDS_WELL, Ending::Forced, Some("did not end in time and was killed"));
        check(ENDS_WELL, Ending::Early(Some(exited(0))), Some("exit code 0 before anybody asked it to end"));
        check(ENDS_WELL, Ending::Early(None), Some("ended before anybody asked it to"));
        check(JVM_ENDS_ON_SIGTERM, Ending::Asked(exited(143)), None);
        check(
            JVM_ENDS_ON_SIGTERM,
            Ending::Asked(exited(0)),
            Some("exit code 0 when asked to end, instead of exit code 143"),
        );
    }

    #[test]
    fn a_line_that_somebody_must_look_at_is_found_and_shown() {
        let check = |line: &str, expect: bool| {
            let log = format!("ready listen=127.0.0.1:80\n{line}\nT  INFO a: the end");
            let found = trouble("cluster a", log.as_bytes()).unwrap();
            assert_eq!(found.total, u64::from(expect), "{line:?}");
            let verdict = super::check(&[], &[found]);
            assert_eq!(verdict.passed, !expect, "{line:?}");
            if expect {
                assert_eq!(verdict.named[0].detail, line.chars().take(SHOWN_CHARS_MAX).collect::<String>());
            }
        };
        check("2026-11-23T06:50:54Z ERROR naru_sample::publish: the log refused a record", true);
        check(r#"{"timestamp":"2026-11-23T06:50:54Z","level":"ERROR","message":"x"}"#, true);
        check("thread 'main' panicked at crates/sample/src/writer.rs:1:2:", true);
        check("Exception in thread \"main\" java.lang.OutOfMemoryError", true);
        check(&format!("T ERROR {}", "x".repeat(3_000)), true);
        check("2026-11-23T06:50:54Z  WARN naru_sample::publish: the log is away", false);
        check("T  INFO a: code=NO_ERROR errors=0", false);
        check("T ERROR naru_relay::govern::runner: alarm group=\"pay\" alarm=\"damaged\" text=\"side a\"", false);
        check("T ERROR naru_relay::govern::work: a topic cannot be made again topic=x", true);
    }

    #[test]
    fn many_lines_are_counted_and_a_few_named() {
        let log = "T ERROR a: again\n".repeat(1_000);
        let found = trouble("cluster a", log.as_bytes()).unwrap();
        assert_eq!((found.total, found.named.len()), (1_000, LINES_NAMED_MAX));
        assert_eq!(super::check(&[], &[found]).findings_total, 1_000);
    }
}
