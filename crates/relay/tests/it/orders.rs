//! What the relay orders of a side: sent over its lane or beside it, and carried out by a broker.

use naru_kafka::wire::{Batch, ErrorCode};
use naru_relay::Side;
use naru_relay::sequence::{Event, OrderId, Outgoing, ReadFailed, WriteRefused};

use crate::broker::{Appended, content};
use crate::network::{Ask, Outstanding, Request};
use crate::world::{Due, World, refused};

impl World {
    pub fn write(&mut self, partition: usize, order: OrderId, side: Side, outgoing: &Outgoing) {
        let now = self.now;
        let batch = whole(outgoing);
        assert_eq!(batch.header(), &outgoing.header, "header and data of a write differ");
        naru_model::invariant!(
            RELAY_7,
            // What was there before the relay came stays what it is.
            batch.header().has_producer() || self.oracle.was_there(partition, content(&batch)),
            "partition {partition}: a batch without producer is written to {side}"
        );
        let Some(relay) = &mut self.relay else { return };
        self.oracle.leased(now, relay.lease_until, "written");
        let start = relay.start;
        let lane = &mut relay.lanes[side];
        let Some(number) = lane.connection else {
            let event = Event::Written { order, side, outcome: Err(WriteRefused::NotSent) };
            return self.after(0, 5, Due::Hear { start, partition, lane: None, event });
        };
        let stamped = self.durable.stamps[partition].contains(&batch.header().producer_id);
        let in_flight = lane.outstanding.iter().filter(|o| o.partition == partition && o.stamped).count();
        naru_model::invariant!(
            RELAY_7,
            !stamped || in_flight < 5,
            "partition {partition}: {in_flight} stamped in flight to {side}"
        );
        let place = lane.sent;
        lane.sent += 1;
        lane.outstanding.push_back(Outstanding { partition, order, place, sent_at: now, arrived: false, stamped });
        let delay = self.delay_of(side);
        let Some(relay) = &mut self.relay else { return };
        let lane = &mut relay.lanes[side];
        lane.last_arrival = lane.last_arrival.max(now + delay);
        let (at, connection) = (lane.last_arrival, Some((number, place)));
        self.at(at, Due::Arrive(Request { side, start, connection, partition, order, ask: Ask::Write(batch) }));
    }

    pub fn ask(&mut self, partition: usize, order: OrderId, side: Side, ask: Ask) {
        let Some(relay) = &self.relay else { return };
        let start = relay.start;
        let delay = self.delay_of(side);
        let request = Request { side, start, connection: None, partition, order, ask };
        if self.is_reachable(side) {
            self.at(self.now + delay, Due::Arrive(request));
        } else {
            let delay = self.latency();
            self.unreachable(&request, true, delay);
        }
    }

    /// What a broker answers; None if it answers nothing.
    pub fn serve(&mut self, request: &Request) -> Option<Event> {
        let Request { side, partition, order, .. } = *request;
        let recorded = self.durable.topic_ids[side][self.durable.topics[partition]];
        let now = self.now;
        let broker = &mut self.brokers[side];
        let (refuses_until, code) = broker.refuses;
        // What it is to this partition: what is sent to an active side that refuses for good is refused for good.
        let active = match &self.relay {
            Some(relay) => relay.actors[partition].machine.config().1.active,
            None => self.durable.coordinator.standing().active,
        };
        let rejects = broker.rejects_until > now && active != side;
        let log = &mut broker.logs[partition];
        // Batches that were on their way when the topic was made again are nobody's fault.
        let opened_after = request.connection.is_some_and(|(number, _)| number > self.network.connections_at[side]);
        let other = (log.topic_id != recorded).then_some(ReadFailed::OtherTopic(log.topic_id));
        Some(match &request.ask {
            Ask::Write(batch) => {
                naru_model::invariant!(
                    RELAY_12,
                    other.is_none() || !opened_after,
                    "partition {partition}: written to another topic on {side}"
                );
                let refuses = refuses_until > now;
                let appends = !refuses || matches!(refused(code), WriteRefused::Unknown);
                let outcome = match appends {
                    _ if rejects => Err(ErrorCode::INVALID_TIMESTAMP),
                    true => log.append(batch),
                    false => Err(code),
                };
                self.trace.note(now, || format!("{side}/{partition} appends {order:?}: {outcome:?}"));
                // A broker that knows a stamp writes nothing: under it must be what stands there.
                if let Ok(Appended::Duplicate(offset)) = outcome
                    && self.durable.stamps[partition].contains(&batch.header().producer_id)
                    && let Some(stored) = log.at(offset)
                {
                    naru_model::invariant!(
                        RELAY_7,
                        stored.content == content(batch),
                        "partition {partition} offset {offset}: a stamp was given to two batches on {side}"
                    );
                }
                let outcome = match outcome {
                    Ok(_) if refuses => Err(WriteRefused::Unknown),
                    Ok(appended) => Ok(appended.offset()),
                    Err(code) => Err(refused(code)),
                };
                Event::Written { order, side, outcome }
            }
            Ask::ReadEnd { epoch } => {
                self.oracle.told(partition, side, now);
                let located = naru_relay::sequence::Located {
                    log_start: log.log_start,
                    log_end: log.end,
                    leader_epoch: log.leader_epoch,
                    epoch_end: log.epoch_end(*epoch),
                };
                Event::EndRead { order, side, outcome: other.map_or(Ok(located), Err) }
            }
            Ask::Read { from, before, bytes_max } => {
                let read = log.read(*from, *before, *bytes_max).map_err(ReadFailed::Refused);
                Event::BatchesRead { order, side, outcome: other.map_or(read, Err) }
            }
            Ask::DeleteRecords { before } => {
                let deleted = match other {
                    None => log.delete_before(*before).map_err(ReadFailed::Refused),
                    Some(other) => Err(other),
                };
                Event::RecordsDeleted { order, side, outcome: deleted }
            }
        })
    }
}

/// A batch as it goes over a wire.
pub fn whole(outgoing: &Outgoing) -> Batch {
    Batch::split_first(&mut outgoing.data.to_bytes()).expect("a whole batch")
}
