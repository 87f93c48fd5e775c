//! Consumer groups: members that are on the side which is going to follow.

use std::collections::BTreeSet;

use super::{Look, PreflightError};
use crate::side::Side;
use crate::topics::rules::Severity;

impl Look<'_> {
    /// Looks at every group; answers with their names.
    pub(super) async fn groups(&mut self) -> Result<BTreeSet<String>, PreflightError> {
        let mut names = BTreeSet::new();
        for side in Side::BOTH {
            let failed = |source| PreflightError::Side { side, source };
            for listed in self.clients[side].list_groups().await.map_err(failed)? {
                let service = self.config.group_of_consumers(&listed.group).to_owned();
                let first = self.config.all_groups().into_iter().find(|one| one.name == service);
                let follows = first.is_some_and(|one| Side::from(one.active) != side);
                if listed.protocol_type != "consumer" && !listed.protocol_type.is_empty() {
                    let what = format!(
                        "group {} is of type {}: the relay serves members of the type consumer",
                        listed.group, listed.protocol_type
                    );
                    self.find(Severity::Warning, None, Some(side), what, None);
                }
                let has_members = !matches!(&*listed.state, "Empty" | "Dead" | "");
                if follows && has_members {
                    let what = format!(
                        "group {} has members on the side that follows: the relay removes them before it copies offsets",
                        listed.group
                    );
                    let command = format!(
                        "kafka-consumer-groups.sh --bootstrap-server {} --describe --members --group {}    # point them at the relay",
                        self.bootstrap(side),
                        listed.group
                    );
                    self.find(Severity::Warning, None, Some(side), what, Some(command));
                }
                names.insert(listed.group.to_string());
            }
        }
        Ok(names)
    }
}
