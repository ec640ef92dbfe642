#!/usr/bin/env bash
# packaging_test.sh SOURCE_DIR BUILD_DIR CMAKE CXX: installs the client from BUILD_DIR and uses it as a stranger would.
set -euo pipefail
source_dir=$1 build_dir=$2 cmake=$3 cxx=$4

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix
step() { echo "-- $*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }

step "install to a temporary prefix"
"$cmake" --install "$build_dir" --component client --prefix "$prefix" >"$work/install.log" || { cat "$work/install.log"; fail install; }
# Nothing in what is installed may point back to where it was built.
if grep -rlF -e "$source_dir" -e "$build_dir" "$prefix" --include='*.cmake' --include='*.pc' --include='*.h'; then
  fail "the files above name the source or build folder"
fi

step "every public header compiles alone, and shows nothing of gRPC or protobuf"
headers=$(find "$prefix/include" -name '*.h')
[ -n "$headers" ] || fail "no header was installed"
for header in $headers; do
  echo "#include \"${header#"$prefix/include/"}\"" >"$work/alone.cc"
  "$cxx" -std=c++20 -Wall -Wextra -Werror -fsyntax-only -I "$prefix/include" "$work/alone.cc" || fail "$header"
  if grep -nE 'grpc(pp)?/|google/protobuf|\.pb\.h|grpc::|google::|"client/|"server/' "$header"; then
    fail "$header shows what it should hide"
  fi
done

step "build the example with find_package(latchkey)"
"$cmake" -G Ninja -S "$source_dir/client/example" -B "$work/found" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_CXX_COMPILER="$cxx" \
  >"$work/configure.log" 2>&1 || { cat "$work/configure.log"; fail configure; }
"$cmake" --build "$work/found" >"$work/build.log" 2>&1 || { cat "$work/build.log"; fail build; }

step "build a test with find_package(latchkey) and latchkey::testing, and run it"
mkdir "$work/tested"
cat >"$work/tested/CMakeLists.txt" <<'CMAKE'
cmake_minimum_required(VERSION 3.25)
project(tested LANGUAGES CXX)
set(CMAKE_CXX_STANDARD 20)
find_package(latchkey REQUIRED)
add_executable(tested main.cc)
target_link_libraries(tested PRIVATE latchkey::testing)
CMAKE
cat >"$work/tested/main.cc" <<'SOURCE'
#include "latchkey/testing/fake_verifier.h"
#include "latchkey/testing/test_server.h"

int main() {
  latchkey::testing::FakeVerifier fake;
  fake.Deny("bad", latchkey::Decision::kRevoked);
  latchkey::testing::TestServer server;
  const std::string key = server.AddKey({.role = "editor"});
  const auto verifier = latchkey::Verifier::Connect(server.Options());
  return fake.Verify("bad", {}).denied() && verifier.ok() && (*verifier)->Verify(key).allowed() ? 0 : 1;
}
SOURCE
"$cmake" -G Ninja -S "$work/tested" -B "$work/tested/build" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_CXX_COMPILER="$cxx" \
  >"$work/configure.log" 2>&1 || { cat "$work/configure.log"; fail configure; }
"$cmake" --build "$work/tested/build" >"$work/build.log" 2>&1 || { cat "$work/build.log"; fail build; }
"$work/tested/build/tested" || fail "a test that uses latchkey::testing"
if nm -C "$work/found/example" | grep -q 'latchkey::testing'; then fail "the example holds parts of latchkey::testing"; fi

step "build the example with pkg-config"
PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name latchkey.pc)")
export PKG_CONFIG_PATH
# shellcheck disable=SC2046  # Flags are words.
"$cxx" -std=c++20 "$source_dir/client/example/main.cc" $(pkg-config --cflags --libs latchkey) -o "$work/configured"

# A key string that is well-formed (right checksum) and worth nothing: no server minted it.
well_formed=lk1_0000000000000000_0000000000000000000000000000000000000000000000000000000
well_formed+=$(WELL_FORMED=$well_formed python3 - <<'PYTHON'
import os, zlib
digits, number, text = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", zlib.crc32(os.environ["WELL_FORMED"].encode()), ""
for _ in range(6):
    number, digit = divmod(number, 62)
    text = digits[digit] + text
print(text)
PYTHON
)
(umask 077 && echo "$well_formed" >"$work/caller.key")
# Bound and closed again: nobody listens there.
closed_port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')

# expect STATUS TEXT KEY PROGRAM...: the program, given KEY on stdin, exits with STATUS and prints TEXT somewhere.
expect() {
  local status=$1 text=$2 key=$3 got=0
  shift 3
  printf '%s\n' "$key" | "$@" >"$work/out" 2>&1 || got=$?
  cat "$work/out"
  [ "$got" = "$status" ] || fail "$* exited $got, not $status"
  grep -qF -- "$text" "$work/out" || fail "$* did not print '$text'"
  if grep -qF -- "${well_formed:21}" "$work/out"; then fail "$* printed a key's secret"; fi
}

for example in "$work/found/example" "$work/configured"; do
  step "run ${example#"$work/"}"
  expect 1 "denied: MALFORMED" "no key string" "$example" "127.0.0.1:$closed_port" "$work/caller.key"
  expect 2 "undecided: UNAVAILABLE" "$well_formed" "$example" "127.0.0.1:$closed_port" "$work/caller.key"
done

step "run the installed latchkey"
latchkey=("$prefix/bin/latchkey" --server "127.0.0.1:$closed_port" --credentials "$work/caller.key")
expect 0 "latchkey " "" "${latchkey[@]}" --version
expect 0 "latchkey " "" "${latchkey[@]}" version
expect 1 "denied: MALFORMED" "no key string" "${latchkey[@]}" verify
expect 1 '"decision": "DECISION_MALFORMED"' "no key string" "${latchkey[@]}" verify --output json
expect 2 "(UNAVAILABLE)" "$well_formed" "${latchkey[@]}" verify
expect 2 "(UNAVAILABLE)" "$well_formed"$'\r' "${latchkey[@]}" verify
expect 1 "denied: MALFORMED" "$well_formed " "${latchkey[@]}" verify
expect 2 "no key to verify" "" "${latchkey[@]}" verify
expect 2 "[redacted]" "" "${latchkey[@]}" verify "$well_formed"
expect 2 "(UNAVAILABLE)" "" "${latchkey[@]}" keys list --organization acme
expect 2 "that is a key string" "" "${latchkey[@]}" keys get "$well_formed"
expect 2 "subcommand is required" "" "${latchkey[@]}" keys
expect 2 'has no command foo' "" "${latchkey[@]}" keys foo
invalid=$'\xff\xfe'
expect 2 "--name: valid UTF-8 is wanted" "" \
  "${latchkey[@]}" keys create --organization acme --role editor --name "$invalid"
if grep -q libprotobuf "$work/out"; then fail "protobuf wrote to stderr"; fi
for command in "" keys "keys create" "keys get" "keys list" "keys rename" "keys revoke" verify version roles \
  "roles list" orgs "orgs create" "orgs list"; do
  # shellcheck disable=SC2086  # The command's words.
  expect 0 "Usage: latchkey" "" "$prefix/bin/latchkey" $command --help >/dev/null
done
chmod 644 "$work/caller.key"
expect 2 "chmod 600" "$well_formed" "${latchkey[@]}" verify
step passed
