"""What kafka-python does with the subject: `kafka_python.py PART HOST:PORT` prints `PART: ok` or fails."""

import faulthandler
import sys
import time

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import RebalanceInProgressError, TopicAlreadyExistsError, UnknownTopicOrPartitionError

PATIENCE_SECONDS = 120


def make_topic(bootstrap, topic, partitions, configs=None):
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    options = {"num_partitions": partitions, "replication_factor": 1, "configs": configs or {}}
    admin.create_topics({topic: options}, wait_for_metadata=True)
    return admin


def produce(bootstrap, topic, numbers, **settings):
    """Sends the numbers, keyed by their last digit, and gives where each stands."""
    producer = KafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, acks="all", linger_ms=5, **settings)
    sent = [
        (n, producer.send(topic, key=b"%d" % (n % 10), value=b"%d:" % n * (1 + n % 50), headers=[("n", b"%d" % n)]))
        for n in numbers
    ]
    producer.flush(PATIENCE_SECONDS)
    places = {n: (future.get(0).partition, future.get(0).offset) for n, future in sent}
    producer.close()
    return places


def codecs(bootstrap):
    for codec in [None, "gzip", "snappy", "lz4", "zstd"]:
        topic = f"python-{codec}"
        make_topic(bootstrap, topic, 2).close()
        places = produce(bootstrap, topic, range(500), compression_type=codec)
        consumer = KafkaConsumer(
            topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=PATIENCE_SECONDS * 1000
        )
        seen = {}
        for record in consumer:
            n = int(record.headers[0][1])
            assert n not in seen, f"{codec}: {n} twice"
            assert record.key == b"%d" % (n % 10) and record.value == b"%d:" % n * (1 + n % 50), f"{codec}: {record}"
            seen[n] = (record.partition, record.offset)
            if len(seen) == len(places):
                break
        assert seen == places, f"{codec}: {len(seen)} of {len(places)}"
        consumer.close()


class Member:
    def __init__(self, bootstrap):
        self.consumer = KafkaConsumer(
            "python-shared",
            bootstrap_servers=bootstrap,
            group_id="python-sharers",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            heartbeat_interval_ms=200,
            session_timeout_ms=6000,
        )
        self.seen = []

    def poll(self):
        for records in self.consumer.poll(timeout_ms=50).values():
            self.seen += [int(record.headers[0][1]) for record in records]

    def partitions(self):
        return {partition.partition for partition in self.consumer.assignment()}


def poll_until(what, members, holds):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        state = [(member.partitions(), len(member.seen)) for member in members]
        assert time.monotonic() < deadline, f"{what} did not come about: {state}"
        for member in members:
            member.poll()


def commit(consumer):
    """Commits; a client that has just seen new partitions wants to join again before."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return consumer.commit()
        except RebalanceInProgressError:
            assert time.monotonic() < deadline, "the rebalance did not end"
            consumer.poll(timeout_ms=1000, max_records=1)


def group(bootstrap):
    make_topic(bootstrap, "python-shared", 4).close()
    first = Member(bootstrap)
    poll_until("first alone", [first], lambda: len(first.partitions()) == 4)
    produce(bootstrap, "python-shared", range(300))
    poll_until("the first 300", [first], lambda: len(first.seen) >= 300)
    commit(first.consumer)

    second = Member(bootstrap)
    shared = lambda: len(first.partitions()) == len(second.partitions()) == 2
    poll_until("two and two", [first, second], lambda: shared() and not first.partitions() & second.partitions())
    produce(bootstrap, "python-shared", range(300, 600))
    poll_until("the next 300", [first, second], lambda: len(first.seen) + len(second.seen) >= 600)
    assert sorted(first.seen + second.seen) == list(range(600))
    commit(first.consumer)
    commit(second.consumer)

    first.consumer.close()
    poll_until("second alone", [second], lambda: len(second.partitions()) == 4)
    second.consumer.close()
    produce(bootstrap, "python-shared", range(600, 700))
    third = Member(bootstrap)
    poll_until("the last 100", [third], lambda: len(third.seen) >= 100)
    assert sorted(third.seen) == list(range(600, 700))
    third.consumer.close()


def admin(bootstrap):
    admin = make_topic(bootstrap, "python-managed", 2, {"retention.ms": "86400000"})
    refused(TopicAlreadyExistsError, lambda: admin.create_topics({"python-managed": {"num_partitions": 1}}))
    assert "python-managed" in admin.list_topics()

    def retention():
        resource = ConfigResource(ConfigResourceType.TOPIC, "python-managed")
        configs = admin.describe_configs([resource], config_filter="all")["topic"]["python-managed"]
        return configs["retention.ms"]["value"]

    assert retention() == "86400000"
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, "python-managed", {"retention.ms": "60000"})])
    assert retention() == "60000"
    admin.create_partitions({"python-managed": 3})
    assert len(admin.describe_topics(["python-managed"])[0]["partitions"]) == 3

    places = produce(bootstrap, "python-managed", range(100))
    first, ends = TopicPartition("python-managed", 0), {}
    for partition, offset in places.values():
        ends[partition] = max(ends.get(partition, 0), offset + 1)
    admin.delete_records({first: 5})
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id="python-managers", auto_offset_reset="earliest")
    assert consumer.beginning_offsets([first]) == {first: 5}
    assert consumer.end_offsets([first]) == {first: ends[0]}
    consumer.subscribe(["python-managed"])
    deadline, seen = time.monotonic() + PATIENCE_SECONDS, 0
    while seen < 95:
        assert time.monotonic() < deadline, f"{seen} of 95"
        seen += sum(map(len, consumer.poll(timeout_ms=100).values()))
    commit(consumer)
    committed = admin.list_group_offsets("python-managers")["python-managers"]
    assert {partition.partition: at.offset for partition, at in committed.items()} == ends
    assert any(group["group_id"] == "python-managers" for group in admin.list_groups())
    assert len(admin.describe_groups(["python-managers"])["python-managers"]["members"]) == 1
    consumer.close()
    admin.delete_groups(["python-managers"])
    assert not any(group["group_id"] == "python-managers" for group in admin.list_groups())
    admin.delete_topics(["python-managed"])
    refused(UnknownTopicOrPartitionError, lambda: admin.delete_topics(["python-managed"]))
    admin.close()


def refused(error, ask):
    try:
        ask()
    except error:
        return
    raise AssertionError(f"not refused with {error.__name__}")


# Before the test gives up: where it hangs.
faulthandler.dump_traceback_later(PATIENCE_SECONDS - 10, exit=True)
part, bootstrap = sys.argv[1:]
{"codecs": codecs, "group": group, "admin": admin}[part](bootstrap)
print(f"{part}: ok")
