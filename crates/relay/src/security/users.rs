//! Users with salted passwords. Nothing here is a password, and what is here is enough to test guesses against: the
//! file is its owner's only, and no value shows itself.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use naru_kafka::client::ScramMechanism;
use naru_kafka::client::sasl::scram::{ITERATIONS_MAX, ITERATIONS_MIN, base64_decode, base64_encode};
use naru_runtime::keys::{KeyError, refuse_exposed};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac, pbkdf2};

use super::mechanism::{algorithms, same, scram_name};

/// Iterations of a new password: twice what RFC 7677 asks for at least; about 5 ms of one core, which a client pays at
/// every connection, and the relay at every PLAIN login.
pub const ITERATIONS: NonZeroU32 = NonZeroU32::new(8_192).expect("not zero");

/// Bytes of a new salt.
const SALT_BYTES: usize = 16;

/// Bytes of a salt that is accepted.
const SALT_BYTES_MAX: usize = 1_024;

/// Bytes of the longest hash.
const HASH_BYTES_MAX: usize = 64;

/// Characters of a name: as long as anything that people type; it stands in logs.
const NAME_CHARS_MAX: usize = 128;

/// Bytes of the file: some ten thousand users.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// Why users cannot be had. The operator's side; a retry helps after the file is mended.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// The file can be read by others, or not at all.
    #[error("the users' file cannot be used")]
    File(#[from] KeyError),
    /// The file could not be read.
    #[error("{path}: cannot be read", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Lines of the file are wrong. What they hold is not repeated.
    #[error("{path}: {}", lines.join("; "), path = path.display())]
    Lines {
        /// The file.
        path: PathBuf,
        /// Each with its number and what is wrong.
        lines: Vec<String>,
    },
    /// The name cannot be used.
    #[error("{0:?} is no name for a user: use 1 to {NAME_CHARS_MAX} characters, no spaces or control characters")]
    Name(String),
    /// The password cannot be used.
    #[error("the password is empty or holds a NUL, which SASL PLAIN cannot carry")]
    Password,
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Random,
}

/// A password as one mechanism needs it.
#[derive(Clone, PartialEq, Eq)]
pub struct Salted {
    pub(super) hash: ScramMechanism,
    pub(super) iterations: NonZeroU32,
    pub(super) salt: Vec<u8>,
    pub(super) stored_key: Vec<u8>,
    pub(super) server_key: Vec<u8>,
}

impl fmt::Debug for Salted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Salted").field("mechanism", &scram_name(self.hash)).finish_non_exhaustive()
    }
}

impl Salted {
    /// Salts a password (RFC 5802, section 3).
    pub fn derive(hash: ScramMechanism, password: &str, salt: &[u8], iterations: NonZeroU32) -> Self {
        let algorithms = algorithms(hash);
        let mut salted = vec![0; algorithms.digest.output_len()];
        pbkdf2::derive(algorithms.pbkdf2, iterations, salt, password.as_bytes(), &mut salted);
        let salted = hmac::Key::new(algorithms.hmac, &salted);
        let client_key = hmac::sign(&salted, b"Client Key");
        Self {
            hash,
            iterations,
            salt: salt.to_vec(),
            stored_key: digest::digest(algorithms.digest, client_key.as_ref()).as_ref().to_vec(),
            server_key: hmac::sign(&salted, b"Server Key").as_ref().to_vec(),
        }
    }

    /// Whether it is this password's.
    pub fn is_of(&self, password: &str) -> bool {
        let other = Self::derive(self.hash, password, &self.salt, self.iterations);
        same(&other.stored_key, &self.stored_key)
    }

    /// As it stands in the file: `MECHANISM$ITERATIONS:SALT$STOREDKEY:SERVERKEY`, in base64.
    fn text(&self) -> String {
        let [salt, stored, server] = [&self.salt, &self.stored_key, &self.server_key].map(|bytes| base64_encode(bytes));
        format!("{}${}:{salt}${stored}:{server}", scram_name(self.hash), self.iterations)
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        const FORM: &str = "expected MECHANISM$ITERATIONS:SALT$STOREDKEY:SERVERKEY behind the name";
        let mut parts = text.split('$');
        let (Some(name), Some(cost), Some(keys), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(FORM);
        };
        let (Some((iterations, salt)), Some((stored, server))) = (cost.split_once(':'), keys.split_once(':')) else {
            return Err(FORM);
        };
        let hash = [ScramMechanism::Sha256, ScramMechanism::Sha512].into_iter().find(|hash| scram_name(*hash) == name);
        let hash = hash.ok_or("the mechanism is neither SCRAM-SHA-256 nor SCRAM-SHA-512")?;
        let in_bounds = |rounds: &NonZeroU32| (ITERATIONS_MIN..=ITERATIONS_MAX).contains(&u64::from(rounds.get()));
        let iterations = iterations.parse().ok().filter(in_bounds).ok_or("iterations are not 4096 to 1000000")?;
        let decoded = |text: &str, bytes_max| base64_decode(text, bytes_max).map_err(|_| "a part is not base64");
        let (salt, stored_key, server_key) =
            (decoded(salt, SALT_BYTES_MAX)?, decoded(stored, HASH_BYTES_MAX)?, decoded(server, HASH_BYTES_MAX)?);
        let length = algorithms(hash).digest.output_len();
        if salt.is_empty() || stored_key.len() != length || server_key.len() != length {
            return Err("a part has not the mechanism's length");
        }
        Ok(Self { hash, iterations, salt, stored_key, server_key })
    }
}

/// The users that may authenticate.
#[derive(Debug)]
pub struct Users {
    salted: HashMap<String, Vec<Salted>>,
    /// Makes up a salt for a name that is not there, always the same one: whoever asks must not learn which names are.
    pretence: hmac::Key,
    /// The iterations that most users have: what a made-up one costs.
    usual: NonZeroU32,
}

impl Users {
    /// Reads the file, all mistakes at once.
    pub fn load(path: &Path) -> Result<Self, UsersError> {
        refuse_exposed(path)?;
        let read = |source| UsersError::Read { path: path.to_owned(), source };
        let bytes = std::fs::metadata(path).map_err(read)?.len();
        if bytes > FILE_BYTES_MAX {
            let lines = vec![format!("has {bytes} bytes, more than {FILE_BYTES_MAX}")];
            return Err(UsersError::Lines { path: path.to_owned(), lines });
        }
        let text = std::fs::read_to_string(path).map_err(read)?;
        let mut key = [0; 32];
        SystemRandom::new().fill(&mut key).map_err(|_| UsersError::Random)?;
        Self::parse(&text, &key).map_err(|lines| UsersError::Lines { path: path.to_owned(), lines })
    }

    /// Reads `NAME MECHANISM$...` lines; empty ones and those that begin with `#` are nothing.
    pub(super) fn parse(text: &str, pretence: &[u8]) -> Result<Self, Vec<String>> {
        let (mut salted, mut wrong): (HashMap<String, Vec<Salted>>, _) = (HashMap::new(), Vec::new());
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let read = line.split_once(' ').ok_or("expected a name, a space and a salted password");
            let read = read.and_then(|(name, rest)| Ok((name, Salted::parse(rest.trim_start())?)));
            match read {
                Err(what) => wrong.push(format!("line {number}: {what}")),
                Ok((name, _)) if !is_name(name) => wrong.push(format!("line {number}: the name cannot be used")),
                Ok((name, one)) => {
                    let of_user = salted.entry(name.to_owned()).or_default();
                    if of_user.iter().any(|other: &Salted| other.hash == one.hash) {
                        wrong.push(format!("line {number}: a second password of the same user and mechanism"));
                    }
                    of_user.push(one);
                }
            }
        }
        let pretence = hmac::Key::new(hmac::HMAC_SHA256, pretence);
        let mut costs: BTreeMap<NonZeroU32, usize> = BTreeMap::new();
        for one in salted.values().flatten() {
            *costs.entry(one.iterations).or_default() += 1;
        }
        let usual = costs.into_iter().max_by_key(|(_, users)| *users).map_or(ITERATIONS, |(cost, _)| cost);
        if wrong.is_empty() { Ok(Self { salted, pretence, usual }) } else { Err(wrong) }
    }

    /// The lines that make a user known by this password, one per mechanism.
    pub fn lines(name: &str, password: &str) -> Result<[String; 2], UsersError> {
        if !is_name(name) {
            return Err(UsersError::Name(name.to_owned()));
        }
        if password.is_empty() || password.contains('\0') {
            return Err(UsersError::Password);
        }
        let line = |hash| {
            let mut salt = [0; SALT_BYTES];
            SystemRandom::new().fill(&mut salt).map_err(|_| UsersError::Random)?;
            Ok::<_, UsersError>(format!("{name} {}", Salted::derive(hash, password, &salt, ITERATIONS).text()))
        };
        Ok([line(ScramMechanism::Sha256)?, line(ScramMechanism::Sha512)?])
    }

    /// What a mechanism compares with.
    pub(super) fn salted(&self, name: &str, hash: ScramMechanism) -> Option<&Salted> {
        self.salted.get(name)?.iter().find(|one| one.hash == hash)
    }

    /// Something to compare with that no password fits, as it would be for a user that is there.
    pub(super) fn pretended(&self, name: &str, hash: ScramMechanism) -> Salted {
        let made_up = hmac::sign(&self.pretence, name.as_bytes());
        let length = algorithms(hash).digest.output_len();
        // No password has an all-zero key: the length is right, and nothing hashes to it.
        let (stored_key, server_key) = (vec![0; length], vec![0; length]);
        let salt = made_up.as_ref()[..SALT_BYTES].to_vec();
        Salted { hash, iterations: self.usual, salt, stored_key, server_key }
    }

    /// Whether the password is this user's, at the same cost whether or not there is such a user: milliseconds of a
    /// processor, up to some hundred with the most iterations.
    pub(super) fn knows(&self, name: &str, password: &str) -> bool {
        match self.salted.get(name).and_then(|of_user| of_user.first()) {
            Some(salted) => salted.is_of(password),
            None => self.pretended(name, ScramMechanism::Sha256).is_of(password),
        }
    }
}

fn is_name(name: &str) -> bool {
    let fits = |c: char| !c.is_control() && !c.is_whitespace();
    !name.is_empty() && name.chars().count() <= NAME_CHARS_MAX && !name.starts_with('#') && name.chars().all(fits)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_line_that_was_printed_is_read_and_knows_its_password() {
        let lines = Users::lines("alice", "correct horse").unwrap();
        assert!(lines.iter().all(|line| !line.contains("horse") && line.starts_with("alice SCRAM-SHA-")), "{lines:?}");
        let users = Users::parse(&format!("# users\n\n{}\n", lines.join("\n")), b"x").unwrap();
        let check =
            |name: &str, password: &str, expect: bool| assert_eq!(users.knows(name, password), expect, "{name}");
        check("alice", "correct horse", true);
        check("alice", "correct horse ", false);
        check("alice", "", false);
        check("bob", "correct horse", false);
        for hash in [ScramMechanism::Sha256, ScramMechanism::Sha512] {
            let salted = users.salted("alice", hash).unwrap();
            assert!(salted.is_of("correct horse") && !salted.is_of("x"));
            assert_eq!(Salted::parse(&salted.text()).unwrap(), *salted);
            assert!(!format!("{users:?}").contains(&base64_encode(&salted.stored_key)));
        }
        let line = |name: &str, iterations| {
            let iterations = NonZeroU32::new(iterations).unwrap();
            format!("{name} {}\n", Salted::derive(ScramMechanism::Sha256, "x", b"salt", iterations).text())
        };
        let users = [line("a", 5_000), line("b", 4_096), line("c", 5_000)].concat();
        let users = Users::parse(&users, b"x").unwrap();
        assert_eq!(users.pretended("bob", ScramMechanism::Sha256).iterations.get(), 5_000, "told by its cost");
    }

    #[test]
    fn the_password_of_rfc_7677_has_its_keys() {
        let salt = base64_decode("W22ZaJ0SNY7soEsUEjb6gQ==", 64).unwrap();
        let salted = Salted::derive(ScramMechanism::Sha256, "pencil", &salt, NonZeroU32::new(4_096).unwrap());
        // The keys behind the example of section 3, computed by another library.
        let expect = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
                      wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        assert_eq!(salted.text(), expect);
    }

    #[test]
    fn every_wrong_line_is_told_and_none_is_repeated() {
        let check = |line: &str, expect: &str| {
            let wrong = Users::parse(&format!("\n{line}\nx\n"), b"x").unwrap_err();
            assert!(
                wrong.len() == 2 && wrong[0].starts_with("line 2: ") && wrong[1].starts_with("line 3"),
                "{wrong:?}"
            );
            assert!(wrong[0].contains(expect) && !wrong[0].contains("c2VjcmV0"), "{wrong:?}");
        };
        check("alice", "expected a name");
        check("alice hunter2", "expected MECHANISM");
        check("alice SCRAM-SHA-1$4096:c2VjcmV0$c2VjcmV0:c2VjcmV0", "neither");
        check("alice SCRAM-SHA-256$4095:c2VjcmV0$c2VjcmV0:c2VjcmV0", "iterations");
        check("alice SCRAM-SHA-256$4096:c2VjcmV0$c2VjcmV0:c2VjcmV0", "length");
        check("alice SCRAM-SHA-256$4096:c2V$c2VjcmV0:c2VjcmV0", "base64");
        let [line, _] = Users::lines("alice", "x").unwrap();
        let twice = Users::parse(&format!("{line}\n{line}"), b"x").unwrap_err();
        assert!(twice[0].contains("line 2: a second password"), "{twice:?}");
    }

    #[test]
    fn names_and_passwords_that_cannot_be_used_are_refused() {
        for name in ["", "a b", "a\n", "#a", &"x".repeat(NAME_CHARS_MAX + 1)] {
            assert!(matches!(Users::lines(name, "x"), Err(UsersError::Name(_))), "{name:?}");
        }
        for password in ["", "a\0b"] {
            assert!(matches!(Users::lines("alice", password), Err(UsersError::Password)));
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users");
        std::fs::write(&path, Users::lines("alice", "x").unwrap().join("\n")).unwrap();
        for (mode, expect) in [(0o644, false), (0o600, true)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(Users::load(&path).is_ok(), expect, "{mode:o}");
        }
    }
}
