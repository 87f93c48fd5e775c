//! Why a capture stops, and whether it goes on by itself.

use naru_kafka::client::ClientError;
use naru_kafka::wire::ErrorCode;
use pgwire_replication::PgWireError;

use crate::log::resume::ResumeError;
use crate::source::pgoutput::Malformed;

/// Why a session between database and log ended.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The database refused a statement, or is away.
    #[error("the database: {asked}")]
    Database {
        /// What was asked of it.
        asked: &'static str,
        /// What it says.
        #[source]
        source: sqlx::Error,
    },
    /// The stream of changes broke.
    #[error("the stream of changes from the database")]
    Stream(#[source] PgWireError),
    /// The database sent what its protocol does not have.
    #[error("the stream of changes from the database")]
    Malformed(#[from] Malformed),
    /// The certificates towards the vault do not fit. The operator's side.
    #[error("tls towards the vault")]
    VaultTls(#[from] naru_runtime::mtls::MtlsError),
    /// The log refused a batch, or is away.
    #[error("the log")]
    Log(#[from] ClientError),
    /// What is on the log cannot be gone on with.
    #[error(transparent)]
    Resume(#[from] ResumeError),
    /// The database as it is cannot be captured. The operator must mend it.
    #[error("{what}; {fix}")]
    Refused {
        /// What is wrong.
        what: String,
        /// What mends it.
        fix: String,
    },
    /// The slot no longer holds what was not written yet.
    #[error("{0}")]
    Lost(LostSlot),
    /// The definition of a table changed so that it must be copied anew: the session begins again.
    #[error("table {table} is copied anew: {reason}")]
    CopyAnew {
        /// The table's topic.
        table: String,
        /// Why.
        reason: String,
    },
    /// Another process captures the source. It goes on once that one ends.
    #[error("another process captures this source: it holds the lock of the slot {slot}")]
    Held {
        /// The slot.
        slot: String,
    },
    /// The other half of the session ended first; that one says why.
    #[error("the session's writer ended")]
    WriterGone,
}

/// A slot that cannot give what was not written yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostSlot {
    /// The slot.
    pub slot: String,
    /// What became of it.
    pub became: String,
    /// Everything up to here is on the log.
    pub written: u64,
    /// Changes from `written` up to here are missing.
    pub until: u64,
}

impl std::fmt::Display for LostSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lsn = pgwire_replication::Lsn::from_u64;
        write!(
            f,
            "the slot {} {}: changes committed after {} and up to {} are missing from the log (positions {} to {}); start \
             once with --copy-anew, which copies every table again, so that nothing is missing in their rows",
            self.slot,
            self.became,
            lsn(self.written),
            lsn(self.until),
            self.written + 1,
            self.until,
        )
    }
}

impl CaptureError {
    /// An error of a statement.
    pub(crate) fn database(asked: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Database { asked, source }
    }

    /// Whether the same can succeed later without anybody changing anything.
    pub fn retry_can_help(&self) -> bool {
        match self {
            Self::Database { source, .. } => is_passing(source),
            Self::Stream(PgWireError::Io(_) | PgWireError::Task(_)) => true,
            // The state of the server stands in the text only. A slot that another process holds, a server that starts or
            // stops, a session that an administrator ended.
            Self::Stream(PgWireError::Server(said)) => {
                ["55006", "57P01", "57P02", "57P03", "53300"].iter().any(|state| said.contains(state))
            }
            Self::Stream(PgWireError::Protocol(_)) => true,
            Self::Stream(_) | Self::VaultTls(_) | Self::Malformed(_) | Self::Refused { .. } | Self::Lost(_) => false,
            // What was written is found out from the log.
            Self::Log(error) => error.retry_can_help() || error.outcome_unknown() || is_of_the_producer(error),
            Self::Resume(error) => error.retry_can_help(),
            Self::CopyAnew { .. } | Self::Held { .. } | Self::WriterGone => true,
        }
    }
}

/// Whether the log knows the producer no more, or not what it wrote last, as after a takeover: the next session has an id
/// of its own, and finds out from the log what is written.
fn is_of_the_producer(error: &ClientError) -> bool {
    let codes =
        [ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, ErrorCode::INVALID_PRODUCER_EPOCH, ErrorCode::UNKNOWN_PRODUCER_ID];
    error.code().is_some_and(|code| codes.contains(&code))
}

fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Protocol(_) => true,
        // A server that starts or stops (57P..), without room (53...), a failed connection (08...), a slot in use (55006).
        sqlx::Error::Database(error) => error
            .code()
            .is_some_and(|code| ["57P", "53", "08"].iter().any(|class| code.starts_with(class)) || code == "55006"),
        _ => false,
    }
}
