#!/usr/bin/env python3
"""The layering and hygiene rules of ARCHITECTURE.md, enforced by reading the sources.

Usage: layers.py ROOT          prints every violation as FILE:LINE: RULE and exits with 1 if there is one
       layers.py --self-test   seeds one violation of every rule in a temporary tree and checks that it is found

All system headers sit in one include path and all of ours under one root, so the compiler cannot say who may use what.
"""

import pathlib
import re
import sys
import tempfile

# A room (a folder of ours, or one file) → the rooms it may include, beside itself. A room is its own folder alone: what
# lies below is a room of its own, and the longest entry that a path begins with decides.
_BASE = ["server/base", "client/core"]
_MODEL = ["server/model", *_BASE]
_CRYPTO = ["server/keys/crypto", *_MODEL]
_REPLICATION = ["server/keys/replication", *_MODEL]
_VERIFY = ["server/keys/verify", "server/keys/replication", *_CRYPTO]
_ADMIN = ["server/keys/admin", "server/keys/replication", *_CRYPTO]
_CALL = ["server/rpc/call", "server/rpc/transport", "latchkey/v1"]
MAY_INCLUDE = {
    "client/core": [],
    "client/include": ["latchkey"],
    "client/cli": ["client/src", "client/core", "latchkey"],
    "client/src": ["client/src/cache", "client/src/identity", "client/core", "latchkey"],
    "client/src/cache": ["client/src/identity", "client/core", "latchkey"],
    "client/src/identity": ["client/core", "latchkey"],
    "client/src/testing": ["client/src", "client/core", "latchkey"],
    "client": ["latchkey"],
    "server/base": ["client/core"],
    "server/model": _BASE,
    "server/keys/crypto": _MODEL,
    "server/keys/replication": _MODEL,
    "server/keys/verify": _VERIFY,
    "server/keys/admin": _ADMIN,
    "server/storage/postgres": _MODEL,
    "server/doorbell": _CRYPTO,
    "server/rpc/transport": _BASE,
    "server/rpc/transport/grpc": ["server/rpc/transport", *_BASE],
    "server/rpc/call": ["server/rpc/transport", *_VERIFY, "latchkey/v1"],
    "server/rpc/admin": [*_CALL, *_ADMIN],
    "server/rpc/verify": [*_CALL, *_VERIFY],
    "server/rpc": ["server/rpc/admin", "server/rpc/verify", "server/rpc/transport/grpc", *_CALL, *_ADMIN, *_VERIFY],
    "server/app/dev": _BASE,
    "server/app": ["server/app/dev", "server/rpc", "server/doorbell", "server/storage/postgres", *_ADMIN, *_VERIFY,
                   "latchkey/v1"],
    "server/main.cc": ["server/app"],
}

TESTS = "tests/"
# Rule → (pattern on code without comments, prefixes of the files that may).
ONLY_IN = {
    "only storage/postgres includes pqxx": (
        r'#include [<"]pqxx', ["server/storage/postgres/"]),
    "only storage/postgres and app include libpq": (
        r'#include [<"](libpq|postgresql)', ["server/storage/postgres/", "server/app/", TESTS]),
    "only the transport, the server around it and the client name gRPC": (
        r'#include [<"](grpc|grpcpp)/|#include [<"][\w/]+\.grpc\.pb\.h|\bgrpc::',
        ["server/rpc/transport/grpc/", "server/rpc/rpc_server.", "server/rpc/health_service.",
         "server/rpc/reflection_service.", "client/src/", "client/cli/", TESTS]),
    "protobuf stays out of the domain and the public header": (
        r'#include [<"](google/protobuf|[\w/]+\.pb\.h)',
        ["server/rpc/", "server/app/", "client/src/", "client/cli/", "server/base/log", TESTS]),
    "only the hash pool includes Argon2": (
        r'#include [<"]argon2', ["server/keys/crypto/hash_pool.cc", TESTS]),
    "only app, client and tests read the clock, the time or the environment": (
        r"absl::Now\s*\(|\bgettimeofday\s*\(|(?<![\w.:>])(?:std::|::)?time\s*\(\s*(?:NULL|nullptr|0|&)"
        r"|\bgetenv\s*\(|CLOCK_REALTIME",
        ["server/app/", "client/", TESTS]),
    "only app, client and tests read the system clock; what compares with gRPC's deadlines may": (
        r"system_clock::now",
        ["server/app/", "client/", TESTS, "server/rpc/transport/grpc/", "server/rpc/rpc_server.cc"]),
    "messages are printed only by the redacting logger and the command line's output": (
        r"DebugString\s*\(|TextFormat|MessageToJsonString|MessageToJson\b",
        ["server/base/log", "server/rpc/redact", "client/cli/output.cc", TESTS]),
    "the secret's bytes are not streamed": (
        r"<<\s*[\w.>-]*(?:secret|pepper|key_string)\s*(?:\(\s*\))?\s*[;<]", [TESTS]),
    "no names without a meaning": (
        r"\b(?:class|struct)\s+\w*(?:Manager|Helper|Util|Utils|Impl|Base)\b(?!\s*;)", []),
    # Those with a real database may poll for a state that it reaches by itself.
    "unit tests do not sleep": (
        r"sleep_for|sleep_until|SleepFor|\busleep\s*\(|(?<![\w.])sleep\s*\(\s*\d",
        ["client/", "server/", "tests/support/", "tests/storage/", "tests/integration/", "tests/faults/",
         "tests/hostile/", "tests/bench/", "tests/release_0/"]),
}

# In every text file of ours: names of hosts that would tie a build to one mirror, and conflict marks.
FORBIDDEN_TEXT = {
    "no registry's or mirror's host": (
        r"registry\.(?:npmjs|yarnpkg)\.|npmmirror|pypi\.org|files\.pythonhosted|proxy\.golang\.org|index\.crates"
        r"|deb\.debian\.org|artifactory"),
    "no conflict mark": r"^(?:<<<<<<< |>>>>>>> )",
}
TEXT_SUFFIXES = {".cc", ".h", ".proto", ".py", ".sh", ".txt", ".md", ".json", ".yaml", ".yml", ".cmake", ".in", ""}
SKIPPED = {".git", "node_modules", "var", "__pycache__"}


def strip_comments(text):
    """Comments and the insides of string literals become blanks, except on #include lines; lines keep their numbers."""

    def blank(match):
        token = match.group(0)
        if token.startswith("//") or token.startswith("/*"):
            return re.sub(r"[^\n]", " ", token)
        return token[0] + re.sub(r"[^\n]", " ", token[1:-1]) + token[-1]

    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])\'', re.S)
    lines = text.split("\n")
    stripped = pattern.sub(blank, text).split("\n")
    return [raw if raw.startswith("#include") else clean for raw, clean in zip(lines, stripped)]


def room_of(path):
    matching = [room for room in MAY_INCLUDE if path == room or path.startswith(room + "/")]
    return max(matching, key=len, default=None)


def is_in(target, room):
    """Whether an included file is one of that room: of "latchkey" and "latchkey/v1" what lies below, too."""
    return room_of(target) == room if room in MAY_INCLUDE else target == room or target.startswith(room + "/")


def check_includes(path, lines):
    room = room_of(path)
    if room is None:
        return
    for number, line in enumerate(lines, 1):
        match = re.match(r'#include "([^"]+)"', line)
        if not match:
            continue
        target = match.group(1)
        if not re.match(r"(client|server|tests|latchkey)/", target):
            continue
        if target.startswith("latchkey/") and not target.startswith("latchkey/v1/"):
            allowed = room.startswith("client") and room != "client/core"
        elif target.startswith("latchkey/v1/"):
            allowed = True  # "protobuf stays out of ..." decides.
        else:
            allowed = any(is_in(target, other) for other in [room, *MAY_INCLUDE[room]])
        if not allowed:
            yield number, f"{room} must not include {target}"


def check_source(path, text):
    lines = strip_comments(text)
    yield from check_includes(path, lines)
    for rule, (pattern, allowed) in ONLY_IN.items():
        if any(path.startswith(prefix) for prefix in allowed):
            continue
        for number, line in enumerate(lines, 1):
            if re.search(pattern, line):
                yield number, rule
    if path.endswith(".h") and "#pragma once" not in text:
        yield 1, "headers start with #pragma once"
    if path.endswith(".cc") and len(lines) > 601:
        yield 601, "no .cc is longer than 600 lines"


def check_text(text):
    for rule, pattern in FORBIDDEN_TEXT.items():
        for number, line in enumerate(text.split("\n"), 1):
            if re.search(pattern, line):
                yield number, rule


def check_tree(root):
    for file in sorted(root.rglob("*")):
        path = file.relative_to(root).as_posix()
        first = path.split("/")[0]
        if first in SKIPPED or first.startswith("build") or "__pycache__" in path or not file.is_file():
            continue
        if file.suffix not in TEXT_SUFFIXES or path == "tests/style/layers.py":
            continue
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            if file.suffix:
                yield f"{path}:1: is not UTF-8"
            continue
        found = list(check_text(text))
        if file.suffix in {".cc", ".h"} and re.match(r"(client|server|tests)/", path):
            found += check_source(path, text)
        for number, rule in sorted(found):
            yield f"{path}:{number}: {rule}"
    yield from check_tests(root)


TESTED_ELSEWHERE = "tests/style/tested_elsewhere.txt"


def test_of(path):
    """Where the test of a product file belongs: tests mirror the code."""
    return "tests/" + path.removeprefix("server/").removesuffix(".cc") + "_test.cc"


def check_tests(root):
    """Each product file has a test of its name, or a line in the list that says which test has it, and why."""
    listed = {}
    file = root / TESTED_ELSEWHERE
    for number, line in enumerate(file.read_text(encoding="utf-8").split("\n") if file.exists() else [], 1):
        if not line or line.startswith("#"):
            continue
        path, test, why = (line.split(" | ") + ["", ""])[:3]
        listed[path] = number
        if not why or not (root / path).is_file() or not (root / test).is_file():
            yield f"{TESTED_ELSEWHERE}:{number}: wanted FILE | TEST | WHY, of files that exist"
        elif (root / test_of(path)).is_file():
            yield f"{TESTED_ELSEWHERE}:{number}: {path} has a test of its name"
    for product in sorted([*root.glob("server/**/*.cc"), *root.glob("client/**/*.cc")]):
        path = product.relative_to(root).as_posix()
        if path not in listed and not (root / test_of(path)).is_file():
            yield f"{path}:1: no {test_of(path)}, and no line in {TESTED_ELSEWHERE}"


SEEDS = [
    ("server/keys/admin/untested.cc", "int x;\n", "no tests/keys/admin/untested_test.cc"),
    ("client/src/untested.cc", "int x;\n", "no tests/client/src/untested_test.cc"),
    (TESTED_ELSEWHERE, "server/gone.cc | tests/gone_test.cc | it is gone\n", "of files that exist"),
    ("server/keys/admin/a.cc", "#include <pqxx/pqxx>\n", "only storage/postgres includes pqxx"),
    ("server/rpc/a.cc", "#include <libpq-fe.h>\n", "libpq"),
    ("server/keys/admin/a.cc", "#include <grpcpp/grpcpp.h>\n", "gRPC"),
    ("server/keys/admin/a.cc", '#include "latchkey/v1/key_verify.grpc.pb.h"\n', "gRPC"),
    ("server/rpc/call/a.cc", "#include <grpcpp/support/status.h>\n", "gRPC"),
    ("server/rpc/verify/a.h", "#pragma once\nvoid f(grpc::CallbackServerContext& context);\n", "gRPC"),
    ("server/rpc/transport/a.cc", "#include <grpcpp/support/status.h>\n", "gRPC"),
    ("server/rpc/serving_state.cc", "#include <grpcpp/support/status.h>\n", "gRPC"),
    ("server/keys/admin/a.cc", '#include "latchkey/v1/resources.pb.h"\n', "protobuf stays out"),
    ("client/include/latchkey/a.h", '#pragma once\n#include "latchkey/v1/resources.pb.h"\n', "protobuf stays out"),
    ("server/keys/admin/a.cc", "#include <argon2.h>\n", "Argon2"),
    ("server/keys/admin/a.cc", "void f() { auto now = absl::Now(); }\n", "clock"),
    ("server/rpc/a.cc", "auto t = std::chrono::system_clock::now();\n", "clock"),
    ("server/base/a.cc", "auto t = time(nullptr);\n", "clock"),
    ("server/keys/admin/a.cc", 'auto e = getenv("X");\n', "clock"),
    ("server/rpc/a.cc", "log(request.ShortDebugString());\n", "redacting"),
    ("server/rpc/a.cc", "google::protobuf::TextFormat::Printer p;\n", "redacting"),
    ("client/cli/a.cc", "MessageToJsonString(m, &s);\n", "redacting"),
    ("server/rpc/a.cc", "out << request.secret();\n", "streamed"),
    ("server/keys/admin/a.cc", "class KeyManager {};\n", "without a meaning"),
    ("tests/keys/a.cc", "std::this_thread::sleep_for(x);\n", "sleep"),
    ("server/app/a.cc", '#include "tests/support/b.h"\n', "must not include"),
    ("server/keys/admin/a.h", "int x;\n", "#pragma once"),
    ("server/keys/admin/a.cc", "\n" * 700, "600 lines"),
    ("package-lock.json", '{"resolved": "https://registry.npmjs.org/x"}\n', "host"),
    ("README.md", "<<<<<<< HEAD\n", "conflict"),
]
# Every arrow that is not in the table, between any two rooms.
SEEDS += [
    (f"{room}/a.cc", f'#include "{other}/b.h"\n', f"{room} must not include {other}/b.h")
    for room in MAY_INCLUDE
    for other in MAY_INCLUDE
    if other not in (room, "server/main.cc", "client", "client/include") and room != "server/main.cc"
    and other not in MAY_INCLUDE[room]
]
GOOD = [
    ("server/storage/postgres/a.cc", '#include <pqxx/pqxx>\n#include "server/model/records.h"\n'),
    ("server/rpc/transport/grpc/a.cc", "#include <grpcpp/grpcpp.h>\n// absl::Now() is for app.\n"),
    ("server/rpc/rpc_server.cc", "#include <grpcpp/grpcpp.h>\n"),
    ("server/keys/admin/a.cc", 'const char* text = "absl::Now() and TextFormat";\n#include "server/model/key_store.h"\n'),
    ("server/keys/admin/b.cc", "auto x = record.expire_time(); auto y = Lifetime(0);\n"),
    ("server/app/a.cc", '#include "server/storage/postgres/b.h"\nauto now = absl::Now();\n'),
    ("client/src/a.cc", '#include "latchkey/verifier.h"\n#include "client/core/b.h"\n'),
    ("tests/keys/a.cc", '#include "server/keys/admin/a.h"\n#include "server/app/b.h"\n'),
]


def self_test():
    failures = []

    def findings(path, text):
        with tempfile.TemporaryDirectory() as root:
            file = pathlib.Path(root) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            return list(check_tree(pathlib.Path(root)))

    for path, text, rule in SEEDS:
        found = findings(path, text)
        if not any(rule in line for line in found):
            failures.append(f"not found: {rule} in {path}: {text.strip()[:60]!r}; found {found}")
    for path, text in GOOD:
        for line in findings(path, text):
            if TESTED_ELSEWHERE not in line:  # A file alone in a tree has no test.
                failures.append(f"a false alarm: {line}")
    for failure in failures:
        print(failure)
    print(f"{len(SEEDS)} seeded violations, {len(GOOD)} good files, {len(failures)} wrong")
    return 1 if failures else 0


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    if len(sys.argv) != 2 or not pathlib.Path(sys.argv[1]).is_dir():
        print(__doc__)
        return 2
    violations = list(check_tree(pathlib.Path(sys.argv[1])))
    for violation in violations:
        print(violation)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
