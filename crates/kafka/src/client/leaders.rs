//! Requests about many partitions, each to its leader, again for those whose leader moved.

use std::collections::BTreeMap;

use kafka_protocol::protocol::Request;

use super::{
    CallOptions, Client, ClientError, Lane, TopicPartition,
    ask::Said,
    error::{Asked, Broker},
};

/// The places, in the caller's list, of the partitions that one broker leads.
pub(super) type ByLeader = BTreeMap<String, (Broker, Vec<usize>)>;

/// What an answer says about one partition: its error code and the value that goes with none.
pub(super) type Found<T> = Option<(i16, T)>;

impl Client {
    /// Sorts partitions by their leader: those at the given places of the list. Those without one are given with the
    /// error.
    pub(super) async fn by_leader(
        &self,
        api_key: i16,
        partitions: &[TopicPartition],
        places: &[usize],
    ) -> (ByLeader, Vec<(usize, ClientError)>) {
        let mut led = ByLeader::new();
        let mut leaderless = Vec::new();
        for place in places {
            match self.leader(&partitions[*place]).await {
                Ok((broker, _)) => {
                    led.entry(broker.to_string()).or_insert_with(|| (broker, Vec::new())).1.push(*place);
                }
                Err(error) => {
                    let asked = || Asked { api_key, about: partitions[*place].to_string().into() };
                    leaderless.push((*place, error.not_sent(asked)));
                }
            }
        }
        (led, leaderless)
    }

    /// Asks each leader about its partitions; asks again about those that failed retriably, within the bound on
    /// attempts. For requests that can be repeated. `make` gets the places of one leader's partitions, `find` looks
    /// one of them up in an answer. The results stand in the order of `partitions`.
    pub(super) async fn ask_leaders<R: Request, T>(
        &self,
        partitions: &[TopicPartition],
        options: &CallOptions,
        make: impl Fn(&[usize]) -> R,
        find: impl Fn(&R::Response, &TopicPartition) -> Found<T>,
    ) -> Vec<Result<T, ClientError>> {
        let mut results: Vec<Option<Result<T, ClientError>>> = partitions.iter().map(|_| None).collect();
        let mut open: Vec<usize> = (0..partitions.len()).collect();
        let mut retry = self.retry();
        loop {
            let (led, leaderless) = self.by_leader(R::KEY, partitions, &open).await;
            for (place, error) in leaderless {
                results[place] = Some(Err(error));
            }
            for (broker, places) in led.into_values() {
                let request = make(&places);
                let answer = match self.connection(&broker, Lane::Control).await {
                    Ok(connection) => connection.call_with(&request, options).await.map(|answer| (connection, answer)),
                    Err(error) => Err(error.not_sent(|| options.asked(R::KEY))),
                };
                for place in places {
                    let at = &partitions[place];
                    results[place] = Some(match &answer {
                        Ok((connection, answer)) => {
                            let said = Said { connection, asked: options.asked(R::KEY) };
                            understood(&said.about(at), find(answer, at))
                        }
                        Err(error) => Err(error.clone().about(at)),
                    });
                }
            }
            let mut failed = None;
            open.retain(|place| match &results[*place] {
                Some(Err(error)) if error.retry_can_help() => {
                    self.heed(&partitions[*place].topic, error);
                    failed = Some(error.clone());
                    true
                }
                _ => false,
            });
            let Some(error) = failed else { break };
            if retry.wait(error).await.is_err() {
                break;
            }
        }
        results
            .into_iter()
            .map(|result| result.expect("each partition was led or leaderless in the first round"))
            .collect()
    }

    /// As [`Client::ask_leaders`], about one partition.
    pub(super) async fn ask_leader<R: Request, T>(
        &self,
        at: &TopicPartition,
        options: &CallOptions,
        make: impl Fn() -> R,
        find: impl Fn(&R::Response, &TopicPartition) -> Found<T>,
    ) -> Result<T, ClientError> {
        let mut results = self.ask_leaders(std::slice::from_ref(at), options, |_| make(), find).await;
        results.pop().expect("one asked for, one answered")
    }
}

fn understood<T>(said: &Said<'_>, found: Found<T>) -> Result<T, ClientError> {
    match found {
        None => Err(said.lacks("this partition")),
        Some((code, value)) => said.check(code, None).map(|()| value),
    }
}

impl TopicPartition {
    /// Whether this is that partition of that topic, as an answer names them.
    pub(super) fn is(&self, topic: &str, partition: i32) -> bool {
        *self.topic == *topic && self.partition == partition
    }
}

/// Partitions grouped by topic as requests want them: `make` gets a topic's name and the places of its partitions.
pub(super) fn by_topic<T>(
    partitions: &[TopicPartition],
    places: &[usize],
    mut make: impl FnMut(&str, &[usize]) -> T,
) -> Vec<T> {
    let mut topics: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for place in places {
        topics.entry(&partitions[*place].topic).or_default().push(*place);
    }
    topics.into_iter().map(|(topic, places)| make(topic, &places)).collect()
}
