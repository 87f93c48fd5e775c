//! Requests about many partitions, each to its leader, again for those whose leader moved.

use std::collections::BTreeMap;

use super::{Client, ClientError, Connection, Lane, TopicPartition, error::Broker};

/// The places, in the caller's list, of the partitions that one broker leads.
pub(super) type ByLeader = BTreeMap<String, (Broker, Vec<usize>)>;

impl Client {
    /// Sorts partitions by their leader. Those without one are given with the error.
    pub(super) async fn by_leader<'a>(
        &self,
        partitions: impl IntoIterator<Item = (usize, &'a TopicPartition)>,
    ) -> (ByLeader, Vec<(usize, ClientError)>) {
        let mut led = ByLeader::new();
        let mut leaderless = Vec::new();
        for (index, partition) in partitions {
            match self.leader(partition).await {
                Ok((broker, _)) => {
                    led.entry(broker.to_string()).or_insert_with(|| (broker, Vec::new())).1.push(index);
                }
                Err(error) => leaderless.push((index, error)),
            }
        }
        (led, leaderless)
    }

    /// Asks each leader about its partitions; asks again about those that failed retriably, within the bound on
    /// attempts. For requests that can be repeated. The answers stand in the order of `partitions`.
    pub(super) async fn on_leaders<T>(
        &self,
        partitions: &[TopicPartition],
        mut ask: impl AsyncFnMut(Connection, Vec<usize>) -> Result<Vec<Result<T, ClientError>>, ClientError>,
    ) -> Vec<Result<T, ClientError>> {
        let mut answers: Vec<Option<Result<T, ClientError>>> = partitions.iter().map(|_| None).collect();
        let mut open: Vec<usize> = (0..partitions.len()).collect();
        let mut retry = self.retry();
        loop {
            let (led, leaderless) = self.by_leader(open.iter().map(|index| (*index, &partitions[*index]))).await;
            for (index, error) in leaderless {
                answers[index] = Some(Err(error));
            }
            for (broker, indexes) in led.into_values() {
                let result = match self.connection(&broker, Lane::Control).await {
                    Ok(connection) => ask(connection, indexes.clone()).await,
                    Err(error) => Err(error),
                };
                match result {
                    Ok(results) => {
                        for (index, result) in indexes.into_iter().zip(results) {
                            answers[index] = Some(result);
                        }
                    }
                    Err(error) => {
                        for index in indexes {
                            answers[index] = Some(Err(error.clone().about(&partitions[index])));
                        }
                    }
                }
            }
            let mut failed = None;
            open.retain(|index| match &answers[*index] {
                Some(Err(error)) if error.retry_can_help() => {
                    self.heed(&partitions[*index].topic, error);
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
        answers
            .into_iter()
            .map(|answer| answer.expect("each partition was led or leaderless in the first round"))
            .collect()
    }
}

/// Partitions grouped by topic as requests want them: `make` gets a topic's name and the places of its partitions.
pub(super) fn by_topic<T>(
    partitions: &[TopicPartition],
    indexes: &[usize],
    mut make: impl FnMut(&str, Vec<&usize>) -> T,
) -> Vec<T> {
    let mut topics: BTreeMap<&str, Vec<&usize>> = BTreeMap::new();
    for index in indexes {
        topics.entry(&partitions[*index].topic).or_default().push(index);
    }
    topics.into_iter().map(|(topic, indexes)| make(topic, indexes)).collect()
}
