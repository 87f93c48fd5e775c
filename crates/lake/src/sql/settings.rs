//! `SET`: answered by a list of names, none of which reaches the query engine.

use datafusion::sql::sqlparser::ast::{Expr, ObjectName, Set, Statement, Value, ValueWithSpan};
use datafusion_postgres::hooks::HookClient;
use datafusion_postgres::pgwire::api::results::{Response, Tag};
use datafusion_postgres::pgwire::error::PgWireResult;
use datafusion_postgres::pgwire::messages::PgWireBackendMessage;
use datafusion_postgres::pgwire::messages::startup::ParameterStatus;

use super::guard::{code, refused};

/// Settings that are kept with the connection and told back, as PostgreSQL does.
const KEPT: [(&str, &str); 3] =
    [("application_name", "application_name"), ("search_path", "search_path"), ("extra_float_digits", "")];

/// Settings of PostgreSQL that clients set when they start. They are acknowledged and change nothing: times and formats are
/// the lake's own.
const ACKNOWLEDGED: [&str; 21] = [
    "bytea_output",
    "check_function_bodies",
    "client_encoding",
    "client_min_messages",
    "datestyle",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "escape_string_warning",
    "geqo",
    "idle_in_transaction_session_timeout",
    "intervalstyle",
    "jit",
    "lock_timeout",
    "max_parallel_workers_per_gather",
    "row_security",
    "standard_conforming_strings",
    "statement_timeout",
    "timezone",
    "transaction_isolation",
    "transaction_read_only",
    "work_mem",
];

/// Answers a `SET`; none if it is another statement.
///
/// # Errors
/// When no such setting is known.
pub async fn set(statement: &Statement, client: &mut dyn HookClient) -> Option<PgWireResult<Response>> {
    let Statement::Set(set) = statement else { return None };
    let done = || Ok(Response::Execution(Tag::new("SET")));
    Some(match set {
        Set::SingleAssignment { variable, values, .. } => {
            let name = name_of(variable);
            match KEPT.iter().find(|(kept, _)| *kept == name) {
                Some((_, told)) => keep(&name, told, values, client).await.and_then(|()| done()),
                None if ACKNOWLEDGED.contains(&name.as_str()) => done(),
                None => Err(refused(code::NO_SUCH_SETTING, &format!("unrecognized configuration parameter {name:?}"))),
            }
        }
        Set::SetTimeZone { .. } | Set::SetNames { .. } | Set::SetNamesDefault { .. } | Set::SetTransaction { .. } => {
            done()
        }
        _ => Err(refused(code::NOT_SUPPORTED, "this form of SET is not offered")),
    })
}

/// Whether a `SHOW` asks for a setting that is known; others are not for the hook, which writes them to the log.
pub fn is_known(statement: &Statement) -> bool {
    let Statement::ShowVariable { variable } = statement else { return false };
    let words: Vec<_> = variable.iter().map(|word| word.value.to_lowercase()).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["time", "zone"] | ["transaction", "isolation", "level"] | ["server_version"] => true,
        [name] => ACKNOWLEDGED.contains(name) || KEPT.iter().any(|(kept, _)| kept == name),
        _ => false,
    }
}

fn name_of(variable: &ObjectName) -> String {
    variable.0.last().and_then(|part| part.as_ident()).map(|name| name.value.to_lowercase()).unwrap_or_default()
}

async fn keep(name: &str, told: &str, values: &[Expr], client: &mut dyn HookClient) -> PgWireResult<()> {
    let text = |value: &Expr| match value {
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) => text.clone(),
        value => value.to_string(),
    };
    let value: String = values.iter().map(text).collect::<Vec<_>>().join(", ");
    if value.len() > SETTING_BYTES_MAX {
        return Err(refused(code::WRONG_VALUE, "the value of the setting is too long"));
    }
    client.metadata_mut().insert(name.to_owned(), value.clone());
    if !told.is_empty() {
        let status = ParameterStatus::new(told.to_owned(), value);
        client.send_message(PgWireBackendMessage::ParameterStatus(status)).await?;
    }
    Ok(())
}

/// A setting's value stays with its connection.
const SETTING_BYTES_MAX: usize = 4096;
