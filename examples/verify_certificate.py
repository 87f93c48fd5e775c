#!/usr/bin/env python3
"""Verifies a chain of certificates of `naru audit` with nothing of Naru: python3 verify_certificate.py FILE KEY [HEAD]

KEY is the audit's public key, 64 hexadecimal digits; HEAD, if given, the SHA-256 of the last line as it was kept elsewhere.
Needs the package `cryptography`. docs/formats/certificates.md says what is checked.
"""
import hashlib
import json
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

RANK = ["equal", "incomplete", "different", "open"]


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def derived(part):
    read = [one for one in part["readings"].values() if one["state"] == "read"]
    same, whole = all(one == read[0] for one in read), 1 < len(read) == len(part["readings"])
    if part["unnamed"] or same == bool(part["differences"]):
        return "open"
    return "different" if not same else "equal" if whole else "incomplete"


def check(line, number, previous, public, ends):
    one = json.loads(line)
    if canonical(one) != line:
        return "it is not in the canonical form"
    signature, window, parts = one.pop("signature"), one["window"], one["parts"]
    if (one["version"], one["number"], one["previous"]) != (1, number, previous):
        return "it does not follow the line before it"
    if signature["key"] != hashlib.sha256(public).hexdigest()[:16]:
        return "it is signed with another key"
    message = b"naru audit certificate 1\n" + canonical(one)
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(bytes.fromhex(signature["ed25519"]), message)
    except InvalidSignature:
        return "the signature is not one over these bytes"
    verdicts = [derived(part) for part in parts]
    if verdicts != [part["verdict"] for part in parts]:
        return "a verdict is not what its readings come to"
    if one["verdict"] != max(verdicts, key=RANK.index, default="incomplete"):
        return "its verdict is not the worst of its parts"
    end = ends.get(window["source"], window["after"])
    if window["after"] > min(window["to"], end):
        return "its window does not begin where the one before it ended"
    ends[window["source"]] = max(window["to"], end)


def main(path, key, head=None):
    previous, number, ends = "0" * 64, 0, {}
    for line in open(path, "rb"):
        why = check(line[:-1], number, previous, bytes.fromhex(key), ends) if line.endswith(b"\n") else "it was cut"
        if why:
            sys.exit(f"line {number + 1} is refused: {why}")
        previous, number = hashlib.sha256(line[:-1]).hexdigest(), number + 1
    if head not in (None, previous):
        sys.exit("the chain does not end with the head that was given")
    print(f"{number} certificates, head {previous}")


if __name__ == "__main__":
    main(*sys.argv[1:])
