# Shared by ./dev's parts: where things lie, what is said, what is timed.

TARGET_WASM=wasm32-unknown-unknown
# Tools and downloads of ours, apart from the user's own.
CACHE=${PREFLIGHT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/preflight}
NPM_DIR=tests/e2e
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
export PATH=$CACHE/tools/bin:$PWD/$NPM_DIR/node_modules/.bin:$PATH
LOGS=$CARGO_TARGET_DIR/dev-logs
mkdir -p "$LOGS"

PHASE="" DETAIL="" TIMES=()

say() { printf 'dev: %s\n' "$*"; }
have() { command -v "$1" >/dev/null 2>&1; }

# The one line of a failure: what, then what to do.
die() {
  DETAIL=$*
  exit 1
}

# complain STATUS: why the script ends, unless all went well.
complain() {
  [ "$1" -eq 0 ] || printf 'dev: error: %s%s\n' "${PHASE:+$PHASE: }" "${DETAIL:-failed (exit $1), see above}" >&2
}

on_exit() {
  complain $?
  if declare -F summary >/dev/null; then summary; fi
}
trap on_exit EXIT

# CPU seconds of all that this script has run so far, into CPU: `times` tells only the shell that asks.
read_cpu() {
  local file=$LOGS/times.$BASHPID
  times >"$file"
  CPU=$(awk -F'[ms ]+' 'NR == 2 { printf "%d", $1 * 60 + $2 + $3 * 60 + $4 }' "$file")
  rm "$file"
}

# phase NAME COMMAND…: runs it and says how long it took.
phase() {
  local start=$SECONDS cpu name=$1 took
  read_cpu
  cpu=$CPU PHASE=$name
  shift
  say "$name …"
  "$@"
  read_cpu
  took=$(printf '%-16s %5d s  %5d s of CPU' "$name" $((SECONDS - start)) $((CPU - cpu)))
  TIMES+=("$took")
  say "$took"
  PHASE=""
}

# A command that builds for wasm, with the toolchain that has its std.
wasm() { env ${WASM_TOOLCHAIN:+RUSTUP_TOOLCHAIN="$WASM_TOOLCHAIN"} "$@"; }
