//! kcat.

use tokio::process::Command;

use super::{Subject, read_all, run};

/// kcat with the system's librdkafka: cargo lets programs find the one that it built first.
pub(crate) fn kcat_itself() -> Command {
    let mut command = Command::new("kcat");
    command.env_remove("LD_LIBRARY_PATH");
    command
}

fn kcat(subject: &Subject, args: &str) -> Command {
    let mut command = kcat_itself();
    command.args(["-b", &subject.bootstrap()]).args(args.split_whitespace());
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn kcat_lists_produces_and_consumes() {
    let subject = Subject::start().await;
    let input: String = (0..300).map(|number| format!("k{}:{number}\n", number % 7)).collect();
    // The topic is made by asking for it.
    run(&mut kcat(&subject, "-P -t cat -K: -z zstd -X enable.idempotence=true"), &input).await;
    assert_eq!(read_all(&subject.bootstrap(), "cat").len(), 300);
    let listed = run(&mut kcat(&subject, "-L -t cat"), "").await;
    assert!(listed.contains("topic \"cat\" with 1 partitions"), "{listed}");
    let all = run(&mut kcat(&subject, "-C -t cat -o beginning -e -q -K:"), "").await;
    assert_eq!(all, input);
    let last = run(&mut kcat(&subject, "-C -t cat -o -2 -e -q -f %o:%k:%s\\n"), "").await;
    assert_eq!(last, "298:k4:298\n299:k5:299\n");
    let queried = run(&mut kcat(&subject, "-Q -t cat:0:-1"), "").await;
    assert!(queried.contains("offset 300"), "{queried}");
    let grouped = run(&mut kcat(&subject, "-G cats -c 300 -q -K: -X auto.offset.reset=earliest cat"), "").await;
    assert_eq!(grouped, input);
}
