//! What is answered to whom: permissions, versions, tokens. Pure but for the record of uses, which comes first.

use std::collections::BTreeMap;

use crate::api::{
    PARTS_MAX, PURPOSE_BYTES_MAX, Refused, ResolveAnswer, ResolveRequest, TokeniseAnswer, TokeniseRequest, TokensPart,
    VALUES_MAX, ValuesPart,
};
use crate::config::CallerConfig;
use crate::keys::{Field, KeysError};
use crate::token::{self, Kind};
use crate::uses::{Action, Use, Uses, UsesError};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The caller asks for what it may not have. 403.
    #[error("forbidden: {}", .0.error)]
    Forbidden(Refused),
    /// The request cannot be answered, ever. 422.
    #[error("refused: {}", .0.error)]
    Refused(Refused),
    /// The use could not be recorded: nothing is answered without. 503; a retry may help.
    #[error("the use could not be recorded")]
    NotRecorded(#[from] UsesError),
}

/// The keys, the permissions and the record of one vault.
#[derive(Debug)]
pub struct Vault {
    fields: BTreeMap<String, Field>,
    callers: Vec<CallerConfig>,
    uses: Uses,
}

/// One part of a request, as far as permissions and the record go.
struct Asked<'r> {
    field: &'r str,
    kind: Kind,
    count: usize,
}

fn refused(error: impl Into<String>, part: usize, index: Option<usize>) -> Refused {
    Refused { error: error.into(), part: Some(part), index }
}

impl Vault {
    /// Puts them together.
    pub fn new(fields: BTreeMap<String, Field>, callers: Vec<CallerConfig>, uses: Uses) -> Self {
        Self { fields, callers, uses }
    }

    /// The record of uses.
    pub fn uses(&self) -> &Uses {
        &self.uses
    }

    /// Fields that callers are allowed and that have no keys: a mistake in the configuration.
    pub fn unknown_fields(&self) -> Vec<&str> {
        let named = self.callers.iter().flat_map(|caller| caller.tokenise.iter().chain(&caller.resolve));
        named.map(String::as_str).filter(|field| !self.fields.contains_key(*field)).collect()
    }

    /// Checks the bounds and permissions of a request and records it, refused or not.
    fn admit(
        &self,
        caller: &str,
        now_unix_ms: i64,
        action: Action,
        purpose: &str,
        parts: &[Asked<'_>],
    ) -> Result<(), AnswerError> {
        let bound = |error: &str| AnswerError::Refused(Refused { error: error.to_owned(), part: None, index: None });
        if purpose.trim().is_empty() || purpose.len() > PURPOSE_BYTES_MAX {
            return Err(bound("say why, in 1 to 200 bytes: purpose"));
        }
        if parts.len() > PARTS_MAX || parts.iter().map(|part| part.count).sum::<usize>() > VALUES_MAX {
            return Err(bound("at most 64 parts with 20,000 values together"));
        }
        let said = self.callers.iter().find(|known| known.role == caller);
        let may = |field: &str| {
            let allowed = said.map(|said| match action {
                Action::Tokenise => &said.tokenise,
                Action::Resolve => &said.resolve,
            });
            allowed.is_some_and(|allowed| allowed.iter().any(|known| known == field))
        };
        let denied = parts.iter().position(|part| !may(part.field));
        let uses: Vec<Use> = parts
            .iter()
            .map(|part| Use {
                at_unix_ms: now_unix_ms,
                caller: caller.to_owned(),
                action,
                purpose: purpose.to_owned(),
                field: part.field.chars().take(40).collect(),
                kind: part.kind,
                count: part.count,
                allowed: denied.is_none(),
            })
            .collect();
        self.uses.record(&uses)?;
        match denied {
            Some(part) => {
                let field = parts[part].field;
                tracing::warn!(caller, ?action, field, "use refused: not permitted");
                Err(AnswerError::Forbidden(refused(format!("{caller} may not do that with {field}"), part, None)))
            }
            None => Ok(()),
        }
    }

    fn field(&self, name: &str, kind: Kind, part: usize) -> Result<&Field, AnswerError> {
        let unknown = KeysError::Unknown(name.to_owned()).to_string();
        let field = self.fields.get(name).ok_or_else(|| AnswerError::Refused(refused(unknown, part, None)))?;
        if !field.kinds.contains(&kind) {
            let said = format!("the field {name} has no tokens of that kind");
            return Err(AnswerError::Refused(refused(said, part, None)));
        }
        Ok(field)
    }

    /// Tokens of values.
    ///
    /// # Errors
    /// Why not; the first part and value that are at fault.
    pub fn tokenise(
        &self,
        caller: &str,
        now_unix_ms: i64,
        request: &TokeniseRequest,
    ) -> Result<TokeniseAnswer, AnswerError> {
        let asked = |part: &crate::api::TokenisePart| (part.field.clone(), part.kind, part.values.len());
        let asked: Vec<_> = request.parts.iter().map(asked).collect();
        let asked: Vec<_> =
            asked.iter().map(|(field, kind, count)| Asked { field, kind: *kind, count: *count }).collect();
        self.admit(caller, now_unix_ms, Action::Tokenise, &request.purpose, &asked)?;
        let mut parts = Vec::with_capacity(request.parts.len());
        for (number, part) in request.parts.iter().enumerate() {
            let field = self.field(&part.field, part.kind, number)?;
            let version = part.version.unwrap_or_else(|| field.newest());
            let keys = field.keys(version).ok_or_else(|| {
                AnswerError::Refused(refused(
                    format!("the field {} has no version {version}", part.field),
                    number,
                    None,
                ))
            })?;
            let make = |(index, value): (usize, &String)| {
                token::tokenise(part.kind, keys, &field.name, version, field.alphabet, value)
                    .map_err(|error| AnswerError::Refused(refused(format!("a value {error}"), number, Some(index))))
            };
            let tokens = part.values.iter().enumerate().map(make).collect::<Result<_, _>>()?;
            parts.push(TokensPart { version, tokens });
        }
        Ok(TokeniseAnswer { parts })
    }

    /// Values of tokens.
    ///
    /// # Errors
    /// Why not; the first part and token that are at fault.
    pub fn resolve(
        &self,
        caller: &str,
        now_unix_ms: i64,
        request: &ResolveRequest,
    ) -> Result<ResolveAnswer, AnswerError> {
        let asked = |part: &crate::api::ResolvePart| (part.field.clone(), part.kind, part.tokens.len());
        let asked: Vec<_> = request.parts.iter().map(asked).collect();
        let asked: Vec<_> =
            asked.iter().map(|(field, kind, count)| Asked { field, kind: *kind, count: *count }).collect();
        self.admit(caller, now_unix_ms, Action::Resolve, &request.purpose, &asked)?;
        let mut parts = Vec::with_capacity(request.parts.len());
        for (number, part) in request.parts.iter().enumerate() {
            let field = self.field(&part.field, part.kind, number)?;
            let open = |(index, text): (usize, &String)| {
                let refuse = |said: String| AnswerError::Refused(refused(said, number, Some(index)));
                let version = token::version_of(part.kind, text).or(part.version);
                let version = version.ok_or_else(|| refuse("a token does not say its version: give it".to_owned()))?;
                let keys = field.keys(version).ok_or_else(|| refuse(format!("there is no version {version}")))?;
                token::resolve(part.kind, keys, &field.name, field.alphabet, text)
                    .map_err(|error| refuse(format!("a token {error}")))
            };
            let values = part.tokens.iter().enumerate().map(open).collect::<Result<_, _>>()?;
            parts.push(ValuesPart { values });
        }
        Ok(ResolveAnswer { parts })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use naru_runtime::keys::SigningKeys;
    use naru_runtime::segments::{Expect, verify_chain};

    use super::*;
    use crate::api::{ResolvePart, TokenisePart};
    use crate::keys;
    use crate::token::Alphabet;

    fn vault(dir: &std::path::Path) -> Vault {
        keys::add(dir, "phone", &[Kind::Siv, Kind::Ff1], Alphabet::Digits, 0).unwrap();
        keys::add(dir, "name", &[Kind::Hmac], Alphabet::Digits, 0).unwrap();
        let callers = vec![
            CallerConfig {
                role: "capture".to_owned(),
                tokenise: vec!["phone".to_owned(), "name".to_owned()],
                resolve: vec![],
            },
            CallerConfig { role: "courier".to_owned(), tokenise: vec![], resolve: vec!["phone".to_owned()] },
        ];
        let uses = Uses::open(&dir.join("uses"), &dir.join("signing"), 0).unwrap();
        Vault::new(keys::load(dir).unwrap(), callers, uses)
    }

    fn tokenise(field: &str, kind: Kind, value: &str) -> TokeniseRequest {
        let part = TokenisePart { field: field.to_owned(), kind, version: None, values: vec![value.to_owned()] };
        TokeniseRequest { purpose: "capture of pay.users".to_owned(), parts: vec![part] }
    }

    #[test]
    fn each_caller_gets_what_it_may_and_every_use_is_recorded_without_a_value() {
        let dir = tempfile::tempdir().unwrap();
        let vault = vault(dir.path());
        let value = "010-9876-5432";
        let made = vault.tokenise("capture", 1, &tokenise("phone", Kind::Siv, value)).unwrap();
        let token = made.parts[0].tokens[0].clone();
        let part = ResolvePart { field: "phone".to_owned(), kind: Kind::Siv, version: None, tokens: vec![token] };
        let resolve = ResolveRequest { purpose: "notice of a payment".to_owned(), parts: vec![part] };
        assert_eq!(vault.resolve("courier", 2, &resolve).unwrap().parts[0].values, [value]);
        for caller in ["capture", "edge"] {
            assert!(matches!(vault.resolve(caller, 3, &resolve), Err(AnswerError::Forbidden(_))), "{caller}");
        }
        vault.uses().seal().unwrap();
        let mut told = Vec::new();
        let mut text = String::new();
        let keys = SigningKeys::load(&dir.path().join("signing")).unwrap();
        verify_chain(&dir.path().join("uses"), keys.verifying(), Expect::SEALED, |entry| {
            text.push_str(std::str::from_utf8(entry.payload).unwrap());
            told.extend(serde_json::from_slice::<Vec<Use>>(entry.payload).unwrap());
        })
        .unwrap();
        let who: Vec<_> = told.iter().map(|one| (one.caller.as_str(), one.action, one.count, one.allowed)).collect();
        let (made, opened) = (Action::Tokenise, Action::Resolve);
        assert_eq!(
            who,
            [
                ("capture", made, 1, true),
                ("courier", opened, 1, true),
                ("capture", opened, 1, false),
                ("edge", opened, 1, false)
            ]
        );
        assert!(!text.contains("9876"));
    }

    #[test]
    fn what_cannot_be_answered_names_the_part_and_the_value() {
        let dir = tempfile::tempdir().unwrap();
        let vault = vault(dir.path());
        let check = |request: TokeniseRequest, expect: &str, index: Option<usize>| {
            let Err(AnswerError::Refused(refused)) = vault.tokenise("capture", 1, &request) else { panic!("refused") };
            assert!(refused.error.contains(expect), "{refused:?}");
            assert_eq!(refused.index, index);
        };
        check(tokenise("phone", Kind::Ff1, "123"), "trying", Some(0));
        check(tokenise("phone", Kind::Hmac, "123"), "no tokens of that kind", None);
        check(TokeniseRequest { purpose: " ".to_owned(), ..tokenise("phone", Kind::Siv, "1") }, "say why", None);
        let mut many = tokenise("phone", Kind::Siv, "1");
        many.parts[0].values = vec![String::new(); VALUES_MAX + 1];
        check(many, "at most", None);
        let mut later = tokenise("phone", Kind::Siv, "1");
        later.parts[0].version = Some(9);
        check(later, "no version 9", None);
    }
}
