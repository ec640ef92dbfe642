# What the scripts share; sourced, never run.
# shellcheck shell=bash
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# A clone elsewhere finds what this one compiled: the compiler's cache sees paths relative to the clone.
export CCACHE_BASEDIR=$ROOT CCACHE_NOHASHDIR=1

say() { printf '[latchkey] %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# need_value FLAG [VALUE]: ends the script unless the flag has a value. Never inside $(...): it would end only that.
need_value() {
  [[ -n ${2:-} && $2 != --* ]] || die "$(basename "$0"): $1 needs a value (see --help)"
}

# Prints the script's own opening comment.
show_help() { sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0"; exit 0; }

# quietly LOG WHAT command...: one line for a long step; its output goes to LOG and is shown, the end of it, on failure.
quietly() {
  local log=$1 what=$2 start=$SECONDS
  shift 2
  say "$what ..."
  if ! "$@" >>"$log" 2>&1; then
    tail -n 60 "$log" >&2
    say "$what: FAILED (all of it: $log)"
    return 1
  fi
  if ((SECONDS - start >= 5)); then say "$what: done in $((SECONDS - start)) s"; fi
}

# The build tree of a sanitizer ("" for none).
build_tree() { echo "$ROOT/build${1:+-$1}"; }

check_sanitizer() {
  case $1 in
    '' | address | undefined | address,undefined | thread) ;;
    *) die "--sanitize: address, undefined, address,undefined or thread is wanted" ;;
  esac
}
