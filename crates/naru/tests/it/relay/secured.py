"""What kafka-python does through a secured relay: `secured.py HOST:PORT AUTHORITY MECHANISM USER PASSWORD` prints `ok`."""

import sys

from kafka import KafkaConsumer, KafkaProducer
from kafka.errors import TopicAuthorizationFailedError

PATIENCE_SECONDS = 120
bootstrap, authority, mechanism, user, password = sys.argv[1:]
settings = {
    "bootstrap_servers": bootstrap,
    "security_protocol": "SASL_SSL",
    "ssl_cafile": authority,
    "sasl_mechanism": mechanism,
    "sasl_plain_username": user,
    "sasl_plain_password": password,
}

producer = KafkaProducer(enable_idempotence=True, acks="all", **settings)
sent = [producer.send("pay", value=f"{mechanism} {n}".encode()) for n in range(100)]
producer.flush(PATIENCE_SECONDS)
assert [future.get(0).partition for future in sent] == [0] * 100
try:
    producer.send("secret", value=b"x").get(PATIENCE_SECONDS)
    raise AssertionError("the record was taken")
except TopicAuthorizationFailedError:
    pass
producer.close(0)

consumer = KafkaConsumer(
    "pay", group_id=f"ledger-{mechanism}", auto_offset_reset="earliest",
    consumer_timeout_ms=PATIENCE_SECONDS * 1000, **settings,
)
expected = {f"{mechanism} {n}".encode() for n in range(100)}
for record in consumer:
    expected.discard(record.value)
    if not expected:
        break
assert not expected, f"{len(expected)} records are missing"
consumer.commit()
consumer.close()
print("ok")
