//! Transactions are not served: who asks for one is told so at once, in words that clients take for final.

use std::time::{Duration, Instant};

use naru_kafka::client::offsets::OffsetAt;
use naru_kafka::client::produce::ProduceOptions;
use naru_kafka::client::{CallOptions, Client, TopicPartition};
use naru_kafka::serve::messages::{FindCoordinatorRequest, InitProducerIdRequest, TransactionalId};
use naru_kafka::wire::{BatchBuilder, Compression, ErrorCode, StrBytes};
use naru_relay::Side;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::process::{PATIENCE, Pair};
use crate::outside;

const REFUSED: ErrorCode = ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
/// A request of this key, version 0: nobody offers it here.
const ADD_PARTITIONS_TO_TXN: i16 = 24;

async fn end(client: &Client, at: &TopicPartition) -> i64 {
    client.list_offset(at, OffsetAt::Latest).await.unwrap().offset.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transactional_producer_is_refused_at_once_and_nothing_of_it_is_written() {
    let pair = Pair::start().await;
    pair.create_topic("payments", 1).await;
    let relay = pair.relay("relay", "").await;
    let client = relay.await_topic("payments", 1).await;

    // What others wrote: told in seconds, not when its own patience of a minute ends.
    let producer: BaseProducer = outside::client(&relay.bootstrap()).set("transactional.id", "pay-1").create().unwrap();
    let asked = Instant::now();
    let told = tokio::task::spawn_blocking(move || producer.init_transactions(PATIENCE)).await.unwrap();
    let Err(KafkaError::Transaction(error)) = told else { panic!("{told:?}") };
    assert_eq!(error.code(), RDKafkaErrorCode::TransactionalIdAuthorizationFailed, "{error:?}");
    assert!(error.is_fatal() && asked.elapsed() < Duration::from_secs(20), "{error:?} after {:?}", asked.elapsed());

    // Message by message.
    let broker = client.dedicated(&client.coordinator("any").await.unwrap()).await.unwrap();
    let id = StrBytes::from_static_str("pay-1");
    let find = FindCoordinatorRequest::default().with_key_type(1).with_key(id.clone());
    let found = broker.call_with(&find, &CallOptions::default().versions(1, 3)).await.unwrap();
    assert_eq!(ErrorCode(found.error_code), REFUSED);
    assert!(found.error_message.unwrap().contains("transactions are not served"));
    let init = InitProducerIdRequest::default().with_transactional_id(Some(TransactionalId(id)));
    let given = broker.call_with(&init, &CallOptions::default().versions(1, 4)).await.unwrap();
    assert_eq!((ErrorCode(given.error_code), given.producer_id.0), (REFUSED, -1));

    let mut flagged = BatchBuilder::new(Compression::None).producer(7 << 50, 0, 0).transactional();
    flagged.push(1_795_000_000_000, None, Some(b"in a transaction"), &[]).unwrap();
    let at = TopicPartition::new("payments", 0);
    let refused = client.produce(&at, flagged.build().unwrap(), &ProduceOptions::default()).await.unwrap_err();
    assert_eq!(refused.code(), Some(REFUSED), "{refused}");
    assert!(!refused.retry_can_help(), "{refused}");

    // A message that ApiVersions does not offer ends the connection, as at a broker.
    let mut raw = TcpStream::connect(relay.bootstrap()).await.unwrap();
    let mut request = Vec::from(10_i32.to_be_bytes());
    request.extend(ADD_PARTITIONS_TO_TXN.to_be_bytes());
    request.extend([0, 0, 0, 0, 0, 1, 0xff, 0xff]);
    raw.write_all(&request).await.unwrap();
    let read = tokio::time::timeout(PATIENCE, raw.read(&mut [0; 64])).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");

    for side in Side::BOTH {
        assert_eq!(end(&pair.clients[side], &at).await, 0, "{side}");
    }
    assert_eq!(end(&client, &at).await, 0);
}
