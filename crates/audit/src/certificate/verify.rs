//! Checking a chain with nothing but a public key.

use naru_runtime::hex::from_hex;
use naru_runtime::keys::{KeyId, Signature, VerifyingKeys};

use super::{CONTEXT, Certificate, START, VERSION, Verdict, canonical, sha256};

/// What the one who checks knows from elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// SHA-256 of the line before the first one, where the chain does not begin at its beginning.
    pub previous: Option<String>,
    /// SHA-256 of the last line: shows a chain that was cut.
    pub head: Option<String>,
}

/// What a chain says, once it is found whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Certificates.
    pub certificates: u64,
    /// By verdict: equal, incomplete, different, open.
    pub verdicts: [u64; 4],
    /// The head: SHA-256 of the last line.
    pub head: String,
    /// The certificates whose verdict is the worst there is, the first of them.
    pub worst: Option<(u64, Verdict)>,
}

/// A chain that is refused. Somebody altered it, or it was made under another key; no retry helps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is refused: {fault}")]
pub struct Refused {
    /// From 1.
    pub line: usize,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No certificate of this version.
    #[error("no certificate of version {VERSION}")]
    NoCertificate,
    /// Other bytes than the canonical form's.
    #[error("not in the canonical form")]
    NotCanonical,
    /// The line is not ended.
    #[error("the line was cut")]
    Cut,
    /// The number does not follow.
    #[error("number {found} in place of {expected}: certificates are missing, or were reordered")]
    Number {
        /// The one that follows.
        expected: u64,
        /// The one it has.
        found: u64,
    },
    /// It names another line before it.
    #[error("it does not follow the line before it")]
    Previous,
    /// It has no signature.
    #[error("not signed")]
    Unsigned,
    /// The signature's key is not known.
    #[error("signed with the key {0}, which is not given")]
    UnknownKey(String),
    /// The signature is not one over these bytes.
    #[error("the signature is not one over these bytes")]
    Signature,
    /// The verdict is not what the readings come to.
    #[error("its verdict is not what its readings come to")]
    Verdict,
    /// The window does not begin where the one before of the same source ended.
    #[error("its window does not begin where the one before it ended")]
    Window,
    /// The chain ends elsewhere.
    #[error("the chain does not end with the head that was given")]
    Head,
}

/// Decides AUDIT-3: the chain is whole, in order, signed by a known key, and each verdict is what its readings come to.
///
/// # Errors
/// The first line that is refused.
pub fn verify(chain: &str, keys: &VerifyingKeys, expected: &Expected) -> Result<Summary, Refused> {
    let mut previous = expected.previous.clone().unwrap_or_else(|| START.to_owned());
    let mut next: Option<u64> = if expected.previous.is_some() { None } else { Some(0) };
    let mut ends: std::collections::BTreeMap<String, u64> = std::collections::BTreeMap::new();
    let mut summary = Summary { certificates: 0, verdicts: [0; 4], head: previous.clone(), worst: None };
    let mut last = 0;
    for (index, line) in chain.split_inclusive('\n').enumerate() {
        last = index + 1;
        let refused = |fault| Refused { line: index + 1, fault };
        let line = line.strip_suffix('\n').ok_or_else(|| refused(Fault::Cut))?;
        let certificate = one(line, keys).map_err(refused)?;
        let expected_number = next.unwrap_or(certificate.number);
        if certificate.number != expected_number {
            return Err(refused(Fault::Number { expected: expected_number, found: certificate.number }));
        }
        if certificate.previous != previous {
            return Err(refused(Fault::Previous));
        }
        let window = &certificate.window;
        // A window that is proved again begins, and ends, where it did before.
        let follows = ends.get(&window.source).is_none_or(|end| window.after <= *end);
        if window.after > window.to || !follows {
            return Err(refused(Fault::Window));
        }
        let end = ends.entry(window.source.clone()).or_default();
        *end = (*end).max(window.to);
        previous = sha256(line.as_bytes());
        next = Some(certificate.number + 1);
        summary.certificates += 1;
        summary.verdicts[certificate.verdict as usize] += 1;
        if summary.worst.is_none_or(|(_, worst)| certificate.verdict > worst) {
            summary.worst = Some((certificate.number, certificate.verdict));
        }
    }
    if expected.head.as_ref().is_some_and(|head| *head != previous) {
        return Err(Refused { line: last, fault: Fault::Head });
    }
    summary.head = previous;
    Ok(summary)
}

/// One line by itself.
fn one(line: &str, keys: &VerifyingKeys) -> Result<Certificate, Fault> {
    let mut certificate: Certificate = serde_json::from_str(line).map_err(|_| Fault::NoCertificate)?;
    if certificate.version != VERSION {
        return Err(Fault::NoCertificate);
    }
    if canonical(&certificate).ok().as_deref() != Some(line) {
        return Err(Fault::NotCanonical);
    }
    let signature = certificate.signature.take().ok_or(Fault::Unsigned)?;
    let unsigned = canonical(&certificate).map_err(|_| Fault::NotCanonical)?;
    let key_id = from_hex(&signature.key).map(KeyId::from_bytes).ok_or(Fault::Signature)?;
    let bytes = from_hex(&signature.ed25519).ok_or(Fault::Signature)?;
    if !keys.knows(key_id) {
        return Err(Fault::UnknownKey(signature.key));
    }
    if !keys.verify(format!("{CONTEXT}{unsigned}").as_bytes(), &Signature { key_id, bytes }) {
        return Err(Fault::Signature);
    }
    let parts_hold = certificate.parts.iter().all(|part| part.derived() == part.verdict);
    let worst = certificate.parts.iter().map(|part| part.verdict).max().unwrap_or(Verdict::Incomplete);
    if !parts_hold || worst != certificate.verdict {
        return Err(Fault::Verdict);
    }
    Ok(certificate)
}
