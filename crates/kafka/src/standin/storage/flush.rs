//! Making appends durable: one fsync for all that wait, checkpoints, and what happens when fsync fails.

use std::sync::{Arc, PoisonError};

use super::checkpoint::{Checkpoint, mark};
use super::disk::OpenSegment;
use super::store::{Inner, Shared};
use super::{Flush, StoreError, atomic, segment};

impl Shared {
    /// What a flusher thread does: makes durable what was appended before it came.
    pub fn flush_queued(&self) {
        // From here on an append asks for another flush: it may come too late for this one.
        self.dequeued();
        if let Err(error) = self.flush_appended() {
            tracing::error!(partition = %self.dir.display(), %error, source = ?std::error::Error::source(&error), "flush failed");
        }
    }

    /// Makes durable what was appended before the call; appends go on while the disk works.
    pub fn flush_appended(&self) -> Result<(), StoreError> {
        let _flushing = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut inner = self.inner();
        if inner.offline.is_some() || (inner.durable_end == inner.log.log_end() && inner.rolled.is_empty()) {
            return Ok(());
        }
        if let Err(error) = self.write_held(&mut inner) {
            return self.roll_back(&mut inner, error);
        }
        let end = inner.log.log_end();
        let position = inner.active.index.end_position;
        let file = Arc::clone(&inner.active.file);
        let path = inner.active.path.clone();
        let active_id = inner.active.id;
        let rolled = std::mem::take(&mut inner.rolled);
        // Taken now: it must say nothing of what is appended while the disk works.
        let checkpoint = (inner.since_checkpoint >= self.flush.checkpoint_bytes())
            .then(|| (inner.checkpoint(false), inner.active.index.clone()));
        drop(inner);

        let synced = self
            .sync_rolled(&rolled)
            .and_then(|()| self.disk.sync(&file, &path))
            .and_then(|()| mark::write(&self.mark, &self.dir.join(mark::FILE_NAME), end));
        let mut inner = self.inner();
        if let Err(error) = synced {
            inner.rolled.splice(0..0, rolled);
            return self.roll_back(&mut inner, error);
        }
        inner.durable_end = inner.durable_end.max(end);
        if inner.active.id == active_id {
            inner.durable_position = Some(position);
        }
        inner.log.raise_high_watermark(end);
        if checkpoint.is_some() {
            inner.since_checkpoint = 0;
        }
        self.publish(&inner);
        drop(inner);
        if let Some((checkpoint, index)) = checkpoint {
            index.save(&segment::index_path(&path))?;
            checkpoint.save(&self.dir)?;
        }
        Ok(())
    }

    /// With the log locked: makes everything durable, lets `change` change the state, and writes the checkpoint. `change`
    /// says whether the store is being closed in order.
    pub fn flush_then(&self, change: impl FnOnce(&mut Inner) -> Result<bool, StoreError>) -> Result<(), StoreError> {
        // Most of the work, with the log not locked: little is left for the sync under the lock.
        self.flush_appended()?;
        let _flushing = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut inner = self.inner();
        inner.usable()?;
        let synced = self.write_held(&mut inner).and_then(|()| self.sync_all(&mut inner));
        if let Err(error) = synced {
            return self.roll_back(&mut inner, error);
        }
        let clean = change(&mut inner)?;
        // It may have begun a new segment.
        self.sync_all(&mut inner)?;
        inner.active.index.save(&segment::index_path(&inner.active.path))?;
        inner.checkpoint(clean).save(&self.dir)?;
        atomic::sync_dir(&self.dir)?;
        inner.since_checkpoint = 0;
        self.publish(&inner);
        Ok(())
    }

    fn sync_all(&self, inner: &mut Inner) -> Result<(), StoreError> {
        self.sync_rolled(&inner.rolled)?;
        inner.rolled.clear();
        self.disk.sync(&inner.active.file, &inner.active.path)?;
        let end = inner.log.log_end();
        mark::write(&self.mark, &self.dir.join(mark::FILE_NAME), end)?;
        inner.durable_end = end;
        inner.durable_position = Some(inner.active.index.end_position);
        inner.log.raise_high_watermark(end);
        Ok(())
    }

    fn sync_rolled(&self, rolled: &[Arc<OpenSegment>]) -> Result<(), StoreError> {
        for closed in rolled {
            self.disk.sync(&closed.file, &closed.path)?;
            closed.index.save(&segment::index_path(&closed.path))?;
        }
        // The name of the segment that followed.
        if rolled.is_empty() { Ok(()) } else { atomic::sync_dir(&self.dir) }
    }

    /// After a failed fsync nobody knows what the disk holds of what was not durable. Under `Fsync` nobody was told of it
    /// either: it is cut off, those who wait are told, and the partition goes on. Under `Write` it was acknowledged and
    /// stays in the page cache; the next flush tries again.
    fn roll_back(&self, inner: &mut Inner, error: StoreError) -> Result<(), StoreError> {
        if self.flush == Flush::Write {
            return Err(error);
        }
        let end = inner.durable_end;
        let Some(position) = inner.durable_position else {
            // The durable end lies in a segment that is closed already.
            inner.offline = Some("an fsync failed across two segments");
            self.progress.send_modify(|progress| progress.closed = true);
            return Err(error);
        };
        inner.held.clear();
        self.disk.cache.cut(self.id, end);
        inner.log.truncate(end);
        inner.active.index.cut(position, end);
        inner.cut_to = inner.active.file.set_len(position).is_err().then_some(position);
        self.progress.send_modify(|progress| {
            progress.rollbacks += 1;
            progress.rolled_back_to = end;
        });
        Err(error)
    }
}

impl Inner {
    /// The state at the log end.
    pub fn checkpoint(&self, clean: bool) -> Checkpoint {
        Checkpoint {
            log_start: self.log.log_start(),
            recovery_point: self.log.log_end(),
            leader_epoch: self.log.leader_epoch(),
            clean,
            epochs: self.log.epochs().clone(),
            producers: self.log.producers().clone(),
        }
    }
}
