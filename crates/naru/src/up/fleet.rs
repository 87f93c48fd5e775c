//! All members: started in order, started again when one ends, ended in the order against it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::child::{Child, ChildError};
use super::configure::Member;

/// How often the members are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// What one member gets to drain: more than any role's own `drain_max` here.
const MEMBER_DRAIN_MAX: Duration = Duration::from_secs(12);
/// Before a member is started again, and how far that grows while it keeps ending.
const AGAIN_MIN: Duration = Duration::from_millis(500);
const AGAIN_MAX: Duration = Duration::from_secs(30);
/// A member that has run this long has recovered: the next end counts as its first.
const RECOVERED_AFTER: Duration = Duration::from_secs(60);

/// A member and its process, if it has one now.
#[derive(Debug)]
struct Slot {
    member: Member,
    child: Option<Child>,
    since: Instant,
    pause: Duration,
}

/// Every member in the order of its start.
#[derive(Debug)]
pub struct Fleet {
    program: PathBuf,
    data: PathBuf,
    slots: Vec<Slot>,
}

impl Fleet {
    /// None of them runs yet.
    pub fn new(program: PathBuf, data: PathBuf) -> Self {
        Self { program, data, slots: Vec::new() }
    }

    /// Starts them one after the other, each when the one before is ready.
    ///
    /// # Errors
    /// That of the first that does not come up; those before it run.
    pub async fn start(&mut self, members: &[Member]) -> Result<(), ChildError> {
        for member in members {
            let child = Child::start(&self.program, &self.data, member).await?;
            self.slots.push(Slot {
                member: member.clone(),
                child: Some(child),
                since: Instant::now(),
                pause: AGAIN_MIN,
            });
        }
        Ok(())
    }

    /// Starts again what ends, until told to stop; then ends all of them.
    ///
    /// # Errors
    /// When a process is out of the system's reach.
    pub async fn keep(mut self, stop: CancellationToken) -> Result<(), ChildError> {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = looks.tick() => {}
            }
            for slot in &mut self.slots {
                tokio::select! {
                    () = stop.cancelled() => break,
                    looked = slot.look(&self.program, &self.data) => looked?,
                }
            }
        }
        self.stop().await;
        Ok(())
    }

    /// Ends them, the last one first; says which did not end well.
    pub async fn stop(&mut self) {
        while let Some(Slot { member, child, .. }) = self.slots.pop() {
            let Some(mut child) = child else { continue };
            match child.stop(MEMBER_DRAIN_MAX).await {
                Ok(Some(status)) if status.success() => {}
                Ok(Some(status)) => {
                    eprintln!("naru up: {} ended with {status}: {}", member.name, child.log().display());
                }
                Ok(None) => eprintln!("naru up: {} did not end in time and was killed", member.name),
                Err(error) => eprintln!("naru up: {error}"),
            }
        }
    }
}

impl Slot {
    async fn look(&mut self, program: &Path, data: &Path) -> Result<(), ChildError> {
        if let Some(child) = &mut self.child {
            let Some(status) = child.ended()? else { return Ok(()) };
            let log = child.log().display();
            if self.since.elapsed() > RECOVERED_AFTER {
                self.pause = AGAIN_MIN;
            }
            eprintln!("naru up: {} ended with {status}, again in {:?}: {log}", self.member.name, self.pause);
            self.child = None;
            self.since = Instant::now();
        }
        if self.since.elapsed() < self.pause {
            return Ok(());
        }
        match Child::start(program, data, &self.member).await {
            Ok(child) => {
                eprintln!("naru up: {} is there again", self.member.name);
                self.child = Some(child);
            }
            Err(error) => eprintln!("naru up: {error}"),
        }
        self.since = Instant::now();
        self.pause = (self.pause * 2).min(AGAIN_MAX);
        Ok(())
    }
}
