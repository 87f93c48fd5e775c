//! The one task that writes. It takes all requests that wait, up to a bound, into one transaction: one fsync serves
//! them all, and a busy service needs no more of them than an idle one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::{mpsc, oneshot, watch};

use crate::instruction::{Instruction, Kind};
use crate::store::StoreError;

/// Requests that may wait for the writer: about two seconds of its work. A client that finds it full is told to come
/// back.
pub const QUEUE_MAX: usize = 1024;
/// Requests in one transaction: it bounds how long the first of them waits for the last.
const GROUP_MAX: usize = 128;

/// How long an answer is kept for its idempotency key: a client may repeat a request for this long. Seven days, so that
/// whoever was cut off before a long weekend can still ask.
pub const KEY_RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Expired keys that one transaction deletes: more than it can add, so that they never pile up, and few enough that
/// nobody waits for them.
const EXPIRED_MAX: i64 = 2 * GROUP_MAX as i64;

/// The account that opens wallets.
pub const OPENING_ACCOUNT: &str = "equity:opening";

/// The decided answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The JSON body.
    pub body: String,
}

/// The acknowledgement of one row of the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged {
    /// The row.
    pub position: i64,
    /// The partition that holds the record.
    pub partition: i32,
    /// Where it stands in it.
    pub offset: i64,
}

/// Work for the writer. A reply that is dropped instead of sent means that nothing is known to be written: whoever
/// asked may ask again.
#[derive(Debug)]
pub enum Command {
    /// Carry out an instruction, or repeat the answer that was given for its key.
    Submit {
        /// The client's name for this request.
        idempotency_key: String,
        /// What is asked for.
        instruction: Instruction,
        /// Gets the answer when it stands on disk.
        reply: oneshot::Sender<Answer>,
    },
    /// Write down that the log holds rows of the outbox.
    Acknowledge {
        /// Which rows, and where they stand.
        rows: Vec<Acknowledged>,
        /// Told when that stands on disk.
        reply: oneshot::Sender<()>,
    },
}

/// Counters that others read.
#[derive(Debug, Default)]
pub struct Counters {
    /// Operations in the database.
    pub operations: AtomicU64,
    /// Rows in the outbox.
    pub outbox_pending: AtomicU64,
    /// Submissions answered with 201, repeated ones too.
    pub accepted: AtomicU64,
    /// Submissions refused by what stands in the books.
    pub refused: AtomicU64,
    /// Submissions that could not be read as an instruction.
    pub invalid: AtomicU64,
    /// Submissions sent away because too many waited.
    pub busy: AtomicU64,
    /// Submissions whose outcome could not be told.
    pub unknown: AtomicU64,
}

/// The writing task.
#[derive(Debug)]
pub struct Writer {
    rules: Rules,
    connection: SqliteConnection,
    committed: watch::Sender<i64>,
    counters: Arc<Counters>,
}

/// What decides an instruction, besides the database.
#[derive(Debug)]
struct Rules {
    kind: Kind,
    /// What a wallet is opened with at its first use, in minor units of the currency it is used in.
    opening_grant: i64,
    store_id: String,
}

enum Reply {
    Answer(oneshot::Sender<Answer>, Answer),
    Done(oneshot::Sender<()>),
}

/// What a group of commands has changed, once it is on disk.
#[derive(Clone, Copy, Default)]
struct Changes {
    operations: u64,
    acknowledged: u64,
    position: i64,
}

impl Writer {
    /// Takes over the connection. The receiver always holds the position of the last operation on disk.
    pub async fn new(
        kind: Kind,
        opening_grant: i64,
        mut connection: SqliteConnection,
        counters: Arc<Counters>,
    ) -> Result<(Self, watch::Receiver<i64>), StoreError> {
        let query = "SELECT id, (SELECT coalesce(max(position), 0) FROM operation),
                            (SELECT count(*) FROM operation), (SELECT count(*) FROM outbox) FROM store";
        let (store_id, position, operations, pending): (String, i64, i64, i64) =
            sqlx::query_as(query).fetch_one(&mut connection).await?;
        counters.operations.store(operations.unsigned_abs(), Ordering::Relaxed);
        counters.outbox_pending.store(pending.unsigned_abs(), Ordering::Relaxed);
        let (committed, watching) = watch::channel(position);
        let rules = Rules { kind, opening_grant, store_id };
        Ok((Self { rules, connection, committed, counters }, watching))
    }

    /// Works until every sender is gone.
    pub async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut group = Vec::with_capacity(GROUP_MAX);
        while commands.recv_many(&mut group, GROUP_MAX).await > 0 {
            match self.write(group.drain(..)).await {
                Ok((changes, replies)) => self.publish(&changes, replies),
                // The replies are gone with the group, which tells those who wait.
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "a group of requests was not written")
                }
            }
        }
        if let Err(error) = self.connection.close().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "closing the database failed");
        }
    }

    /// Carries out a group in one transaction. Each command has a savepoint of its own: one that fails leaves nothing
    /// behind and takes no other with it; whoever sent it sees the reply dropped. When the transaction itself fails,
    /// nothing of the group is written.
    async fn write(&mut self, group: impl Iterator<Item = Command>) -> Result<(Changes, Vec<Reply>), StoreError> {
        let mut transaction = self.connection.begin().await?;
        let query = "SELECT coalesce(max(position), 0) FROM operation";
        let position = sqlx::query_scalar(query).fetch_one(&mut *transaction).await?;
        let mut changes = Changes { position, ..Changes::default() };
        let mut replies = Vec::with_capacity(GROUP_MAX);
        for command in group {
            let mut step = transaction.begin().await?;
            let mut changed = changes;
            match execute(&self.rules, &mut step, &mut changed, command).await {
                Ok(reply) => {
                    step.commit().await?;
                    changes = changed;
                    replies.push(reply);
                }
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "a request was not written");
                    // A failure such as a full disk has ended the whole transaction: then this fails too.
                    step.rollback().await?;
                }
            }
        }
        forget_expired(&mut transaction).await?;
        transaction.commit().await?;
        Ok((changes, replies))
    }

    fn publish(&self, changes: &Changes, replies: Vec<Reply>) {
        let Counters { operations, outbox_pending, .. } = &*self.counters;
        operations.fetch_add(changes.operations, Ordering::Relaxed);
        outbox_pending.fetch_add(changes.operations, Ordering::Relaxed);
        outbox_pending.fetch_sub(changes.acknowledged, Ordering::Relaxed);
        self.committed.send_replace(changes.position);
        for reply in replies {
            // Whoever asked may have gone away; what was asked is done all the same.
            let _gone = match reply {
                Reply::Answer(reply, answer) => reply.send(answer).is_err(),
                Reply::Done(reply) => reply.send(()).is_err(),
            };
        }
    }
}

async fn execute(
    rules: &Rules,
    connection: &mut SqliteConnection,
    changes: &mut Changes,
    command: Command,
) -> Result<Reply, StoreError> {
    match command {
        Command::Submit { idempotency_key, instruction, reply } => {
            let answer = submit(rules, connection, changes, &idempotency_key, &instruction).await?;
            Ok(Reply::Answer(reply, answer))
        }
        Command::Acknowledge { rows, reply } => {
            acknowledge(connection, changes, &rows).await?;
            Ok(Reply::Done(reply))
        }
    }
}

/// Deletes answers that are older than [`KEY_RETENTION`], the oldest first. The clock is SQLite's, which also wrote
/// their times.
async fn forget_expired(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let query = "DELETE FROM request WHERE idempotency_key IN
        (SELECT idempotency_key FROM request WHERE decided < unixepoch() - ? ORDER BY decided LIMIT ?)";
    let seconds = KEY_RETENTION.as_secs().cast_signed();
    sqlx::query(query).bind(seconds).bind(EXPIRED_MAX).execute(connection).await?;
    Ok(())
}

/// One line of the ledger: what an account gains (or, below zero, loses) by an operation.
struct Posting<'a> {
    account: &'a str,
    minor: i64,
}

async fn submit(
    rules: &Rules,
    connection: &mut SqliteConnection,
    changes: &mut Changes,
    idempotency_key: &str,
    instruction: &Instruction,
) -> Result<Answer, StoreError> {
    let canonical = instruction.canonical();
    let query = "SELECT instruction, status, answer FROM request WHERE idempotency_key = ?";
    let earlier = sqlx::query_as::<_, (String, u16, String)>(query).bind(idempotency_key);
    if let Some((earlier, status, body)) = earlier.fetch_optional(&mut *connection).await? {
        return Ok(if earlier == canonical { Answer { status, body } } else { key_reused() });
    }
    let answer = carry_out(rules, connection, changes, idempotency_key, instruction).await?;
    sqlx::query("INSERT INTO request VALUES (?, ?, ?, ?, unixepoch())")
        .bind(idempotency_key)
        .bind(canonical)
        .bind(answer.status)
        .bind(&answer.body)
        .execute(&mut *connection)
        .await?;
    Ok(answer)
}

async fn carry_out(
    rules: &Rules,
    connection: &mut SqliteConnection,
    changes: &mut Changes,
    idempotency_key: &str,
    instruction: &Instruction,
) -> Result<Answer, StoreError> {
    let Instruction { user, counterparty, amount } = instruction;
    let (from, to) = (instruction.from_account(), instruction.to_account(rules.kind));
    let mut postings = Vec::with_capacity(6);
    let payer = match balance(connection, &from, &amount.currency).await? {
        Some(balance) => balance,
        None => open_wallet(&mut postings, &from, rules.opening_grant),
    };
    let payee = match balance(connection, &to, &amount.currency).await? {
        Some(balance) => balance,
        None if rules.kind == Kind::Transfer => open_wallet(&mut postings, &to, rules.opening_grant),
        None => 0,
    };
    if payer < amount.minor {
        return Ok(refusal("insufficient_funds", "the balance of `user` is less than the amount: send a smaller one"));
    }
    if payee.checked_add(amount.minor).is_none() {
        let field = rules.kind.counterparty_field();
        return Ok(refusal("account_full", &format!("the account of `{field}` cannot hold more: name another one")));
    }
    let granted = postings.iter().filter(|posting| posting.account == OPENING_ACCOUNT).map(|posting| posting.minor);
    let opening = balance(connection, OPENING_ACCOUNT, &amount.currency).await?.unwrap_or(0);
    if granted.into_iter().try_fold(opening, i64::checked_add).is_none() {
        let message = format!("no more wallets can be opened in {}: use wallets that are open", amount.currency);
        return Ok(refusal("opening_exhausted", &message));
    }
    postings.push(Posting { account: &from, minor: -amount.minor });
    postings.push(Posting { account: &to, minor: amount.minor });

    let query =
        "INSERT INTO user_sequence VALUES (?, 1) ON CONFLICT (user) DO UPDATE SET last = last + 1 RETURNING last";
    let sequence: i64 = sqlx::query_scalar(query).bind(user).fetch_one(&mut *connection).await?;
    changes.position += 1;
    changes.operations += 1;
    let position = changes.position;
    let id = format!("{}-{}-{position}", rules.kind.name(), rules.store_id);
    sqlx::query("INSERT INTO operation VALUES (?, ?, ?, ?, ?, ?, ?)")
        .bind(position)
        .bind(&id)
        .bind(user)
        .bind(sequence)
        .bind(counterparty)
        .bind(&amount.currency)
        .bind(amount.minor)
        .execute(&mut *connection)
        .await?;
    post(connection, position, &amount.currency, &postings).await?;
    let value = serde_json::json!({
        "id": id,
        "kind": rules.kind.name(),
        "sequence": sequence,
        "idempotency_key": idempotency_key,
        "user": user,
        (rules.kind.counterparty_field()): counterparty,
        "amount": amount,
    });
    sqlx::query("INSERT INTO outbox VALUES (?, ?, ?, ?)")
        .bind(position)
        .bind(&id)
        .bind(user)
        .bind(value.to_string())
        .execute(&mut *connection)
        .await?;
    Ok(Answer { status: 201, body: serde_json::json!({ "id": id, "sequence": sequence }).to_string() })
}

/// Books the postings and moves the balances.
async fn post(
    connection: &mut SqliteConnection,
    operation: i64,
    currency: &str,
    postings: &[Posting<'_>],
) -> Result<(), StoreError> {
    if postings.iter().map(|posting| i128::from(posting.minor)).sum::<i128>() != 0 {
        return Err(StoreError::Unbalanced);
    }
    for Posting { account, minor } in postings {
        sqlx::query("INSERT INTO posting VALUES (?, ?, ?, ?)")
            .bind(operation)
            .bind(account)
            .bind(currency)
            .bind(minor)
            .execute(&mut *connection)
            .await?;
        // Not an upsert: its check would judge the posting as if it were the balance.
        let query = "UPDATE account SET balance = balance + ? WHERE id = ? AND currency = ?";
        let updated = sqlx::query(query).bind(minor).bind(account).bind(currency).execute(&mut *connection).await?;
        if updated.rows_affected() == 0 {
            let query = "INSERT INTO account VALUES (?, ?, ?)";
            sqlx::query(query).bind(account).bind(currency).bind(minor).execute(&mut *connection).await?;
        }
    }
    Ok(())
}

/// Gives a new wallet its opening grant, and says what it then holds.
fn open_wallet<'a>(postings: &mut Vec<Posting<'a>>, wallet: &'a str, grant: i64) -> i64 {
    if grant > 0 {
        postings.push(Posting { account: OPENING_ACCOUNT, minor: -grant });
        postings.push(Posting { account: wallet, minor: grant });
    }
    grant
}

async fn balance(connection: &mut SqliteConnection, account: &str, currency: &str) -> Result<Option<i64>, StoreError> {
    let query = "SELECT balance FROM account WHERE id = ? AND currency = ?";
    Ok(sqlx::query_scalar(query).bind(account).bind(currency).fetch_optional(connection).await?)
}

async fn acknowledge(
    connection: &mut SqliteConnection,
    changes: &mut Changes,
    rows: &[Acknowledged],
) -> Result<(), StoreError> {
    let mut next = BTreeMap::new();
    for Acknowledged { position, partition, offset } in rows {
        let deleted = sqlx::query("DELETE FROM outbox WHERE position = ?").bind(position).execute(&mut *connection);
        changes.acknowledged += deleted.await?.rows_affected();
        let reached = next.entry(partition).or_insert(0);
        *reached = (offset + 1).max(*reached);
    }
    for (partition, next_offset) in next {
        let query = "INSERT INTO published VALUES (?, ?) ON CONFLICT DO UPDATE SET next_offset = excluded.next_offset";
        sqlx::query(query).bind(partition).bind(next_offset).execute(&mut *connection).await?;
    }
    Ok(())
}

fn refusal(error: &str, message: &str) -> Answer {
    Answer { status: 409, body: serde_json::json!({ "error": error, "message": message }).to_string() }
}

fn key_reused() -> Answer {
    let message = "this Idempotency-Key was used with another body: use a new key for a new request";
    let body = serde_json::json!({ "error": "idempotency_key_reused", "message": message }).to_string();
    Answer { status: 422, body }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use tempfile::TempDir;

    use super::*;
    use crate::store::{self, Reader};

    /// A transfer of 5 KRW, its idempotency key being the names of both.
    fn transfer(user: &str, to: &str) -> (String, Instruction) {
        let body = format!(r#"{{"user":"{user}","to":"{to}","amount":{{"currency":"KRW","minor":5}}}}"#);
        (format!("{user}-{to}"), Instruction::read(Kind::Transfer, body.as_bytes()).unwrap())
    }

    /// Puts transfers into one group, over a database prepared with `sql`; answers with the status of each, or nothing
    /// for one whose reply was dropped, and with the database and its directory.
    async fn group(sql: &str, opening_grant: i64, transfers: &[(&str, &str)]) -> (Vec<Option<u16>>, Reader, TempDir) {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("transfer.sqlite");
        let mut connection = store::open(&file).await.unwrap();
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        let reader = Reader::open(&file).await.unwrap();
        let counters = Arc::new(Counters::default());
        let writer = Writer::new(Kind::Transfer, opening_grant, connection, Arc::clone(&counters)).await;
        let (writer, _committed) = writer.unwrap();
        let (commands, queue) = mpsc::channel(GROUP_MAX);
        let mut answers = Vec::new();
        for (user, to) in transfers {
            let (reply, answer) = oneshot::channel();
            let (idempotency_key, instruction) = transfer(user, to);
            commands.try_send(Command::Submit { idempotency_key, instruction, reply }).unwrap();
            answers.push(answer);
        }
        drop(commands);
        writer.run(queue).await;
        let mut statuses = Vec::new();
        for answer in answers {
            statuses.push(answer.await.ok().map(|answer| answer.status));
        }
        let written = statuses.iter().filter(|status| **status == Some(201)).count() as u64;
        assert_eq!(counters.operations.load(Ordering::Relaxed), written);
        assert_eq!(reader.imbalances().await.unwrap(), 0);
        (statuses, reader, dir)
    }

    #[tokio::test]
    async fn a_request_that_fails_takes_no_other_of_its_group_with_it() {
        // Fails behind the sequence number and before the postings: the middle of the work.
        let broken = "CREATE TRIGGER broken BEFORE INSERT ON operation WHEN NEW.user = 'broken'
                      BEGIN SELECT RAISE(ABORT, 'on purpose'); END";
        let (statuses, reader, _dir) = group(broken, 10, &[("a", "b"), ("broken", "b"), ("a", "c")]).await;
        assert_eq!(statuses, [Some(201), None, Some(201)]);
        let outbox = reader.outbox(0, 10).await.unwrap();
        let places: Vec<_> = outbox.iter().map(|row| (row.position, row.key.as_str())).collect();
        assert_eq!(places, [(1, "a"), (2, "a")]);
        assert_eq!(reader.balances("user:broken").await.unwrap(), []);
    }

    #[tokio::test]
    async fn the_opening_account_refuses_a_wallet_before_it_overflows() {
        // Room for two wallets, and each transfer between new users opens two.
        let (statuses, reader, _dir) =
            group("", i64::MAX / 2, &[("a", "b"), ("c", "d"), ("a", "b2"), ("b", "a")]).await;
        assert_eq!(statuses, [Some(201), Some(409), Some(409), Some(201)]);
        assert_eq!(reader.balances(OPENING_ACCOUNT).await.unwrap(), [("KRW".to_owned(), -(i64::MAX - 1))]);
    }

    #[tokio::test]
    async fn a_key_is_forgotten_after_its_retention_and_not_before() {
        let (old, recent) = (KEY_RETENTION.as_secs() + 60, KEY_RETENTION.as_secs() - 60);
        let keys = format!(
            "INSERT INTO request VALUES ('old', '', 201, '', unixepoch() - {old}),
                                        ('recent', '', 201, '', unixepoch() - {recent})"
        );
        let (statuses, reader, _dir) = group(&keys, 10, &[("a", "b")]).await;
        assert_eq!(statuses, [Some(201)]);
        assert_eq!(reader.keys().await.unwrap(), ["a-b", "recent"]);
    }
}
