#!/usr/bin/env python3
"""Independent reference of the key format, for the differential test (run by ctest, label reference).

  key_format.py mint  KTAG_HEX GEN [LABEL]      print a random key string
  key_format.py build KTAG_HEX GEN KID SECRET   print the key string of these parts
  key_format.py check [KTAG_HEX]                read one string a line; print MALFORMED, or WELL_FORMED kid gen tag-ok|tag-bad|tag-unchecked
"""
import hashlib
import hmac
import os
import re
import sys
import zlib

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
FORM = re.compile(r"\A(?:[a-z0-9_]{1,15}_)?(lk1_([0-9A-Za-z]{16})_([0-9A-Za-z]{43})([0-9A-Za-z])([0-9A-Za-z]{11})([0-9A-Za-z]{6}))\Z")


def base62(number, width):
    out = ""
    for _ in range(width):
        number, digit = divmod(number, 62)
        out = DIGITS[digit] + out
    if number:
        raise ValueError("number does not fit")
    return out


def tag(ktag, kid, secret):
    mac = hmac.new(ktag, b"lk1|tag|" + kid.encode() + b"|" + secret.encode(), hashlib.sha256).digest()
    return base62(int.from_bytes(mac[:8], "big"), 11)


def build(ktag, gen, kid, secret, label=""):
    head = f"lk1_{kid}_{secret}{gen}{tag(ktag, kid, secret)}"
    return (label + "_" if label else "") + head + base62(zlib.crc32(head.encode()), 6)


def mint(ktag, gen, label=""):
    kid = base62(int.from_bytes(os.urandom(16), "big") % 62**16, 16)
    secret = base62(int.from_bytes(os.urandom(32), "big"), 43)
    return build(ktag, gen, kid, secret, label)


def check(text, ktag=None):
    match = FORM.match(text)
    if not match:
        return "MALFORMED"
    core, kid, secret, gen, found, crc = match.groups()
    if base62(zlib.crc32(core[:-6].encode()), 6) != crc:
        return "MALFORMED"
    state = "tag-unchecked" if ktag is None else "tag-ok" if hmac.compare_digest(tag(ktag, kid, secret), found) else "tag-bad"
    return f"WELL_FORMED {kid} {gen} {state}"


def main(argv):
    if argv[:1] == ["mint"]:
        print(mint(bytes.fromhex(argv[1]), argv[2], argv[3] if len(argv) > 3 else ""))
    elif argv[:1] == ["build"]:
        print(build(bytes.fromhex(argv[1]), *argv[2:5]))
    elif argv[:1] == ["check"]:
        ktag = bytes.fromhex(argv[1]) if len(argv) > 1 else None
        for line in sys.stdin:
            print(check(line.rstrip("\n"), ktag))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
