//! From a record to an answer.

use super::process::{PATIENCE, PAYMENTS, World, payment};

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_made_a_moment_ago_is_seen_by_psql_and_after_the_commit_too() {
    let world = World::start("", PAYMENTS).await;
    world.topic("payments", 3).await;
    world.write("payments", 0, &[payment(1, "shop-1", 100), payment(2, "shop-2", 250)]).await;
    world.write("payments", 2, &[payment(3, "shop-1", 50)]).await;
    let sql =
        "select status, count(*), sum(amount) from pay.payments where at > now() - interval '10 minutes' group by 1";
    world.until(sql, "done|3|400").await;
    world.until("select rows_in_memory from naru.freshness", "0").await;
    assert_eq!(world.ask(sql).await, "done|3|400");
    world.write("payments", 1, &[payment(4, "shop-3", 1)]).await;
    world.until("select id, amount from pay.payments where merchant = 'shop-3'", "p4|1").await;
    assert_eq!(world.ask("select table_name, records_behind from naru.freshness").await, "pay.payments|0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_event_goes_to_the_dead_letters_with_its_reason_and_others_go_on() {
    let world = World::start("", PAYMENTS).await;
    world.topic("payments", 1).await;
    let bad = r#"{"id":"x","user":"u","merchant":"m","amount":{"minor":"much"}}"#.to_owned();
    world.write("payments", 0, &[payment(1, "a", 1), bad, "{".to_owned(), payment(2, "a", 2)]).await;
    world.until("select count(*), sum(amount) from pay.payments", "2|3").await;
    world.until("select dead_letters from naru.freshness", "2").await;
    let at = naru_kafka::client::TopicPartition::new("payments.dead", 0);
    world.client.await_topic("payments.dead", 1, PATIENCE).await.unwrap();
    let (mut letters, options) = (Vec::new(), naru_kafka::client::reader::ReadOptions::default());
    let read = |record: naru_kafka::wire::Record| {
        letters.push(String::from_utf8(record.headers[0].1.clone().unwrap().to_vec()).unwrap());
        Ok(())
    };
    world.client.read_records(&at, 0, 2, &options, read).await.unwrap();
    assert!(letters[0].contains("payments/0@1") && letters[0].contains("amount is no whole number"), "{letters:?}");
    assert!(letters[1].contains("payments/0@2") && letters[1].contains("no JSON"), "{letters:?}");
    assert!(letters[0].contains("naru lake replay"), "{letters:?}");
}
