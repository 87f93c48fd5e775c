//! One payment all the way, a certificate over it, and rows that go missing behind the pipeline's back.

use std::collections::BTreeSet;

use naru_audit::certificate::{Part, Reader, Reading, Verdict};
use nix::sys::signal::Signal;

use super::sabotage;
use super::world::{World, payments};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_is_queried_and_proved_and_rows_that_vanish_are_named() {
    let mut world = World::start(200).await;
    world.until("select count(*), sum(amount) from pay.payments", "200|25125.00").await;
    world.start_audit().await;
    // Its slot begins behind the copy: what is before it is proved without the source.
    let proved = world.certificate(0, "of everybody", |one| one.verdict == Verdict::Equal).await;

    world.postgres.run("insert into payments values (1001, 'paid', 99.50, '010-1234-5678', 'lunch')").await;
    world
        .postgres
        .run("begin; update payments set status = 'sent' where id <= 20; delete from payments where id = 30; commit")
        .await;
    world.until("select status, amount from pay.payments where id = 1001", "paid|99.50").await;
    world.until("select count(*) from pay.payments where phone like 'h1_%'", "200").await;
    world.until("select count(*) from pay.payments where phone like '010%'", "0").await;
    let position = world.position().await;
    let last = world.certificate(proved.number, "of the payment", |one| one.window.to >= position).await;
    let mut rows = 0;
    for one in world.certificates().iter().filter(|one| (proved.number..=last.number).contains(&one.number)) {
        assert_eq!(one.verdict, Verdict::Equal, "{one:#?}");
        let part = one.parts.iter().find(|part| part.part == Part::Changes && part.topic == "pay.payments").unwrap();
        assert_eq!(part.readings.keys().copied().collect::<Vec<_>>(), Reader::ALL);
        if let Reading::Read { rows: more, .. } = part.readings[&Reader::Source] {
            rows += more;
        }
    }
    assert_eq!(rows, 22, "an insert, 20 updates, a delete");

    // The audit stands still until rows have gone, so that its next window is the first to see them missing.
    let before = world.position().await;
    world.audit.as_ref().unwrap().signal(Signal::SIGSTOP);
    world.postgres.run(&payments(2001, 2100, "new")).await;
    world.until("select count(*) from pay.payments_changes where id between 2001 and 2100", "100").await;
    world.until("select max(rows_in_memory) from naru.freshness", "0").await;
    world.lake.kill();
    let gone = sabotage::remove(&world.warehouse().join("pay/payments_changes"), &[2007, 2013, 2099], before);
    assert_eq!(gone.len(), 3);
    world.lake.restart().await;
    world.capture.is_alive();
    world.relay.is_alive();
    world.audit.as_ref().unwrap().signal(Signal::SIGCONT);
    let told = world.certificate(last.number + 1, "of a difference", |one| one.verdict > Verdict::Incomplete).await;
    let named: BTreeSet<_> = { told.parts.iter() }
        .flat_map(|part| &part.differences)
        .map(|one| {
            assert_eq!((one.reader, one.kind(), one.expected, one.found), (Reader::Lake, "missing", 1, 0));
            (one.position, one.sequence)
        })
        .collect();
    assert_eq!((told.verdict, named), (Verdict::Different, gone), "{told:#?}");
}
