"""A consumer and a producer of kafka-python while the side behind the relay is lost: `takeover.py HOST:PORT TOPIC`.

Says "committed", waits for a line that says that the side is gone, goes on and says "committed again". Any error that
kafka-python does not handle itself ends it.
"""

import sys
import time

from kafka import KafkaConsumer, KafkaProducer
from kafka.errors import RebalanceInProgressError

PATIENCE_SECONDS = 60

bootstrap, topic = sys.argv[1:]
producer = KafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, acks="all", linger_ms=2)
consumer = KafkaConsumer(
    topic,
    bootstrap_servers=bootstrap,
    group_id="python-takeover",
    auto_offset_reset="earliest",
    enable_auto_commit=False,
    heartbeat_interval_ms=300,
    session_timeout_ms=6000,
)
seen = []


def produce(numbers):
    sent = [producer.send(topic, key=b"%d" % (n % 10), value=b"%d" % n) for n in numbers]
    producer.flush(PATIENCE_SECONDS)
    for future in sent:
        future.get(0)


def poll_until(count):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(set(seen)) < count:
        assert time.monotonic() < deadline, f"{len(set(seen))} of {count}"
        for records in consumer.poll(timeout_ms=50).values():
            seen.extend(int(record.value) for record in records)


def commit():
    """As soon as the group does not rebalance: a member that is told so joins again in its next poll."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return consumer.commit()
        except RebalanceInProgressError:
            assert time.monotonic() < deadline, "the rebalance did not end"
            for records in consumer.poll(timeout_ms=50).values():
                seen.extend(int(record.value) for record in records)


produce(range(300))
poll_until(300)
commit()
print("committed", flush=True)
assert sys.stdin.readline() == "killed\n"
# At once: the member knows nothing yet, and the side that is active now does not know the member.
commit()
produce(range(300, 600))
poll_until(600)
commit()
# What was read and not yet committed when the group came together again may be read again, nothing else.
assert set(seen) == set(range(600)), "skipped"
assert all(seen.count(n) == 1 for n in range(300)), "committed, and read again"
print("committed again", flush=True)
consumer.close()
