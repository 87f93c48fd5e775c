//! From text to statements, and which statements are rewritten for clients of PostgreSQL.
//!
//! Questions about PostgreSQL's own catalogue go through a rewriting that gives up much so that clients start: casts to
//! its types, collations and correlated subqueries of a select list are dropped. Questions about the lake's tables never
//! do: what they ask for they get, or an error.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{
    DataType, Expr, ObjectName, Statement, Value, ValueWithSpan, visit_expressions, visit_relations,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use datafusion_postgres::datafusion_pg_catalog::sql::PostgresCompatibilityParser;
use datafusion_postgres::datafusion_pg_catalog::sql::rules::{
    AliasDuplicatedProjectionRewrite, CurrentUserVariableToSessionUserFunctionCall, FixArrayLiteral,
    FixVersionColumnName, RemoveQualifier, ResolveUnqualifiedIdentifer, RewriteArrayAnyAllOperation,
    SqlStatementRewriteRule,
};

use super::schemas::PG_CATALOGUE;

/// Most operators of a text. They can stand in a chain, whose tree is as deep as it is long and is walked level by level:
/// threads of queries have room for so many ([`STACK_BYTES`]).
pub const OPERATORS_MAX: usize = 2_000;
/// The stack of a thread that reads, plans and runs queries: 16 KiB for each of [`OPERATORS_MAX`] levels; memory is taken
/// only as far as it is used.
pub const STACK_BYTES: usize = 32 << 20;

/// The schema of the standard's catalogue.
const STANDARD_CATALOGUE: &str = "information_schema";

/// Why a text is no statements.
#[derive(Debug, thiserror::Error)]
pub enum SyntaxError {
    /// It would take too deep a tree.
    #[error("the query is nested too deeply, or has more than {OPERATORS_MAX} operators")]
    TooDeep,
    /// It is no SQL, or none that is understood.
    #[error("{0}")]
    Wrong(String),
}

impl From<ParserError> for SyntaxError {
    fn from(error: ParserError) -> Self {
        match error {
            ParserError::RecursionLimitExceeded => Self::TooDeep,
            ParserError::TokenizerError(text) | ParserError::ParserError(text) => {
                Self::Wrong(format!("sql parser error: {text}"))
            }
        }
    }
}

/// Reads statements. One for all connections.
#[derive(Debug)]
pub struct Syntax {
    of_the_catalogue: PostgresCompatibilityParser,
    of_tables: Vec<Arc<dyn SqlStatementRewriteRule>>,
}

impl Default for Syntax {
    fn default() -> Self {
        Self {
            of_the_catalogue: PostgresCompatibilityParser::new(),
            // Each of these keeps what a statement means.
            of_tables: vec![
                Arc::new(AliasDuplicatedProjectionRewrite),
                Arc::new(ResolveUnqualifiedIdentifer),
                Arc::new(RewriteArrayAnyAllOperation),
                Arc::new(RemoveQualifier),
                Arc::new(FixArrayLiteral),
                Arc::new(CurrentUserVariableToSessionUserFunctionCall),
                Arc::new(FixVersionColumnName),
            ],
        }
    }
}

impl Syntax {
    /// The statements of a text.
    ///
    /// # Errors
    /// When it is none, or too deep.
    pub fn statements(&self, sql: &str) -> Result<Vec<Statement>, SyntaxError> {
        let dialect = PostgreSqlDialect {};
        let tokens = Tokenizer::new(&dialect, sql).tokenize_with_location().map_err(ParserError::from)?;
        if tokens.iter().filter(|token| is_operator(&token.token)).count() > OPERATORS_MAX {
            return Err(SyntaxError::TooDeep);
        }
        let plain = match Parser::new(&dialect).with_tokens_with_locations(tokens).parse_statements() {
            Ok(plain) => plain,
            // Some questions of clients are no SQL to the parser, but known word by word.
            Err(error) => {
                return match self.of_the_catalogue.parse(sql) {
                    Ok(known) if !known.iter().any(asks_tables) => Ok(known),
                    _ => Err(error.into()),
                };
            }
        };
        if !plain.iter().any(asks_catalogue) {
            return plain.into_iter().map(|statement| self.of_tables(statement)).collect();
        }
        let rewritten = self.of_the_catalogue.parse(sql)?;
        if rewritten.len() != plain.len() {
            return Ok(rewritten);
        }
        let pairs = plain.into_iter().zip(rewritten);
        pairs
            .map(|(plain, rewritten)| match asks_catalogue(&plain) {
                true => Ok(rewritten),
                false => self.of_tables(plain),
            })
            .collect()
    }

    fn of_tables(&self, statement: Statement) -> Result<Statement, SyntaxError> {
        if names_quoted_array(&statement) {
            return Err(SyntaxError::Wrong(
                "an array as text must have neither quotes nor braces nor nulls within; write array[...]".to_owned(),
            ));
        }
        Ok(self.of_tables.iter().fold(statement, |statement, rule| rule.rewrite(statement)))
    }
}

fn is_operator(token: &Token) -> bool {
    match token {
        Token::Word(word) if word.quote_style.is_none() => matches!(
            word.keyword,
            Keyword::AND
                | Keyword::OR
                | Keyword::IS
                | Keyword::NOTNULL
                | Keyword::LIKE
                | Keyword::ILIKE
                | Keyword::SIMILAR
                | Keyword::BETWEEN
                | Keyword::IN
                | Keyword::COLLATE
                | Keyword::AT
                | Keyword::UNION
                | Keyword::INTERSECT
                | Keyword::EXCEPT
                | Keyword::MINUS
                | Keyword::JOIN
                | Keyword::NOT
                | Keyword::XOR
                | Keyword::DIV
                | Keyword::OVERLAPS
                | Keyword::OPERATOR
                | Keyword::ELSE
                | Keyword::OVER
        ),
        Token::Word(_)
        | Token::EOF
        | Token::Whitespace(_)
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::DoubleQuotedString(_)
        | Token::DollarQuotedString(_)
        | Token::EscapedStringLiteral(_)
        | Token::UnicodeStringLiteral(_)
        | Token::NationalStringLiteral(_)
        | Token::HexStringLiteral(_)
        | Token::Placeholder(_)
        | Token::Comma
        | Token::Period
        | Token::SemiColon
        | Token::LParen
        | Token::RParen => false,
        _ => true,
    }
}

/// Whether a statement reads the catalogue of PostgreSQL, and no table of the lake.
fn asks_catalogue(statement: &Statement) -> bool {
    if asks_tables(statement) {
        return false;
    }
    let relation = visit_relations(statement, |name| found(is_of_the_catalogue(name)));
    relation.is_break() || visit_expressions(statement, |expression| found(names_catalogue(expression))).is_break()
}

/// Whether a statement reads a table of the lake: those have a schema, and names without one are never theirs.
fn asks_tables(statement: &Statement) -> bool {
    visit_relations(statement, |name| found(name.0.len() > 1 && !is_of_the_catalogue(name))).is_break()
}

fn found(found: bool) -> ControlFlow<()> {
    if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

fn is_of_the_catalogue(name: &ObjectName) -> bool {
    let part = |back: usize| {
        let part = name.0.len().checked_sub(back).and_then(|place| name.0.get(place))?;
        Some(part.as_ident()?.value.to_lowercase())
    };
    match part(2) {
        Some(schema) => schema == PG_CATALOGUE || schema == STANDARD_CATALOGUE,
        None => part(1).is_some_and(|name| name.starts_with("pg_")),
    }
}

/// Names of the catalogue's things as text, and the session's settings: only clients' own questions have these.
fn names_catalogue(expression: &Expr) -> bool {
    match expression {
        Expr::Cast { data_type, .. } => {
            let name = data_type.to_string().to_lowercase();
            let name = name.strip_prefix("pg_catalog.").unwrap_or(&name);
            name.starts_with("reg") || name == "oid"
        }
        Expr::Function(function) => {
            let name = function.name.0.last().and_then(|part| part.as_ident());
            name.is_some_and(|name| name.value.eq_ignore_ascii_case("current_setting"))
        }
        _ => false,
    }
}

/// The rules for arrays as text take them apart at each comma, whatever stands around it.
fn names_quoted_array(statement: &Statement) -> bool {
    let text = |expression: &Expr| match expression {
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) => Some(text.clone()),
        _ => None,
    };
    let is_hard = |text: String| {
        let inner = text.trim().trim_start_matches('{').trim_end_matches('}');
        let has_null = inner.split(',').any(|item| item.trim().eq_ignore_ascii_case("null"));
        inner.contains(['"', '\\', '{', '}']) || has_null
    };
    let array = |expression: &Expr| match expression {
        Expr::Cast { expr, data_type: DataType::Array(_), .. } => text(expr),
        Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } => text(right),
        _ => None,
    };
    visit_expressions(statement, |expression| found(array(expression).is_some_and(is_hard))).is_break()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;

    fn check(sql: &str, expect: &str) {
        let said = match Syntax::default().statements(sql) {
            Ok(statements) => statements.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            Err(error) => error.to_string(),
        };
        assert!(said.contains(expect), "{sql}: {said}");
    }

    #[test]
    fn a_question_about_tables_means_what_it_says() {
        check("select (select count(*) from pay.a a where a.id = p.id) from pay.p p", "a.id = p.id");
        check("select (select max(p.x) from pay.p where x > $1) from pay.q", "max(p.x)");
        check("select id::oid from pay.p", "id::oid");
        check("select id from pay.p order by id collate \"C\"", "COLLATE");
        check("select '{a,b}'::text[] from pay.p", "ARRAY['a', 'b']");
        check("select '{\"a,b\"}'::text[] from pay.p", "write array");
        check("select 1 from pay.p where x = any('{1,null}')", "write array");
        check("select (select 1 from pg_class c where c.oid = p.id) from pay.p p", "p.id");
    }

    #[test]
    fn a_question_about_the_catalogue_is_rewritten() {
        check("select oid::regclass from pg_class", "pg_catalog.pg_class");
        check("select relname collate \"C\" from pg_catalog.pg_class", "SELECT relname FROM");
        check("select 1 from pay.p; select relname collate \"C\" from pg_catalog.pg_class", "SELECT relname FROM");
        check("abort", "ROLLBACK");
        check("select pg_catalog.version()", "version() AS version");
    }

    #[test]
    fn a_chain_that_is_too_long_is_refused_before_it_is_read() {
        for link in ["+1", " and 1", "||''", "::int", " is null", "[1]", " union select 1", "%1", " collate \"C\""] {
            check(&format!("select 1{}", link.repeat(OPERATORS_MAX + 1)), "nested too deeply");
        }
        check(&format!("select 1 where 1 in ({})", vec!["1"; 10_000].join(",")), "SELECT 1");
        check(&"(".repeat(3_000), "nested too deeply");
    }
}
