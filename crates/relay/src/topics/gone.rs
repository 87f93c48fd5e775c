//! Topics that are let go of although nobody asked the relay to delete them.

use super::record::{Life, TopicRecord};
use super::registry::{AdminError, Registry};
use crate::coordination::Coordination;
use crate::side::SideMap;

impl<C: Coordination> Registry<C> {
    /// Both sides have it no more, and nobody asked the relay for that.
    pub async fn lost(&self, name: &str) -> Result<(), AdminError> {
        let _turn = self.turn.lock().await;
        let record = self.known(name)?;
        match record.life {
            Life::Live => self.keep(TopicRecord { life: Life::Gone, sides: SideMap::default(), ..record }).await,
            _ => Ok(()),
        }
    }

    /// Lets go of a topic that was taken in and is not compared yet: it is as if it had not been taken in.
    pub async fn let_go(&self, name: &str) -> Result<(), AdminError> {
        let _turn = self.turn.lock().await;
        let record = self.known(name)?;
        match record.life {
            Life::Live if record.taken_in > 0 => {
                self.keep(TopicRecord { life: Life::Deleted, sides: SideMap::default(), ..record }).await
            }
            _ => Ok(()),
        }
    }
}
