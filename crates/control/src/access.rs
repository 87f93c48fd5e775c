//! Who may ask for what: tokens, of which only hashes are kept, with a role, a team and an end.

use naru_runtime::hex::to_hex;
use ring::digest;
use ring::rand::{SecureRandom as _, SystemRandom};

/// What a token may do. Each role may what the one before it may, but for `Approver`, who asks for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Read everything.
    Viewer,
    /// Ask, plan, apply, renew and release for its team.
    Requester,
    /// Read, and approve what others have planned.
    Approver,
    /// Everything, for every team; still not both halves of an approval.
    Admin,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Reads.
    Read,
    /// Changes what a team holds.
    Change,
    /// Approves a plan.
    Approve,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Requester, Self::Approver, Self::Admin];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Requester => "requester",
            Self::Approver => "approver",
            Self::Admin => "admin",
        }
    }

    /// From its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    /// Whether it may do that.
    pub fn may(self, deed: Deed) -> bool {
        match deed {
            Deed::Read => true,
            Deed::Change => matches!(self, Self::Requester | Self::Admin),
            Deed::Approve => matches!(self, Self::Approver | Self::Admin),
        }
    }
}

/// What a token allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Whose it is: a person, or a job of CI.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// For which team; ignored for admins.
    pub team: String,
    /// Until when.
    pub until_unix_ms: i64,
}

impl Grant {
    /// Whether it may change what this team holds.
    pub fn covers(&self, team: &str) -> bool {
        self.role == Role::Admin || self.team == team
    }
}

/// The system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct NoRandom;

/// Makes a token: shown once, never kept.
///
/// # Errors
/// When the system gives no random bytes.
pub fn make_token() -> Result<String, NoRandom> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandom)?;
    Ok(format!("naru_{}", to_hex(&bytes)))
}

/// What is kept of a token. A plain hash: a token has 256 random bits, so that there is nothing to guess.
pub fn hash(token: &str) -> String {
    to_hex(digest::digest(&digest::SHA256, token.as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_may_what_the_table_says() {
        let check = |role: Role, expect: [bool; 3]| {
            assert_eq!([Deed::Read, Deed::Change, Deed::Approve].map(|deed| role.may(deed)), expect, "{role:?}");
            assert_eq!(Role::from_name(role.name()), Some(role));
        };
        check(Role::Viewer, [true, false, false]);
        check(Role::Requester, [true, true, false]);
        check(Role::Approver, [true, false, true]);
        check(Role::Admin, [true, true, true]);
    }
}
