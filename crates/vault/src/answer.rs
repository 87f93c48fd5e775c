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

/// Digits of a purpose: a year, and no number of a person.
const PURPOSE_DIGITS_MAX: usize = 4;

/// Whether a purpose can be kept for ever: it is the caller's text, and no number or foreign name fits this alphabet.
fn says_no_value(purpose: &str) -> bool {
    let legal =
        |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, ' ' | '.' | '_' | ':' | '/' | ',' | '-');
    purpose.chars().all(legal) && purpose.chars().filter(char::is_ascii_digit).count() <= PURPOSE_DIGITS_MAX
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
        if !says_no_value(purpose) {
            return Err(bound(
                "a purpose is of letters a to z, spaces, . _ : / , - and at most 4 digits: it is kept for ever",
            ));
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
        let asked = |part| self.asked(caller, now_unix_ms, action, purpose, part);
        let uses: Vec<Use> = parts.iter().map(|part| Use { allowed: denied.is_none(), ..asked(part) }).collect();
        self.uses.record(&uses)?;
        match denied {
            Some(part) => {
                let field = self.named(parts[part].field);
                tracing::warn!(caller, ?action, field, "use refused: not permitted");
                Err(AnswerError::Forbidden(refused(format!("{caller} may not do that with {field}"), part, None)))
            }
            None => Ok(()),
        }
    }

    /// What is asked for, as the record has it; neither allowed nor failed yet.
    fn asked(&self, caller: &str, at_unix_ms: i64, action: Action, purpose: &str, part: &Asked<'_>) -> Use {
        Use {
            at_unix_ms,
            caller: caller.to_owned(),
            action,
            purpose: purpose.to_owned(),
            field: self.named(part.field).to_owned(),
            kind: part.kind,
            count: part.count,
            allowed: false,
            failed: false,
        }
    }

    /// A field's name, if it is one: what else stands in its place may be a value.
    fn named<'f>(&self, field: &'f str) -> &'f str {
        if self.fields.contains_key(field) { field } else { "?" }
    }

    /// Admits a use, makes the answer, and records where that came to nothing.
    fn used<A>(
        &self,
        caller: &str,
        now_unix_ms: i64,
        action: Action,
        purpose: &str,
        parts: &[Asked<'_>],
        answer: impl FnOnce() -> Result<A, AnswerError>,
    ) -> Result<A, AnswerError> {
        self.admit(caller, now_unix_ms, action, purpose, parts)?;
        answer().map_err(|error| self.failed(caller, now_unix_ms, action, purpose, parts, error))
    }

    /// Records that a use was allowed and came to nothing: who resolves guesses shows in it.
    fn failed(
        &self,
        caller: &str,
        now_unix_ms: i64,
        action: Action,
        purpose: &str,
        parts: &[Asked<'_>],
        error: AnswerError,
    ) -> AnswerError {
        let AnswerError::Refused(Refused { part: Some(part), .. }) = &error else { return error };
        let Some(part) = parts.get(*part) else { return error };
        let failed = Use { allowed: true, failed: true, ..self.asked(caller, now_unix_ms, action, purpose, part) };
        self.uses.record(&[failed]).map_or_else(AnswerError::NotRecorded, |()| error)
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
        let parts = { request.parts.iter() }
            .map(|part| Asked { field: &part.field, kind: part.kind, count: part.values.len() })
            .collect::<Vec<_>>();
        self.used(caller, now_unix_ms, Action::Tokenise, &request.purpose, &parts, || self.tokens(request))
    }

    fn tokens(&self, request: &TokeniseRequest) -> Result<TokeniseAnswer, AnswerError> {
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
        let parts = { request.parts.iter() }
            .map(|part| Asked { field: &part.field, kind: part.kind, count: part.tokens.len() })
            .collect::<Vec<_>>();
        self.used(caller, now_unix_ms, Action::Resolve, &request.purpose, &parts, || self.values(request))
    }

    fn values(&self, request: &ResolveRequest) -> Result<ResolveAnswer, AnswerError> {
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
        // A value in the place of a field or a purpose is nowhere, and a guess is seen to have failed.
        let swapped = tokenise(value, Kind::Siv, "phone");
        let Err(AnswerError::Forbidden(said)) = vault.tokenise("capture", 4, &swapped) else { panic!("forbidden") };
        assert!(!said.error.contains("9876"), "{said:?}");
        let why = TokeniseRequest { purpose: format!("for {value}"), ..tokenise("phone", Kind::Siv, "1") };
        assert!(matches!(vault.tokenise("capture", 5, &why), Err(AnswerError::Refused(_))));
        let part = ResolvePart { tokens: vec!["s1_00".to_owned()], ..resolve.parts[0].clone() };
        let guess = ResolveRequest { parts: vec![part], ..resolve };
        assert!(matches!(vault.resolve("courier", 6, &guess), Err(AnswerError::Refused(_))));
        vault.uses().seal().unwrap();
        drop(vault);
        let key = dir.path().join("signing");
        std::fs::rename(&key, dir.path().join("elsewhere")).unwrap();
        assert!(matches!(Uses::open(&dir.path().join("uses"), &key, 7), Err(UsesError::KeyGone { .. })));
        std::fs::rename(dir.path().join("elsewhere"), &key).unwrap();
        let mut told = Vec::new();
        let mut text = String::new();
        let keys = SigningKeys::load(&dir.path().join("signing")).unwrap();
        verify_chain(&dir.path().join("uses"), keys.verifying(), Expect::SEALED, |entry| {
            text.push_str(std::str::from_utf8(entry.payload).unwrap());
            told.extend(serde_json::from_slice::<Vec<Use>>(entry.payload).unwrap());
        })
        .unwrap();
        let who: Vec<_> = told.iter().map(|one| (one.caller.as_str(), one.action, one.allowed, one.failed)).collect();
        let (made, opened) = (Action::Tokenise, Action::Resolve);
        assert_eq!(
            who,
            [
                ("capture", made, true, false),
                ("courier", opened, true, false),
                ("capture", opened, false, false),
                ("edge", opened, false, false),
                ("capture", made, false, false),
                ("courier", opened, true, false),
                ("courier", opened, true, true),
            ]
        );
        assert_eq!(told[4].field, "?");
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
