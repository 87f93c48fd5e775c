//! The lake of a scenario: what the services publish, as tables that are asked by SQL while the load runs.

use std::time::Duration;

use super::fields::{Fields, Reader};

/// How often the tables are asked where the scenario does not say it: fine enough for a picture of what a fault does.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// How often they may be asked: a query takes some milliseconds, and the judge should not be the load.
const ASK_EVERY_MIN: Duration = Duration::from_millis(50);

/// A `naru lake` that reads what the services publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lake {
    /// How often the judge asks for the rows and the money of each table.
    pub ask_every: Duration,
}

pub(super) fn lake(reader: &mut Reader<'_>, mut fields: Fields<'_, '_>) -> Option<Lake> {
    // A value that is wrong has been reported; the default does not hide it.
    let ask_every = fields.millis(reader, "ask_every_ms").unwrap_or(ASK_EVERY);
    if ask_every < ASK_EVERY_MIN {
        let least = ASK_EVERY_MIN.as_millis();
        let what = format!("asking every {} ms makes the judge a part of the load", ask_every.as_millis());
        reader.mistake(fields.span_of("ask_every_ms"), what, format!("write {least} or more"));
    }
    fields.finish(reader);
    Some(Lake { ask_every })
}
