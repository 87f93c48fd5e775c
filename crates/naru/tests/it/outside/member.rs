//! A member of a consumer group by librdkafka, polled by the test.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::client;

/// A member, and the values that it was given.
pub(crate) struct Member {
    pub(crate) consumer: BaseConsumer,
    pub(crate) seen: Vec<String>,
    /// Errors are what librdkafka tells and handles itself, such as a broker that is not there.
    tolerates_errors: bool,
}

impl Member {
    pub(crate) fn join(bootstrap: &str, group: &str, topic: &str, settings: &[(&str, &str)]) -> Self {
        let mut config = client(bootstrap);
        config
            .set("group.id", group)
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", "false")
            .set("heartbeat.interval.ms", "200")
            .set("session.timeout.ms", "6000");
        for (name, value) in settings {
            config.set(*name, *value);
        }
        let consumer: BaseConsumer = config.create().unwrap();
        consumer.subscribe(&[topic]).unwrap();
        Self { consumer, seen: Vec::new(), tolerates_errors: false }
    }

    /// For a test in which brokers come and go.
    pub(crate) fn tolerant(self) -> Self {
        Self { tolerates_errors: true, ..self }
    }

    pub(crate) fn poll(&mut self) {
        match self.consumer.poll(Duration::from_millis(20)) {
            Some(Ok(message)) => self.seen.push(String::from_utf8(message.payload().unwrap().to_vec()).unwrap()),
            Some(Err(error)) => assert!(self.tolerates_errors, "{error}"),
            None => {}
        }
    }

    pub(crate) fn partitions(&self) -> BTreeSet<i32> {
        self.consumer.assignment().unwrap().elements().iter().map(|element| element.partition()).collect()
    }
}

/// Polls the members until it holds.
pub(crate) fn poll_until(
    within: Duration,
    what: &str,
    members: &mut [&mut Member],
    holds: impl Fn(&[&mut Member]) -> bool,
) {
    let deadline = Instant::now() + within;
    while !holds(members) {
        let state: Vec<_> = members.iter().map(|member| (member.partitions(), member.seen.len())).collect();
        assert!(Instant::now() < deadline, "{what} did not come about: {state:?}");
        for member in &mut *members {
            member.poll();
        }
    }
}
