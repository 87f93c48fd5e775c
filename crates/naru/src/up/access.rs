//! The tokens of control: the console reads with one, and people log in with the others.

use std::io;
use std::path::{Path, PathBuf};

use naru_control::access::{Grant, NoRandom, Role, make_token};
use naru_control::server;
use naru_control::store::StoreError;
use naru_runtime::clocks::{SystemClock, WallClock as _};
use naru_runtime::durable::replace_file;

/// A token is good for so long after each start.
const DAYS: i64 = 30;
/// The team that requests of the people below are for.
pub const TEAM: &str = "demo";
/// The console's own name at control.
pub const CONSOLE: &str = "console";
/// Who asks for things.
pub const REQUESTER: &str = "requester";

/// Why there are no tokens. This machine's side.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A token's file.
    #[error("cannot use {path}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Control's book does not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no randomness to make one of.
    #[error(transparent)]
    NoRandom(#[from] NoRandom),
}

/// A token that control knows.
#[derive(Debug, Clone)]
pub struct Token {
    /// Whose it is.
    pub name: &'static str,
    /// Where it is kept, readable by its owner only.
    pub file: PathBuf,
}

impl Token {
    /// Whether a person logs in with it.
    pub fn is_for_people(&self) -> bool {
        self.name != CONSOLE
    }
}

/// Makes the tokens that are missing, and has control know all of them for some more days.
///
/// # Errors
/// Every [`AccessError`].
pub async fn grant(data: &Path) -> Result<Vec<Token>, AccessError> {
    let state = data.join("control").join("state");
    let file_error = |path: &Path| {
        let path = path.to_owned();
        move |source| AccessError::File { path, source }
    };
    std::fs::create_dir_all(&state).map_err(file_error(&state))?;
    let dir = data.join("tokens");
    std::fs::create_dir_all(&dir).map_err(file_error(&dir))?;
    let until_unix_ms = SystemClock::new().unix_ms() + DAYS * 86_400_000;
    let mut tokens = Vec::new();
    for (name, role, team) in
        [(CONSOLE, Role::Viewer, ""), (REQUESTER, Role::Requester, TEAM), ("approver", Role::Approver, "")]
    {
        let file = dir.join(name);
        let token = match std::fs::read_to_string(&file) {
            Ok(text) => text.trim().to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let token = make_token()?;
                replace_file(&file, token.as_bytes(), 0o600).map_err(file_error(&file))?;
                token
            }
            Err(source) => return Err(file_error(&file)(source)),
        };
        let grant = Grant { name: name.to_owned(), role, team: team.to_owned(), until_unix_ms };
        server::add_token(&state, &grant, &token).await?;
        tokens.push(Token { name, file });
    }
    Ok(tokens)
}
