//! A plan under its signature.

use naru_runtime::hex::{from_hex, to_hex};
use naru_runtime::keys::{KeyId, Signature, SigningKeys, VerifyingKeys};
use serde::{Deserialize, Serialize};

use super::book::PlanRefused;
use super::document::CapacityPlan;

/// Longest signed plan: some ten times what its most servers need.
pub const PLAN_BYTES_MAX: usize = 4 << 20;

/// Begins every signed text, so that a signature for another purpose is none here.
const CONTEXT: &[u8] = b"naru capacity plan 1";

/// What is sent and kept. The plan is a text in it, so that what was signed is what is read, byte for byte.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    plan: String,
    /// 16 hexadecimal digits.
    key: String,
    /// 128 hexadecimal digits, Ed25519.
    signature: String,
}

/// A plan with a signature, as the edge takes it.
pub fn sign(plan: &CapacityPlan, keys: &SigningKeys) -> Vec<u8> {
    let plan = serde_json::to_string(plan).expect("texts and numbers");
    let signature = keys.sign(&[CONTEXT, plan.as_bytes()].concat());
    let envelope = Envelope { plan, key: signature.key_id.to_string(), signature: to_hex(&signature.bytes) };
    serde_json::to_vec(&envelope).expect("texts")
}

/// The plan that these bytes are, if a known key has signed it.
pub(super) fn open(bytes: &[u8], keys: &VerifyingKeys) -> Result<CapacityPlan, PlanRefused> {
    if bytes.len() > PLAN_BYTES_MAX {
        return Err(PlanRefused::TooLarge { bytes: bytes.len() });
    }
    let envelope: Envelope = serde_json::from_slice(bytes).map_err(PlanRefused::Malformed)?;
    let (Some(key_id), Some(signature)) = (from_hex(&envelope.key), from_hex(&envelope.signature)) else {
        return Err(PlanRefused::NotSigned);
    };
    let signature = Signature { key_id: KeyId::from_bytes(key_id), bytes: signature };
    // Nothing of the plan is read before it is known who wrote it.
    if !keys.verify(&[CONTEXT, envelope.plan.as_bytes()].concat(), &signature) {
        return Err(PlanRefused::NotSigned);
    }
    serde_json::from_str(&envelope.plan).map_err(PlanRefused::Malformed)
}
