//! Faults on request: what the admin port asks for and the server carries out.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::wire::api::ApiKey;
use crate::wire::error_code::ErrorCode;

/// Rules that may wait at once: a test sets a handful; a script that forgets to clear them must not fill memory.
pub const RULES_MAX: usize = 256;
/// Longest delay that a rule may ask for, milliseconds: an hour is longer than any client waits.
const DELAY_MS_MAX: u64 = 3_600_000;

/// Where a connection is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Drop {
    /// The request is read and not carried out.
    BeforeWrite,
    /// The request is carried out and not answered.
    AfterWrite,
}

/// What a POST to `/faults` asks for, as it stands in the JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRequest {
    /// The API's name as Kafka's documentation has it; every API when absent.
    pub api: Option<String>,
    /// For how many requests; once when absent.
    pub count: Option<u64>,
    /// Answer this error, by name.
    pub error: Option<String>,
    /// Wait before the request is carried out, milliseconds.
    pub delay_ms: Option<u64>,
    /// Drop the connection.
    pub drop: Option<Drop>,
    /// Keep what is not flushed out of the files, so that SIGKILL loses it as a power failure would; or stop doing so.
    pub lose_unflushed_tail: Option<bool>,
    /// Refuse every write as if the disk were full, or stop doing so.
    pub disk_full: Option<bool>,
}

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is answered with an error and not carried out.
    Error(ErrorCode),
    /// It waits.
    Delay(Duration),
    /// Its connection is dropped.
    Drop(Drop),
}

/// What a valid request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// For the next requests.
    Rule(Rule),
    /// From now on, or no longer: what is not flushed is lost with the process.
    LoseUnflushedTail(bool),
    /// From now on, or no longer.
    DiskFull(bool),
}

/// An action for the next requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// None: every API.
    pub api: Option<ApiKey>,
    /// Requests left.
    pub count: u64,
    /// What happens to them.
    pub action: Action,
}

/// A rule as GET shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownRule {
    api: &'static str,
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drop: Option<Drop>,
}

/// A fault request that makes no sense; the sentence says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FaultError(String);

impl FaultRequest {
    /// Checks the request.
    pub fn validate(&self) -> Result<Fault, FaultError> {
        let fail = |why: String| Err(FaultError(why));
        let asked = usize::from(self.error.is_some())
            + usize::from(self.delay_ms.is_some())
            + usize::from(self.drop.is_some())
            + usize::from(self.lose_unflushed_tail.is_some())
            + usize::from(self.disk_full.is_some());
        if asked != 1 {
            return fail(format!(
                "give exactly one of error, delay_ms, drop, lose_unflushed_tail, disk_full; {asked} were given"
            ));
        }
        if (self.lose_unflushed_tail.is_some() || self.disk_full.is_some())
            && (self.api.is_some() || self.count.is_some())
        {
            return fail("api and count go with error, delay_ms or drop only".into());
        }
        match (self.lose_unflushed_tail, self.disk_full) {
            (Some(lose), _) => return Ok(Fault::LoseUnflushedTail(lose)),
            (_, Some(full)) => return Ok(Fault::DiskFull(full)),
            (None, None) => {}
        }
        let api = match &self.api {
            None => None,
            Some(name) => match ApiKey::ALL.iter().find(|api| api.name() == name) {
                Some(api) => Some(*api),
                None => return fail(format!("api {name:?} is not known; names are Kafka's, such as \"Produce\"")),
            },
        };
        let count = self.count.unwrap_or(1);
        if count == 0 {
            return fail("count must be at least 1".into());
        }
        let action = if let Some(name) = &self.error {
            match (i16::MIN..=i16::MAX).map(ErrorCode).find(|code| code.name() == name && !code.is_ok()) {
                Some(code) if name != "UNKNOWN" => Action::Error(code),
                _ => {
                    return fail(format!(
                        "error {name:?} is not known; names are Kafka's, such as \"NOT_ENOUGH_REPLICAS\""
                    ));
                }
            }
        } else if let Some(drop) = self.drop {
            Action::Drop(drop)
        } else {
            match self.delay_ms.unwrap_or(0) {
                ms if ms <= DELAY_MS_MAX => Action::Delay(Duration::from_millis(ms)),
                _ => return fail(format!("delay_ms is at most {DELAY_MS_MAX}")),
            }
        };
        Ok(Fault::Rule(Rule { api, count, action }))
    }
}

/// The rules that wait for requests, first come first served.
#[derive(Debug, Default)]
pub struct Faults {
    rules: Vec<Rule>,
}

impl Faults {
    /// Adds a rule.
    pub fn add(&mut self, rule: Rule) -> Result<(), FaultError> {
        if self.rules.len() >= RULES_MAX {
            return Err(FaultError(format!("{RULES_MAX} faults wait already; DELETE /faults clears them")));
        }
        self.rules.push(rule);
        Ok(())
    }

    /// Forgets every rule.
    pub fn clear(&mut self) {
        self.rules.clear();
    }

    /// What happens to a request of this API; uses one of the rule's count.
    pub fn take(&mut self, api: ApiKey) -> Option<Action> {
        let at = self.rules.iter().position(|r| r.api.is_none_or(|a| a == api))?;
        let action = self.rules[at].action;
        self.rules[at].count -= 1;
        if self.rules[at].count == 0 {
            self.rules.remove(at);
        }
        Some(action)
    }

    /// The rules as GET shows them.
    pub fn shown(&self) -> Vec<ShownRule> {
        let show = |rule: &Rule| {
            let mut shown = ShownRule {
                api: rule.api.map_or("*", ApiKey::name),
                count: rule.count,
                error: None,
                delay_ms: None,
                drop: None,
            };
            match rule.action {
                Action::Error(code) => shown.error = Some(code.name()),
                Action::Delay(delay) => shown.delay_ms = Some(delay.as_millis() as u64),
                Action::Drop(drop) => shown.drop = Some(drop),
            }
            shown
        };
        self.rules.iter().map(show).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure
    use super::*;

    #[test]
    fn a_fault_is_taken_or_refused_with_the_reason() {
        let check = |json: &str, expect: Result<Fault, &str>| {
            let got = serde_json::from_str::<FaultRequest>(json)
                .map_err(|e| e.to_string())
                .and_then(|r| r.validate().map_err(|e| e.to_string()));
            match (&got, &expect) {
                (Ok(got), Ok(expect)) => assert_eq!(got, expect, "{json}"),
                (Err(got), Err(expect)) => assert!(got.contains(expect), "{json}: {got}"),
                _ => panic!("{json}: {got:?}, not {expect:?}"),
            }
        };
        let rule = |api, count, action| Ok(Fault::Rule(Rule { api, count, action }));
        check(
            r#"{"api":"Produce","count":3,"error":"NOT_ENOUGH_REPLICAS"}"#,
            rule(Some(ApiKey::Produce), 3, Action::Error(ErrorCode::NOT_ENOUGH_REPLICAS)),
        );
        check(r#"{"delay_ms":5}"#, rule(None, 1, Action::Delay(Duration::from_millis(5))));
        check(r#"{"drop":"after-write"}"#, rule(None, 1, Action::Drop(Drop::AfterWrite)));
        check(r#"{"lose_unflushed_tail":true}"#, Ok(Fault::LoseUnflushedTail(true)));
        check(r#"{"disk_full":false}"#, Ok(Fault::DiskFull(false)));
        check(r#"{"api":"Prduce","error":"NOT_ENOUGH_REPLICAS"}"#, Err("is not known"));
        check(r#"{"error":"NONE"}"#, Err("is not known"));
        check(r#"{"error":"UNKNOWN"}"#, Err("is not known"));
        check(r#"{"errr":"X"}"#, Err("unknown field `errr`"));
        check(r#"{}"#, Err("exactly one"));
        check(r#"{"delay_ms":5,"drop":"after-write"}"#, Err("2 were given"));
        check(r#"{"delay_ms":3600001}"#, Err("at most"));
        check(r#"{"count":0,"delay_ms":1}"#, Err("at least 1"));
        check(r#"{"disk_full":true,"count":2}"#, Err("go with"));
    }

    #[test]
    fn a_rule_serves_its_api_for_its_count() {
        let mut faults = Faults::default();
        let action = Action::Drop(Drop::BeforeWrite);
        faults.add(Rule { api: Some(ApiKey::Fetch), count: 2, action }).unwrap();
        assert_eq!(faults.take(ApiKey::Produce), None);
        assert_eq!((faults.take(ApiKey::Fetch), faults.take(ApiKey::Fetch)), (Some(action), Some(action)));
        assert_eq!(faults.take(ApiKey::Fetch), None);
        for _ in 0..RULES_MAX {
            faults.add(Rule { api: None, count: 1, action }).unwrap();
        }
        assert!(faults.add(Rule { api: None, count: 1, action }).is_err());
    }
}
