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
use datafusion_postgres::datafusion_pg_catalog::sql::PostgresCompatibilityParser;
use datafusion_postgres::hooks::HookClient;
use datafusion_postgres::hooks::set_show::SetShowHook;
use datafusion_postgres::hooks::transactions::TransactionStatementHook;
use datafusion_postgres::pgwire::api::portal::{Format, Portal};
use datafusion_postgres::pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use datafusion_postgres::pgwire::api::results::{FieldInfo, Response, Tag};
use datafusion_postgres::pgwire::api::stmt::QueryParser;
use datafusion_postgres::pgwire::api::store::PortalStore;
use datafusion_postgres::pgwire::api::{ClientInfo, ClientPortalStore, Type};
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::PgWireBackendMessage;
use futures::Sink;

use super::guard::{Guard, code, is_of_the_session, refused, said, user_of};

/// A statement, and what it means; none if it is empty. The type is the one that the protocol's hooks know.
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
        Self {
            parser: Arc::new(Parser { guard, syntax: PostgresCompatibilityParser::new() }),
            nothing: SessionContext::new(),
        }
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
    syntax: PostgresCompatibilityParser,
}

impl Parser {
    fn statements(&self, sql: &str) -> PgWireResult<Vec<Statement>> {
        if sql.len() > self.guard.query_bytes_max() {
            return Err(refused(code::TOO_COMPLEX, "the text of the query is too long"));
        }
        self.syntax.parse(sql).map_err(|error| {
            let text = error.to_string();
            match text.contains("recursion limit") {
                true => refused(code::TOO_COMPLEX, "the query is nested too deeply"),
                false => refused(code::WRONG_SYNTAX, &text),
            }
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
        let mut answers = Vec::with_capacity(statements.len());
        for statement in statements {
            answers.push(match is_of_the_session(&statement) {
                true => self.of_the_session(&statement, client).await?,
                false => {
                    let user = user_of(client);
                    Response::Query(self.parser.guard.run(&user, &statement, None, &Format::UnifiedText).await?)
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
        Ok(Response::Query(self.parser.guard.run(&user, statement, Some(&params), format).await?))
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
            false => self.guard.plan(&user_of(client), &statement).await?.1,
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
