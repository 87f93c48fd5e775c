"""A consumer and a producer of kafka-python while the side behind the relay is lost: `takeover.py HOST:PORT TOPIC`.

Says "committed", waits for a line that says that the side is gone, goes on and says "committed again". Any error that
kafka-python does not handle itself ends it.
"""

import sys
import time

from kafka import KafkaConsumer, KafkaProducer

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
    while len(seen) < count:
        assert time.monotonic() < deadline, f"{len(seen)} of {count}"
        for records in consumer.poll(timeout_ms=50).values():
            seen.extend(int(record.value) for record in records)


produce(range(300))
poll_until(300)
consumer.commit()
print("committed", flush=True)
assert sys.stdin.readline() == "killed\n"
# At once: the member knows nothing yet, and the side that is active now does not know the member.
consumer.commit()
produce(range(300, 600))
poll_until(600)
consumer.commit()
assert sorted(seen) == list(range(600)), "read again, or skipped"
print("committed again", flush=True)
consumer.close()
