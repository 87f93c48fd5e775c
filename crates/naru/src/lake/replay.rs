//! `naru lake replay`: an event that did not fit, written once more.

use std::io::Write as _;
use std::process::ExitCode;

use naru_kafka::client::TopicPartition;
use naru_lake::config::LakeConfig;
use naru_lake::events::dead::DeadError;
use naru_lake::events::replay::replay;
use naru_lake::lake::{OpenError, client};
use naru_runtime::config::Flags;

use crate::serving;

/// Arguments of `naru lake replay`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Topic of the event
    #[arg(long)]
    topic: String,
    /// Partition of the event
    #[arg(long)]
    partition: i32,
    /// Offset of the event
    #[arg(long)]
    offset: i64,
    #[command(flatten)]
    flags: Flags<LakeConfig>,
}

/// Why it was not written.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Settings(#[from] OpenError),
    #[error("the log")]
    Log(#[from] DeadError),
    #[error("the system refused")]
    System(#[from] std::io::Error),
}

/// Writes the event to the end of its partition: every reader of the topic sees it again.
pub fn run(args: &Args) -> ExitCode {
    serving::run(
        "lake replay",
        args.flags.load(),
        &mut tokio::runtime::Builder::new_current_thread(),
        async |config: LakeConfig| {
            let client = client(&config.log)?;
            let at = TopicPartition::new(args.topic.as_str(), args.partition);
            match replay(&client, &at, args.offset).await? {
                Some(offset) => {
                    writeln!(std::io::stdout(), "written again at offset {offset}")?;
                    Ok::<_, Failure>(ExitCode::SUCCESS)
                }
                None => {
                    writeln!(std::io::stderr(), "{at} has no record at offset {}", args.offset)?;
                    Ok(ExitCode::FAILURE)
                }
            }
        },
    )
}
