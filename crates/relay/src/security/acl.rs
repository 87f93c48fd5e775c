//! What a principal may do, with which topics and consumer groups.

use std::collections::HashMap;

use naru_kafka::wire::ErrorCode;

use super::Principal;
use super::config::{AclConfig, Permission};

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Consume; for a group: be a member and commit.
    Read,
    /// Produce.
    Write,
    /// Make it.
    Create,
    /// Remove it, or records of it.
    Delete,
    /// Change its partitions or its configuration.
    Alter,
    /// See that it is there, and what it is like.
    Describe,
}

/// With what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource<'a> {
    /// A topic.
    Topic(&'a str),
    /// A consumer group.
    Group(&'a str),
}

impl Resource<'_> {
    /// Kafka's code for who may not.
    pub fn refused(&self) -> ErrorCode {
        match self {
            Self::Topic(_) => ErrorCode::TOPIC_AUTHORIZATION_FAILED,
            Self::Group(_) => ErrorCode::GROUP_AUTHORIZATION_FAILED,
        }
    }
}

/// A set of operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Operations(u8);

impl Operations {
    const ALL: Self = Self(0b11_1111);

    fn of(operation: Operation) -> Self {
        Self(1 << operation as u8)
    }

    fn contains(self, operation: Operation) -> bool {
        self.0 & Self::of(operation).0 != 0
    }

    /// What a permission allows. As in Kafka, who may read, write, delete or alter may also describe.
    fn allowed(permission: Permission) -> Self {
        let describe = Self::of(Operation::Describe).0;
        let with = |operation| Self(Self::of(operation).0 | describe);
        match permission {
            Permission::Read => with(Operation::Read),
            Permission::Write => with(Operation::Write),
            Permission::Create => Self::of(Operation::Create),
            Permission::Delete => with(Operation::Delete),
            Permission::Alter => with(Operation::Alter),
            Permission::Describe => Self::of(Operation::Describe),
            Permission::All => Self::ALL,
        }
    }
}

/// What is allowed, by name and by the beginning of a name.
#[derive(Debug, Clone, Default)]
struct Rules {
    literal: HashMap<String, Operations>,
    prefixes: Vec<(String, Operations)>,
}

impl Rules {
    fn add(&mut self, pattern: &str, operations: Operations) {
        match pattern.strip_suffix('*') {
            Some(prefix) => self.prefixes.push((prefix.to_owned(), operations)),
            None => self.literal.entry(pattern.to_owned()).or_default().0 |= operations.0,
        }
    }

    fn allow(&self, name: &str, operation: Operation) -> bool {
        self.literal.get(name).is_some_and(|operations| operations.contains(operation))
            || self.prefixes.iter().any(|(prefix, allowed)| allowed.contains(operation) && name.starts_with(prefix))
    }

    fn allow_anywhere(&self, operation: Operation) -> bool {
        self.literal.values().chain(self.prefixes.iter().map(|(_, allowed)| allowed)).any(|one| one.contains(operation))
    }
}

#[derive(Debug, Clone, Default)]
struct OfPrincipal {
    topics: Rules,
    groups: Rules,
}

/// Who may do what. What nothing allows is denied.
#[derive(Debug, Clone)]
pub struct Acls {
    /// None: everybody may do everything.
    rules: Option<HashMap<String, OfPrincipal>>,
}

/// Stands for every principal that is known.
const EVERYBODY: &str = "*";

impl Acls {
    /// Everybody may do everything: where nobody has to say who they are.
    pub fn open() -> Self {
        Self { rules: None }
    }

    /// What these rules allow and nothing else.
    pub fn new(rules: &[AclConfig]) -> Self {
        let mut by_principal: HashMap<String, OfPrincipal> = HashMap::new();
        for rule in rules {
            let allowed = rule.allow.iter().fold(0, |all, one| all | Operations::allowed(*one).0);
            for principal in &rule.principals {
                let of = by_principal.entry(principal.clone()).or_default();
                rule.topics.iter().for_each(|pattern| of.topics.add(pattern, Operations(allowed)));
                rule.groups.iter().for_each(|pattern| of.groups.add(pattern, Operations(allowed)));
            }
        }
        Self { rules: Some(by_principal) }
    }

    /// Whether anything can be denied at all.
    pub fn bind(&self) -> bool {
        self.rules.is_some()
    }

    /// Whether it is allowed.
    pub fn allow(&self, principal: &Principal, operation: Operation, resource: Resource<'_>) -> bool {
        self.any(principal, |of| match resource {
            Resource::Topic(name) => of.topics.allow(name, operation),
            Resource::Group(name) => of.groups.allow(name, operation),
        })
    }

    /// Whether it is allowed with any topic at all: Kafka's condition for an idempotent producer's id.
    pub fn allow_with_some_topic(&self, principal: &Principal, operation: Operation) -> bool {
        self.any(principal, |of| of.topics.allow_anywhere(operation))
    }

    fn any(&self, principal: &Principal, allow: impl Fn(&OfPrincipal) -> bool) -> bool {
        let Some(rules) = &self.rules else { return true };
        [principal.as_str(), EVERYBODY].into_iter().filter_map(|name| rules.get(name)).any(allow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(principals: &[&str], topics: &[&str], groups: &[&str], allow: &[Permission]) -> AclConfig {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        AclConfig { principals: owned(principals), topics: owned(topics), groups: owned(groups), allow: allow.to_vec() }
    }

    #[test]
    fn what_nothing_allows_is_denied() {
        use Operation::{Alter, Create, Delete, Describe, Read, Write};
        let acls = Acls::new(&[
            rule(&["payer"], &["pay", "pay.*"], &[], &[Permission::Write]),
            rule(&["ledger", "audit"], &["pay*"], &["ledger-*"], &[Permission::Read]),
            rule(&["ops"], &["*"], &["*"], &[Permission::All]),
            rule(&["*"], &["public"], &[], &[Permission::Describe]),
            rule(&["maker"], &["new-*"], &[], &[Permission::Create]),
        ]);
        let check = |who: &str, resource: Resource<'_>, allowed: &[Operation]| {
            for operation in [Read, Write, Create, Delete, Alter, Describe] {
                let found = acls.allow(&Principal::new(who), operation, resource);
                assert_eq!(found, allowed.contains(&operation), "{who} {operation:?} {resource:?}");
            }
        };
        let everything = [Read, Write, Create, Delete, Alter, Describe];
        check("payer", Resource::Topic("pay"), &[Write, Describe]);
        check("payer", Resource::Topic("pay.eu"), &[Write, Describe]);
        check("payer", Resource::Topic("payroll"), &[]);
        check("payer", Resource::Group("ledger-1"), &[]);
        check("audit", Resource::Topic("payroll"), &[Read, Describe]);
        check("audit", Resource::Group("ledger-1"), &[Read, Describe]);
        check("audit", Resource::Group("ledger"), &[]);
        check("ops", Resource::Topic("anything"), &everything);
        check("nobody", Resource::Topic("public"), &[Describe]);
        check("nobody", Resource::Topic("pay"), &[]);
        check("maker", Resource::Topic("new-1"), &[Create]);
        check("*", Resource::Topic("pay"), &[]);
        let writes = |who: &str| acls.allow_with_some_topic(&Principal::new(who), Write);
        assert!(writes("payer") && writes("ops") && !writes("audit") && !writes("nobody"));
        assert!(Acls::open().allow(&Principal::anonymous(), Write, Resource::Topic("pay")));
        assert!(!Acls::new(&[]).allow(&Principal::new("ops"), Describe, Resource::Topic("pay")));
    }

    #[test]
    fn refusals_have_kafkas_codes() {
        assert_eq!(Resource::Topic("x").refused().0, 29);
        assert_eq!(Resource::Group("x").refused().0, 30);
    }
}
