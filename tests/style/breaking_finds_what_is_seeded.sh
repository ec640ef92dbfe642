#!/usr/bin/env bash
# Usage: breaking_finds_what_is_seeded.sh ROOT
#
# Seeds changes of the protos that would break a client of release 0, and fails unless `buf breaking` finds each.
set -euo pipefail
root=$1
tree=$(mktemp -d /tmp/latchkey-breaking-XXXXXX)
trap 'rm -rf "$tree"' EXIT

# seeded FILE SED-EXPRESSION
seeded() {
  rm -rf "$tree/proto"
  cp -r "$root/proto" "$root/buf.yaml" "$tree"
  sed -i "$2" "$tree/proto/latchkey/v1/$1"
  if cmp -s "$root/proto/latchkey/v1/$1" "$tree/proto/latchkey/v1/$1"; then
    echo "the seed does not fit $1: $2" && exit 1
  fi
  if (cd "$tree" && "$root/node_modules/.bin/buf" breaking --against "$root/tests/release_0/api.binpb" >/dev/null); then
    echo "not found in $1: $2" && exit 1
  fi
}
seeded resources.proto 's/string display_name = \([0-9]*\)/string shown_name = \1/'
seeded resources.proto 's/string display_name = [0-9]*/string display_name = 99/'
seeded key_admin.proto 's/rpc RotateKey\|rpc GetKey(/rpc FetchKey(/'
seeded key_verify.proto 's/DECISION_REVOKED = [0-9]*/DECISION_REVOKED = 77/'
echo "every seeded change was found"
