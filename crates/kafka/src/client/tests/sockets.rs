//! What ends a connection, and what its requests are told.

use std::{sync::Arc, time::Duration};

use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, DescribeClusterRequest, DescribeClusterResponse, ListGroupsRequest,
    ListGroupsResponse, MetadataRequest, api_versions_response::ApiVersion,
};

use crate::{
    client::{
        CallOptions, ClientError, CloseCause, Connection, ConnectionConfig, Fault, Lifetime, Outcome, Reply,
        peer::{Dialogue, Peer, every_api, quick},
    },
    wire::{ApiKey, ErrorCode, OutFrame, WireError, cold},
};

/// A connection and the broker's end of it.
async fn connected(config: ConnectionConfig) -> (Connection, Dialogue) {
    let peer = Peer::listen().await;
    let (address, lifetime) = (peer.address(), Lifetime::default());
    let (connection, dialogue) = tokio::join!(Connection::open(&config, &address, Some(7), &lifetime), peer.ready());
    (connection.unwrap(), dialogue)
}

/// Hands over a ListGroups request.
async fn begin(connection: &Connection) -> Result<Reply, ClientError> {
    let encode = |frame: &mut OutFrame| cold::encode_request(0, &ListGroupsRequest::default(), frame);
    connection.begin(ApiKey::ListGroups, 0, true, encode, &CallOptions::about("all")).await
}

/// One request, pending while the broker does `act`; what the request is told.
async fn told(config: ConnectionConfig, act: impl AsyncFnOnce(Dialogue)) -> ClientError {
    let (connection, mut dialogue) = connected(config).await;
    let reply = begin(&connection).await.unwrap();
    assert!(dialogue.request().await.is_some());
    let (answer, ()) = tokio::join!(reply.body(), act(dialogue));
    assert!(connection.is_closed());
    answer.unwrap_err()
}

fn cause(error: &ClientError) -> Arc<CloseCause> {
    match error {
        ClientError::Closed { source, .. } => Arc::clone(source),
        other => panic!("not closed: {other:?}"),
    }
}

#[tokio::test]
async fn requests_are_pipelined_and_answered_in_order() {
    let (connection, mut dialogue) = connected(quick()).await;
    let mut replies = Vec::new();
    for _ in 0..10 {
        replies.push(begin(&connection).await.unwrap());
    }
    let mut headers = Vec::new();
    for _ in 0..10 {
        headers.push(dialogue.request().await.unwrap().0);
    }
    for (number, header) in headers.iter().enumerate() {
        dialogue.answer_body(header, &[number as u8]).await;
    }
    for (number, reply) in replies.into_iter().enumerate() {
        assert_eq!(reply.body().await.unwrap(), [number as u8].as_slice());
    }
}

#[tokio::test]
async fn a_call_speaks_the_highest_common_version_and_says_who_it_is() {
    let (connection, mut dialogue) = connected(quick()).await;
    let request = DescribeClusterRequest::default();
    let (answer, ()) = tokio::join!(connection.call(&request), async {
        let (header, _) = dialogue.expect::<DescribeClusterRequest>().await;
        assert_eq!(header.client_id.as_deref(), Some("naru"));
        assert_eq!(header.api_version, 2);
        let response = DescribeClusterResponse::default().with_error_code(ErrorCode::CLUSTER_AUTHORIZATION_FAILED.0);
        dialogue.answer::<DescribeClusterRequest>(&header, &response).await;
    });
    assert_eq!(answer.unwrap().error_code, 31);
}

#[tokio::test]
async fn a_closed_connection_fails_what_was_sent_as_unknown() {
    let error = told(quick(), async |dialogue| drop(dialogue)).await;
    assert!(matches!(*cause(&error), CloseCause::Remote | CloseCause::Io(_)), "{error:?}");
    assert_eq!((error.outcome(), error.fault(), error.retry_can_help()), (Outcome::Unknown, Fault::Network, true));
    let text = error.to_string();
    assert!(text.starts_with("ListGroups for all at broker 7 (127.0.0.1:"), "{text}");
    assert!(text.ends_with("connection ended, outcome unknown"), "{text}");
}

#[tokio::test]
async fn a_request_that_waits_for_room_is_not_done_when_the_connection_ends() {
    let (connection, mut dialogue) = connected(ConnectionConfig { in_flight_max: 1, ..quick() }).await;
    let first = begin(&connection).await.unwrap();
    assert!(dialogue.request().await.is_some());
    let (second, first, ()) = tokio::join!(begin(&connection), first.body(), async { drop(dialogue) });
    assert_eq!(first.unwrap_err().outcome(), Outcome::Unknown);
    assert_eq!(second.err().unwrap().outcome(), Outcome::NotDone);
    assert_eq!(begin(&connection).await.err().unwrap().outcome(), Outcome::NotDone, "after the end");
}

#[tokio::test]
async fn an_answer_cut_short_is_told_apart_from_none() {
    let error = told(quick(), async |mut dialogue| dialogue.write(&[0, 0, 0, 100, 1, 2]).await).await;
    assert!(matches!(*cause(&error), CloseCause::CutInFrame { bytes_read: 6 }), "{error:?}");
}

#[tokio::test]
async fn a_wrong_correlation_id_ends_the_connection() {
    let error = told(quick(), async |mut dialogue| dialogue.write(&[0, 0, 0, 4, 0, 0, 0, 99]).await).await;
    assert!(matches!(*cause(&error), CloseCause::Correlation { expected: Some(1), found: 99 }), "{error:?}");
}

#[tokio::test]
async fn an_answer_to_nobody_ends_the_connection() {
    let (connection, mut dialogue) = connected(quick()).await;
    dialogue.write(&[0, 0, 0, 4, 0, 0, 0, 1]).await;
    assert!(dialogue.request().await.is_none(), "the client hangs up");
    assert!(connection.is_closed());
}

#[tokio::test]
async fn an_oversize_answer_is_refused_by_its_length() {
    let config = ConnectionConfig { response_bytes_max: 1_000, ..quick() };
    let error = told(config, async |mut dialogue| {
        dialogue.write(&1_001_i32.to_be_bytes()).await;
        assert!(dialogue.request().await.is_none(), "the client hangs up");
    })
    .await;
    let cause = cause(&error);
    assert!(matches!(*cause, CloseCause::Frame(WireError::TooLarge { size: 1_001, max: 1_000, .. })), "{cause:?}");
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_is_the_brokers_fault() {
    let (connection, mut dialogue) = connected(quick()).await;
    let request = ListGroupsRequest::default();
    let (answer, ()) = tokio::join!(connection.call(&request), async {
        let (header, _) = dialogue.request().await.unwrap();
        // A million groups in no bytes.
        dialogue.answer_body(&header, &[0, 0, 0, 0, 0, 0, 0xff, 0xff, 0x3d]).await;
    });
    let error = answer.unwrap_err();
    assert!(matches!(error, ClientError::Decode { .. }), "{error:?}");
    assert_eq!((error.fault(), error.retry_can_help()), (Fault::Broker, false));
}

#[tokio::test]
async fn no_answer_in_time_ends_the_connection_and_names_the_late_one() {
    let config = ConnectionConfig { request_timeout: Duration::from_millis(50), ..quick() };
    let (connection, mut dialogue) = connected(config).await;
    let late = begin(&connection).await.unwrap();
    let patient = CallOptions::default().broker_wait(Duration::from_secs(60));
    let encode = |frame: &mut OutFrame| cold::encode_request(0, &ListGroupsRequest::default(), frame);
    let behind = connection.begin(ApiKey::ListGroups, 0, true, encode, &patient).await.unwrap();
    let (late, behind, ()) =
        tokio::join!(late.body(), behind.body(), async { while dialogue.request().await.is_some() {} });
    let late = late.unwrap_err();
    assert!(matches!(late, ClientError::TimedOut { outcome: Outcome::Unknown, .. }), "{late:?}");
    let behind = behind.unwrap_err();
    assert!(matches!(*cause(&behind), CloseCause::TimedOut { waited_ms: 50 }), "{behind:?}");
}

#[tokio::test]
async fn answers_that_keep_coming_keep_the_connection() {
    let config = ConnectionConfig { request_timeout: Duration::from_secs(1), ..quick() };
    let (connection, mut dialogue) = connected(config).await;
    for _ in 0..3 {
        let request = ListGroupsRequest::default();
        let (answer, ()) = tokio::join!(connection.call(&request), async {
            let (header, _) = dialogue.expect::<ListGroupsRequest>().await;
            // Three of these waits are longer than the limit of one request.
            tokio::time::sleep(Duration::from_millis(400)).await;
            dialogue.answer::<ListGroupsRequest>(&header, &ListGroupsResponse::default()).await;
        });
        answer.unwrap();
    }
}

#[tokio::test]
async fn the_last_handle_closes_the_connection() {
    let (connection, mut dialogue) = connected(quick()).await;
    let clone = connection.clone();
    drop(connection);
    assert!(!clone.is_closed());
    drop(clone);
    assert!(dialogue.request().await.is_none());
}

#[tokio::test]
async fn a_silent_broker_is_given_up() {
    let peer = Peer::listen().await;
    let config = ConnectionConfig { connect_timeout: Duration::from_millis(50), ..quick() };
    let error = Connection::open(&config, &peer.address(), None, &Lifetime::default()).await.unwrap_err();
    assert!(matches!(error, ClientError::Connect { .. }), "{error:?}");
    assert!(error.retry_can_help());
}

#[tokio::test]
async fn apis_without_a_common_version_are_named_with_both_ranges() {
    let check = async |offered: &[(i16, i16, i16)], expect: &str| {
        let peer = Peer::listen().await;
        let (address, config, lifetime) = (peer.address(), quick(), Lifetime::default());
        let (connection, ()) = tokio::join!(Connection::open(&config, &address, None, &lifetime), async {
            peer.accept().await.unwrap().negotiate(offered).await;
        });
        let error = connection.unwrap().call(&MetadataRequest::default()).await.unwrap_err();
        assert!(error.to_string().ends_with(expect), "{error}");
        assert_eq!((error.outcome(), error.retry_can_help()), (Outcome::NotDone, false));
    };
    check(&[(3, 90, 99)], "this client speaks versions 0 to 13, the broker offers 90 to 99").await;
    check(&[(18, 0, 3)], "this client speaks versions 0 to 13, the broker offers none").await;
}

#[tokio::test]
async fn a_broker_that_does_not_know_the_newest_api_versions_is_asked_in_its_oldest() {
    let peer = Peer::listen().await;
    let (address, config, lifetime) = (peer.address(), quick(), Lifetime::default());
    let (connection, ()) = tokio::join!(Connection::open(&config, &address, None, &lifetime), async {
        let mut dialogue = peer.accept().await.unwrap();
        let (header, _) = dialogue.expect::<ApiVersionsRequest>().await;
        assert_eq!(header.api_version, 3);
        let mut body = OutFrame::new();
        let listed = ApiVersion::default().with_api_key(18).with_max_version(2);
        let refusal = ApiVersionsResponse::default()
            .with_error_code(ErrorCode::UNSUPPORTED_VERSION.0)
            .with_api_keys(vec![listed]);
        cold::encode_response::<ApiVersionsRequest>(0, &refusal, &mut body).unwrap();
        dialogue.answer_body(&header, &body.to_bytes()).await;
        dialogue.negotiate(&every_api()).await;
    });
    assert_eq!(connection.unwrap().offered().offered(18), Some((0, 4)));
}
