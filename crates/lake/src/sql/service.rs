//! What clients of PostgreSQL say, after they were let in.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::DataType;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{EmptyRelation, LogicalPlan};
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::ast::Statement;
use datafusion_postgres::QueryHook as _;
use datafusion_postgres::arrow_pg::datatypes::df::deserialize_parameters;
use datafusion_postgres::arrow_pg::datatypes::{arrow_schema_to_pg_fields, into_pg_type};
use datafusion_postgres::hooks::HookClient;
use datafusion_postgres::hooks::set_show::SetShowHook;
use datafusion_postgres::hooks::transactions::TransactionStatementHook;
use datafusion_postgres::pgwire::api::portal::{Format, Portal, PortalExecutionState};
use datafusion_postgres::pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use datafusion_postgres::pgwire::api::results::{FieldInfo, Response, Tag};
use datafusion_postgres::pgwire::api::stmt::QueryParser;
use datafusion_postgres::pgwire::api::store::PortalStore;
use datafusion_postgres::pgwire::api::{
    ClientInfo, ClientPortalStore, ConnectionHandle, DEFAULT_NAME, PgWireConnectionState, Type,
};
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::PgWireBackendMessage;
use datafusion_postgres::pgwire::messages::extendedquery::{Execute, PortalSuspended};
use futures::{Sink, SinkExt as _, StreamExt as _};

use super::guard::{Guard, Permit, code, is_of_the_session, refused, said, user_of};
use super::settings;
use super::syntax::{Syntax, SyntaxError};

/// Statements in one message of the simple protocol: each holds its first rows until its turn.
const STATEMENTS_MAX: usize = 64;
/// Rows of an answer that are gathered before they are sent.
const ROWS_AT_ONCE: usize = 256;

/// A statement, and what it means, with nothing in place of the tables; none if it is empty. The type is the one that the protocol's hooks know.
pub type Prepared = (String, Option<(Statement, LogicalPlan)>);

/// Answers queries. One for all connections.
pub struct Service {
    parser: Arc<Parser>,
    /// Statements about the session itself are answered over a session that has nothing.
    nothing: SessionContext,
}

impl Service {
    /// Behind a guard.
    pub fn new(guard: Arc<Guard>) -> Self {
        Self { parser: Arc::new(Parser { guard, syntax: Syntax::default() }), nothing: SessionContext::new() }
    }

    async fn of_the_session(&self, statement: &Statement, client: &mut dyn HookClient) -> PgWireResult<Response> {
        // Nothing is written, so that there is nothing to go back to.
        match statement {
            Statement::Savepoint { .. } => return Ok(Response::Execution(Tag::new("SAVEPOINT"))),
            Statement::ReleaseSavepoint { .. } => return Ok(Response::Execution(Tag::new("RELEASE"))),
            Statement::Rollback { savepoint: Some(_), .. } => {
                return Ok(Response::TransactionStart(Tag::new("ROLLBACK")));
            }
            Statement::Deallocate { .. } => return Ok(Response::Execution(Tag::new("DEALLOCATE"))),
            Statement::Discard { .. } => return Ok(Response::Execution(Tag::new("DISCARD ALL"))),
            _ => {}
        }
        if let Some(answer) = settings::set(statement, client).await {
            return answer;
        }
        if matches!(statement, Statement::ShowVariable { .. } | Statement::ShowStatus { .. })
            && !settings::is_known(statement)
        {
            return Err(refused(code::NO_SUCH_SETTING, "unrecognized configuration parameter"));
        }
        if let Some(answer) = SetShowHook.handle_simple_query(statement, &self.nothing, client).await {
            return answer;
        }
        let answer = TransactionStatementHook.handle_simple_query(statement, &self.nothing, client).await;
        answer.unwrap_or_else(|| Err(refused(code::NOT_SUPPORTED, "this statement is not offered")))
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

/// Reads statements.
pub struct Parser {
    guard: Arc<Guard>,
    syntax: Syntax,
}

impl Parser {
    fn statements(&self, sql: &str) -> PgWireResult<Vec<Statement>> {
        if sql.len() > self.guard.query_bytes_max() {
            return Err(refused(code::TOO_COMPLEX, "the text of the query is too long"));
        }
        self.syntax.statements(sql).map_err(|error| {
            let code = match &error {
                SyntaxError::TooDeep => code::TOO_COMPLEX,
                SyntaxError::Wrong(_) => code::WRONG_SYNTAX,
            };
            refused(code, &error.to_string())
        })
    }
}

#[async_trait]
impl SimpleQueryHandler for Service {
    async fn do_query<C>(&self, client: &mut C, query: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: fmt::Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let statements = self.parser.statements(query)?;
        if statements.is_empty() {
            return Ok(vec![Response::EmptyQuery]);
        }
        if statements.len() > STATEMENTS_MAX {
            return Err(refused(code::TOO_MANY, &format!("there are more than {STATEMENTS_MAX} statements at once")));
        }
        // One place for all: their answers are taken in one after the other.
        let mut permit: Option<Permit> = None;
        let mut answers = Vec::with_capacity(statements.len());
        for statement in statements {
            answers.push(match is_of_the_session(&statement) {
                true => self.of_the_session(&statement, client).await?,
                false => {
                    let user = user_of(client);
                    let permit = match &permit {
                        Some(permit) => Arc::clone(permit),
                        None => Arc::clone(permit.insert(self.parser.guard.permit().await?)),
                    };
                    let format = &Format::UnifiedText;
                    Response::Query(self.parser.guard.run(&user, &statement, None, format, permit).await?)
                }
            });
        }
        Ok(answers)
    }
}

#[async_trait]
impl ExtendedQueryHandler for Service {
    type Statement = Prepared;
    type QueryParser = Parser;

    fn query_parser(&self) -> Arc<Self::QueryParser> {
        Arc::clone(&self.parser)
    }

    async fn on_execute<C>(&self, client: &mut C, message: Execute) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Self::Statement>,
        C::Error: fmt::Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let name = message.name.clone().unwrap_or_else(|| DEFAULT_NAME.to_owned());
        let Some(portal) = client.portal_store().get_portal(&name) else {
            return Err(PgWireError::PortalNotFound(name));
        };
        let reads = portal.statement.statement.1.as_ref().is_some_and(|(statement, _)| !is_of_the_session(statement));
        if !reads {
            return self._on_execute(client, Execute::new(Some(name), 0)).await;
        }
        if !matches!(client.state(), PgWireConnectionState::ReadyForQuery) {
            return Err(PgWireError::NotReadyForQuery);
        }
        client.set_state(PgWireConnectionState::QueryInProgress);
        let handle = client.session_extensions().get::<Arc<ConnectionHandle>>();
        let cancelled = async {
            match handle {
                Some(handle) => {
                    // The sender goes when the next query begins: that is no cancelling.
                    if handle.start_query().await.await.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            answered = self.answer(client, &portal, usize::try_from(message.max_rows).unwrap_or(0)) => answered?,
            () = cancelled => return Err(PgWireError::QueryCanceled),
        }
        client.set_state(PgWireConnectionState::ReadyForQuery);
        Ok(())
    }

    async fn do_query<C>(
        &self,
        client: &mut C,
        portal: &Portal<Self::Statement>,
        _max_rows: usize,
    ) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Self::Statement>,
        C::Error: fmt::Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let Some((statement, plan)) = &portal.statement.statement.1 else { return Ok(Response::EmptyQuery) };
        if is_of_the_session(statement) {
            return self.of_the_session(statement, client).await;
        }
        let types = parameter_types(plan)?;
        let types: Vec<_> = types.iter().map(Option::as_ref).collect();
        let params = deserialize_parameters(portal, &types)?;
        let user = user_of(client);
        // Planned anew: a statement that was prepared a while ago sees the rows of now.
        let format = &portal.result_column_format;
        let permit = self.parser.guard.permit().await?;
        Ok(Response::Query(self.parser.guard.run(&user, statement, Some(&params), format, permit).await?))
    }
}

impl Service {
    /// Sends the rows of a portal as they come, `rows_max` of them or, with 0, all.
    async fn answer<C>(&self, client: &mut C, portal: &Portal<Prepared>, rows_max: usize) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Prepared>,
        C::Error: fmt::Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let is_new = matches!(&*portal.state().lock().await, PortalExecutionState::Initial);
        if is_new {
            match ExtendedQueryHandler::do_query(self, client, portal, rows_max).await? {
                Response::Query(rows) => portal.start(rows).await,
                // Statements that read answer with rows.
                _ => return Err(refused(code::INTERNAL, "the statement has no rows")),
            }
        }
        let mut sent = 0;
        loop {
            let wanted = match rows_max {
                0 => ROWS_AT_ONCE,
                rows_max => ROWS_AT_ONCE.min(rows_max - sent),
            };
            let mut fetched = portal.fetch(wanted).await?;
            while let Some(row) = fetched.response.data_rows().next().await {
                client.feed(PgWireBackendMessage::DataRow(row?)).await?;
                sent += 1;
            }
            if !fetched.suspended {
                let tag = Tag::new(fetched.response.command_tag()).with_rows(sent);
                client.send(PgWireBackendMessage::CommandComplete(tag.into())).await?;
                return Ok(());
            }
            if sent == rows_max && rows_max > 0 {
                client.send(PgWireBackendMessage::PortalSuspended(PortalSuspended::new())).await?;
                return Ok(());
            }
            client.flush().await?;
        }
    }
}

#[async_trait]
impl QueryParser for Parser {
    type Statement = Prepared;

    async fn parse_sql<C>(&self, client: &C, sql: &str, _types: &[Option<Type>]) -> PgWireResult<Self::Statement>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let mut statements = self.statements(sql)?;
        if statements.len() > 1 {
            return Err(refused(code::WRONG_SYNTAX, "a prepared statement is one statement"));
        }
        let Some(statement) = statements.pop() else { return Ok((sql.to_owned(), None)) };
        let plan = match is_of_the_session(&statement) {
            true => LogicalPlan::EmptyRelation(EmptyRelation {
                produce_one_row: false,
                schema: Arc::new(datafusion::common::DFSchema::empty()),
            }),
            false => self.guard.prepare(&user_of(client), &statement).await?,
        };
        Ok((sql.to_owned(), Some((statement, plan))))
    }

    fn get_parameter_types(&self, statement: &Self::Statement) -> PgWireResult<Vec<Type>> {
        let Some((_, plan)) = &statement.1 else { return Ok(Vec::new()) };
        let kind = |kind: Option<DataType>| kind.map_or(Ok(Type::UNKNOWN), |kind| into_pg_type(&kind));
        parameter_types(plan)?.into_iter().map(kind).collect()
    }

    fn get_result_schema(&self, statement: &Self::Statement, format: Option<&Format>) -> PgWireResult<Vec<FieldInfo>> {
        let Some((_, plan)) = &statement.1 else { return Ok(Vec::new()) };
        arrow_schema_to_pg_fields(plan.schema().as_arrow(), format.unwrap_or(&Format::UnifiedText), None)
    }
}

/// Most parameters of a statement: the protocol counts them in 16 bits.
const PARAMETERS_MAX: usize = u16::MAX as usize;

/// The types of `$1`, `$2` and so on, as far as the plan knows them.
fn parameter_types(plan: &LogicalPlan) -> PgWireResult<Vec<Option<DataType>>> {
    let known: HashMap<String, Option<DataType>> = plan.get_parameter_types().map_err(said)?;
    let number = |name: &str| name.trim_start_matches('$').parse::<usize>().unwrap_or(0);
    let count = known.keys().map(|name| number(name)).max().unwrap_or(0);
    if count > PARAMETERS_MAX {
        return Err(said(DataFusionError::Plan(format!("parameter ${count}: there are at most {PARAMETERS_MAX}"))));
    }
    let mut types = vec![None; count];
    for (name, kind) in known {
        if let Some(place) = number(&name).checked_sub(1).and_then(|place| types.get_mut(place)) {
            *place = kind;
        }
    }
    Ok(types)
}
