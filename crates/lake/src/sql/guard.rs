//! Every query, on its way in and out: whose it is, whether it only reads, what it may cost, and a line in the log.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use datafusion::common::ParamValues;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::{EmptyRelation, LogicalPlan};
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement as ParsedStatement;
use datafusion::sql::sqlparser::ast::Statement;
use datafusion_postgres::arrow_pg::datatypes::{arrow_schema_to_pg_fields, encode_recordbatch};
use datafusion_postgres::pgwire::api::ClientInfo;
use datafusion_postgres::pgwire::api::portal::Format;
use datafusion_postgres::pgwire::api::results::QueryResponse;
use datafusion_postgres::pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use futures::{Stream, StreamExt as _, stream};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::role::Role;
use super::session::Sessions;
use super::single;

/// Codes of PostgreSQL that clients understand.
pub(super) mod code {
    pub const READ_ONLY: &str = "25006";
    pub const NOT_SUPPORTED: &str = "0A000";
    pub const CANCELLED: &str = "57014";
    pub const OUT_OF_MEMORY: &str = "53200";
    pub const TOO_COMPLEX: &str = "54001";
    pub const WRONG_NAME: &str = "42P01";
    pub const NO_SUCH_SETTING: &str = "42704";
    pub const TOO_MANY: &str = "54000";
    pub const WRONG_SYNTAX: &str = "42601";
    pub const WRONG_VALUE: &str = "22000";
    pub const NOBODY: &str = "28000";
    pub const INTERNAL: &str = "XX000";
}

/// The way of every query.
#[derive(Debug)]
pub struct Guard {
    sessions: Arc<Sessions>,
    at_work: Arc<Semaphore>,
}

/// One query at work: its line in the log is written when it is dropped.
struct Work {
    user: String,
    tables: Vec<String>,
    began: Instant,
    rows: u64,
    end: &'static str,
    _permit: Permit,
}

/// A place among the queries at work, shared by the statements of one message.
pub type Permit = Arc<OwnedSemaphorePermit>;

impl Work {
    fn ends(mut self, how: &'static str) {
        self.end = how;
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // Never its text: what it asks for may be personal.
        tracing::info!(
            user = self.user,
            tables = self.tables.join(","),
            rows = self.rows,
            ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            end = self.end,
            "query"
        );
    }
}

impl Guard {
    /// In front of these sessions.
    pub fn new(sessions: Arc<Sessions>) -> Self {
        let at_work = usize::try_from(sessions.config().queries_max).unwrap_or(1);
        Self { sessions, at_work: Arc::new(Semaphore::new(at_work)) }
    }

    /// Most bytes of a query's text.
    pub fn query_bytes_max(&self) -> usize {
        usize::try_from(self.sessions.config().query_bytes_max.bytes()).unwrap_or(usize::MAX)
    }

    fn session(&self, user: &str) -> PgWireResult<SessionContext> {
        let role = Role::of(self.sessions.config(), user).ok_or_else(|| refused(code::NOBODY, "no such user"))?;
        self.sessions.query(role).map_err(said)
    }

    /// What a statement means, without running it.
    ///
    /// # Errors
    /// When it does more than read, or names what is not there for the user.
    pub async fn plan(&self, user: &str, statement: &Statement) -> PgWireResult<(SessionContext, LogicalPlan)> {
        only_reads(statement)?;
        let session = self.session(user)?;
        let parsed = ParsedStatement::Statement(Box::new(statement.clone()));
        let planned = tokio::time::timeout(self.sessions.config().query_time_max, async {
            let plan = session.state().statement_to_plan(parsed).await?;
            SQLOptions::new()
                .with_allow_ddl(false)
                .with_allow_dml(false)
                .with_allow_statements(false)
                .verify_plan(&plan)?;
            single::checked(plan)
        });
        let plan = planned.await.map_err(|_| self.too_long())?.map_err(said)?;
        Ok((session, plan))
    }

    /// A place among the queries at work, for the statements of one message.
    ///
    /// # Errors
    /// When there is none for as long as a query may take.
    pub async fn permit(&self) -> PgWireResult<Permit> {
        let limit = self.sessions.config().query_time_max;
        match tokio::time::timeout(limit, Arc::clone(&self.at_work).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Arc::new(permit)),
            _ => Err(self.too_long()),
        }
    }

    /// What a statement means, without the tables: it may be kept for as long as the client likes.
    ///
    /// # Errors
    /// As [`Guard::plan`].
    pub async fn prepare(&self, user: &str, statement: &Statement) -> PgWireResult<LogicalPlan> {
        let _permit = self.permit().await?;
        let (_, plan) = self.plan(user, statement).await?;
        let emptied = plan.transform_down_with_subqueries(|node| {
            Ok(match node {
                LogicalPlan::TableScan(scan) => Transformed::yes(LogicalPlan::EmptyRelation(EmptyRelation {
                    produce_one_row: false,
                    schema: scan.projected_schema,
                })),
                node => Transformed::no(node),
            })
        });
        Ok(emptied.map_err(said)?.data)
    }

    fn too_long(&self) -> PgWireError {
        too_long(self.sessions.config().query_time_max)
    }

    /// Runs a statement; its answer comes as its rows do.
    ///
    /// # Errors
    /// As [`Guard::plan`], and when it takes too long or too much.
    pub async fn run(
        &self,
        user: &str,
        statement: &Statement,
        params: Option<&ParamValues>,
        format: &Format,
        permit: Permit,
    ) -> PgWireResult<QueryResponse> {
        let limit = self.sessions.config().query_time_max;
        let began = Instant::now();
        let deadline = began + limit;
        let mut work =
            Work { user: user.to_owned(), tables: Vec::new(), began, rows: 0, end: "refused", _permit: permit };
        let (session, plan) = self.plan(user, statement).await?;
        let plan = match params {
            Some(params) => plan.replace_params_with_values(params).map_err(said)?,
            None => plan,
        };
        work.tables = tables(&plan);
        let fields = Arc::new(arrow_schema_to_pg_fields(plan.schema().as_arrow(), format, None)?);
        work.end = "failed";
        let opened = tokio::time::timeout_at(deadline, async {
            let frame = session.execute_logical_plan(plan).await?;
            let mut rows = frame.execute_stream().await?;
            // What is not one row yet can still be cancelled; most of the work is done before the first.
            let first = rows.next().await.transpose()?;
            Ok((first, rows))
        });
        let (first, rows) = match opened.await {
            Err(_) => {
                work.end = "out of time";
                return Err(self.too_long());
            }
            Ok(opened) => opened.map_err(said)?,
        };
        work.end = "broken off";
        let batches = bounded(first, rows, work, deadline, limit);
        let encoded = {
            let fields = Arc::clone(&fields);
            batches.flat_map(move |batch| {
                let rows: Vec<_> = match batch {
                    Ok(batch) => encode_recordbatch(Arc::clone(&fields), batch).collect(),
                    Err(error) => vec![Err(error)],
                };
                stream::iter(rows)
            })
        };
        Ok(QueryResponse::new(fields, encoded))
    }
}

/// An answer that is not at its end.
struct Open {
    first: Option<arrow::array::RecordBatch>,
    rows: SendableRecordBatchStream,
    work: Work,
}

/// The rest of an answer, for as long as its time lasts: then rows and place are given back, whether or not the client takes
/// in what is there.
fn bounded(
    first: Option<arrow::array::RecordBatch>,
    rows: SendableRecordBatchStream,
    work: Work,
    deadline: Instant,
    limit: Duration,
) -> Pin<Box<dyn Stream<Item = PgWireResult<arrow::array::RecordBatch>> + Send>> {
    let open = Arc::new(Mutex::new(Some(Open { first, rows, work })));
    // Ends with the stream.
    let mut ending = JoinSet::new();
    let left = Arc::clone(&open);
    ending.spawn(async move {
        tokio::time::sleep_until(deadline).await;
        if let Some(mut open) = left.lock().await.take() {
            open.work.end = "out of time";
        }
    });
    Box::pin(stream::unfold((open, ending, false), move |(open, ending, is_over)| async move {
        if is_over {
            return None;
        }
        let mut held = open.lock().await;
        let Some(Open { first, rows, work }) = held.as_mut() else {
            drop(held);
            return Some((Err(too_long(limit)), (open, ending, true)));
        };
        let next = match first.take() {
            Some(first) => Ok(Some(Ok(first))),
            None => tokio::time::timeout_at(deadline, rows.next()).await,
        };
        let answer = match next {
            Ok(Some(Ok(batch))) => {
                work.rows += batch.num_rows() as u64;
                drop(held);
                return Some((Ok(batch), (open, ending, false)));
            }
            Ok(Some(Err(error))) => {
                work.end = "failed";
                Some(Err(said(error)))
            }
            Ok(None) => {
                if let Some(open) = held.take() {
                    open.work.ends("done");
                }
                None
            }
            Err(_) => {
                work.end = "out of time";
                Some(Err(too_long(limit)))
            }
        };
        *held = None;
        drop(held);
        answer.map(|answer| (answer, (open, ending, true)))
    }))
}

/// The tables that a plan reads, by name.
fn tables(plan: &LogicalPlan) -> Vec<String> {
    let mut found = BTreeSet::new();
    let looked = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let schema = scan.table_name.schema().unwrap_or_default();
            found.insert(format!("{schema}.{}", scan.table_name.table()));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    // The look at a plan cannot fail; were it so, its line in the log has fewer tables.
    looked.map(|_| ()).unwrap_or_default();
    found.into_iter().collect()
}

/// Whether a statement does nothing but read.
fn only_reads(statement: &Statement) -> PgWireResult<()> {
    match statement {
        Statement::Query(_)
        | Statement::Explain { .. }
        | Statement::ExplainTable { .. }
        | Statement::ShowTables { .. }
        | Statement::ShowColumns { .. }
        | Statement::ShowFunctions { .. }
        | Statement::ShowVariable { .. }
        | Statement::ShowSchemas { .. }
        | Statement::ShowDatabases { .. } => Ok(()),
        Statement::Copy { .. } => Err(refused(code::NOT_SUPPORTED, "COPY is not offered; select the rows")),
        Statement::Prepare { .. } | Statement::Execute { .. } | Statement::Declare { .. } | Statement::Fetch { .. } => {
            Err(refused(code::NOT_SUPPORTED, "only statements prepared by the protocol are offered, and no cursors"))
        }
        _ => Err(refused(code::READ_ONLY, "the lake is read-only: its rows come from the log")),
    }
}

pub(super) fn refused(code: &str, message: &str) -> PgWireError {
    PgWireError::UserError(Box::new(ErrorInfo::new("ERROR".to_owned(), code.to_owned(), message.to_owned())))
}

fn too_long(limit: Duration) -> PgWireError {
    let limit = naru_runtime::config::format_duration(limit);
    refused(code::CANCELLED, &format!("the query took longer than {limit}, which is all that a query gets"))
}

/// What the asker is told. It can name values, but only such as the asker may see: what the role does not see never
/// reaches an expression of the query, and what a policy of its rows runs into is an error from outside.
pub(super) fn said(error: DataFusionError) -> PgWireError {
    let root = error.find_root();
    let code = match root {
        DataFusionError::ResourcesExhausted(_) => {
            return refused(code::OUT_OF_MEMORY, "the query needs more memory than a query gets");
        }
        DataFusionError::SQL(..) => code::WRONG_SYNTAX,
        DataFusionError::Plan(_) | DataFusionError::SchemaError(..) => code::WRONG_NAME,
        DataFusionError::NotImplemented(_) => code::NOT_SUPPORTED,
        DataFusionError::ArrowError(..) | DataFusionError::Execution(_) => code::WRONG_VALUE,
        DataFusionError::External(_) | DataFusionError::ParquetError(_) | DataFusionError::IoError(_) => {
            // Paths and offsets are the operator's to see.
            tracing::warn!(error = root as &dyn std::error::Error, "a query could not read a table");
            return refused(code::INTERNAL, "a table could not be read; the lake's log says why");
        }
        _ => code::INTERNAL,
    };
    let text = root.strip_backtrace();
    match text.contains("recursion limit") {
        true => refused(code::TOO_COMPLEX, "the query is nested too deeply"),
        false => refused(code, &text),
    }
}

/// Who asks.
pub fn user_of(client: &(impl ClientInfo + ?Sized)) -> String {
    client.metadata().get("user").cloned().unwrap_or_default()
}

/// Statements that other hooks answer: they touch nothing of the lake.
pub fn is_of_the_session(statement: &Statement) -> bool {
    matches!(
        statement,
        Statement::StartTransaction { .. }
            | Statement::Commit { .. }
            | Statement::Rollback { .. }
            | Statement::Savepoint { .. }
            | Statement::ReleaseSavepoint { .. }
            | Statement::Deallocate { .. }
            | Statement::Discard { .. }
            | Statement::Set(_)
            | Statement::ShowVariable { .. }
            | Statement::ShowStatus { .. }
    )
}
