#!/usr/bin/env python3
"""Verifies a chain of certificates of `naru audit` with nothing of Naru: python3 verify_certificate.py FILE KEY [HEAD]

KEY is the audit's public key, 64 hexadecimal digits; HEAD, if it is given, the SHA-256 of the last line as it was kept
elsewhere. Needs the package `cryptography`. docs/formats/certificates.md says what is checked.
"""
import hashlib
import json
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

RANK = ["equal", "incomplete", "different", "open"]


def canonical(value):
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def derived(part):
    read = [one for one in part["readings"].values() if one["state"] == "read"]
    same, whole = all(one == read[0] for one in read), len(read) == len(part["readings"])
    if part["unnamed"] or same == bool(part["differences"]):
        return "open"
    return "different" if not same else "equal" if whole else "incomplete"


def main(path, key, head=None):
    public, previous, number, ends, verdicts = bytes.fromhex(key), "0" * 64, 0, {}, dict.fromkeys(RANK, 0)
    verifier, key_id = Ed25519PublicKey.from_public_bytes(public), hashlib.sha256(public).hexdigest()[:16]
    with open(path, "rb") as file:
        for line in file:
            def refuse(why, at=number + 1):
                sys.exit(f"line {at} is refused: {why}")

            if not line.endswith(b"\n"):
                refuse("it was cut")
            line = line[:-1]
            one = json.loads(line)
            if canonical(one) != line:
                refuse("it is not in the canonical form")
            signature, window = one.pop("signature"), one["window"]
            if one["version"] != 1 or one["number"] != number or one["previous"] != previous:
                refuse("it does not follow the line before it")
            if signature["key"] != key_id:
                refuse("it is signed with another key")
            try:
                verifier.verify(bytes.fromhex(signature["ed25519"]), b"naru audit certificate 1\n" + canonical(one))
            except InvalidSignature:
                refuse("the signature is not one over these bytes")
            parts = [part["verdict"] for part in one["parts"]]
            if parts != [derived(part) for part in one["parts"]]:
                refuse("a verdict is not what its readings come to")
            if one["verdict"] != max(parts, key=RANK.index, default="incomplete"):
                refuse("its verdict is not the worst of its parts")
            if not window["after"] <= min(window["to"], ends.get(window["source"], window["after"])):
                refuse("its window does not begin where the one before it ended")
            ends[window["source"]] = max(window["to"], ends.get(window["source"], 0))
            verdicts[one["verdict"]] += 1
            previous, number = hashlib.sha256(line).hexdigest(), number + 1
    if head not in (None, previous):
        sys.exit("the chain does not end with the head that was given")
    print(number, "certificates,", ", ".join(f"{count} {name}" for name, count in verdicts.items()), "head", previous)


if __name__ == "__main__":
    main(*sys.argv[1:])
