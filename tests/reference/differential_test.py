#!/usr/bin/env python3
"""Both implementations of the key format must agree: on what the other minted, and on thousands of damaged strings."""
import base64
import json
import pathlib
import random
import re
import subprocess
import sys
import tomllib

import key_format

probe = subprocess.Popen([sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="latin-1")


def ask(command):
    probe.stdin.write(command + "\n")
    probe.stdin.flush()
    return probe.stdout.readline().rstrip("\n")


ring = json.loads(ask("ring"))
ktag = next(base64.b64decode(s["secret"]) for s in ring["secrets"] if s["purpose"] == "tag")
rng = random.Random(20240607)
checked = {"tag-ok": 0, "tag-bad": 0, "MALFORMED": 0}
failures = []


def compare(text):
    ours, theirs = ask("check " + text), key_format.check(text, ktag)
    if ours != theirs:
        failures.append((text, ours, theirs))
    checked[theirs.split()[-1]] += 1


minted = [ask("mint" + (" " + label if label else "")) for label in ["", "acme_live", "a", "x" * 15] for _ in range(100)]
minted += [key_format.mint(ktag, "1", label) for label in ["", "acme_live", "0", "_" * 15] for _ in range(100)]
for text in minted:
    compare(text)
if checked["tag-ok"] != len(minted):
    failures.append(("freshly minted strings", str(checked), "all tag-ok"))

# A wrong secret under the right checksum: only the tag can tell.
for _ in range(200):
    compare(key_format.mint(bytes(32), "1"))

alphabet = key_format.DIGITS + "_- .\t/+=\x00\x7f\xe9"
for _ in range(6000):
    text = list(rng.choice(minted))
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        action = rng.randrange(5)
        at = rng.randrange(len(text)) if text else 0
        if action == 0 and text:
            text[at] = rng.choice(alphabet)
        elif action == 1 and text:
            del text[at]
        elif action == 2:
            text.insert(at, rng.choice(alphabet))
        elif action == 3 and text:
            text[at] = text[at].swapcase()
        else:
            text = list(rng.choice(["", " ", "_", "A_", "x" * 16 + "_", "lk1_"])) + text
    compare("".join(text))
for text in ["", "lk1_", "lk1_" + "0" * 78, minted[0] + " ", " " + minted[0], minted[0][:-1], "_" + minted[0]]:
    compare(text)

# The rule for leak scanners finds every key string, alone or in a line, and takes none of its neighbours.
rules = tomllib.loads((pathlib.Path(__file__).parents[2] / "deploy/scanners/gitleaks.toml").read_text())["rules"]
scanner = re.compile(rules[0]["regex"])
for text in minted:
    canonical = text[-82:]
    for line in (text, f'key = "{text}"', f"authorization: Bearer {text}\n"):
        if [m.group(1) for m in scanner.finditer(line)] != [canonical]:
            failures.append((line, "scanner rule", "one hit"))
    if scanner.search(text + "0") or scanner.search(text[:-1]):
        failures.append((text, "scanner rule", "no hit on another length"))

for text, ours, theirs in failures[:5]:
    print(f"disagree on {text!r}: probe says {ours}, reference says {theirs}")
print(f"compared {sum(checked.values())} strings: {checked}")
sys.exit(1 if failures or min(checked.values()) == 0 else 0)
