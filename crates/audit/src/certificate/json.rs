//! JSON of one form only.

use serde::Serialize;
use serde_json::Value;

/// A value without the canonical form: the program that made it is at fault.
#[derive(Debug, thiserror::Error)]
pub enum NotCanonical {
    /// A number that is not whole, or needs more than 64 bits.
    #[error("{0} has no canonical form: write it as text")]
    Number(serde_json::Number),
    /// No JSON at all.
    #[error("no JSON")]
    NoJson(#[from] serde_json::Error),
}

/// The canonical form of a value: members sorted by the bytes of their names, no white space, whole numbers.
///
/// # Errors
/// A number that has none.
pub fn canonical(value: &impl Serialize) -> Result<String, NotCanonical> {
    let mut text = String::new();
    write(&serde_json::to_value(value)?, &mut text)?;
    Ok(text)
}

fn write(value: &Value, text: &mut String) -> Result<(), NotCanonical> {
    match value {
        Value::Number(number) if !number.is_i64() && !number.is_u64() => {
            return Err(NotCanonical::Number(number.clone()));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            text.push_str(&serde_json::to_string(value)?);
        }
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write(item, text)?;
            }
            text.push(']');
        }
        Value::Object(members) => {
            // Whether the map keeps the order of insertion is for a feature of serde_json that others may ask for.
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| name.as_bytes());
            text.push('{');
            for (index, (name, member)) in members.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(&serde_json::to_string(name)?);
                text.push(':');
                write(member, text)?;
            }
            text.push('}');
        }
    }
    Ok(())
}
