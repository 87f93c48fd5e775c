//! How a relay says that a service group stands, as far as a rehearsal looks at it.

use serde::{Deserialize, Serialize};

/// Sides are named as the relay does: "a", "b".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The side that orders records.
    pub active: String,
    /// The sides that each alone hold every acknowledged record.
    pub in_sync: Vec<String>,
    /// Records that the other side lacks, where the relay says it.
    pub lag: Option<u64>,
}

/// What `GET /status` says of one service group. `None` if it does not say it.
pub fn standing_of(status: &serde_json::Value, group: &str) -> Option<Standing> {
    let groups = status.get("groups")?.as_array()?;
    let found = groups.iter().find(|entry| entry.get("name").is_some_and(|name| name == group))?;
    let active = found.get("active")?.as_str()?.to_owned();
    let sides = found.get("sides")?;
    let mut in_sync = Vec::new();
    for side in ["a", "b"] {
        if sides.get(side)?.get("in_sync")?.as_bool()? {
            in_sync.push(side.to_owned());
        }
    }
    let lag = sides.get(other(&active))?.get("lag_records").and_then(serde_json::Value::as_u64);
    Some(Standing { in_sync, lag, active })
}

fn other(side: &str) -> &'static str {
    if side == "a" { "b" } else { "a" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_in_the_relays_answer() {
        let side = |in_sync: bool, lag: Option<u64>| serde_json::json!({ "in_sync": in_sync, "lag_records": lag });
        let status = serde_json::json!({ "groups": [
            { "name": "other", "active": "a", "sides": { "a": side(true, None), "b": side(true, Some(0)) } },
            { "name": "pay", "active": "b", "sides": { "a": side(false, Some(7)), "b": side(true, None) } },
        ] });
        let standing = Standing { active: "b".to_owned(), in_sync: vec!["b".to_owned()], lag: Some(7) };
        assert_eq!(standing_of(&status, "pay"), Some(standing));
        let standing = standing_of(&status, "other").map(|standing| standing.in_sync.len());
        assert_eq!(standing, Some(2));
        assert_eq!(standing_of(&status, "none"), None);
    }
}
