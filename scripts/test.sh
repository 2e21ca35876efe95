# `./dev test`: every test, phase by phase; stops at the first phase that fails.

# Building is mostly one crate after the other: two lanes side by side use both cores. The page first, which the end-to-end
# tests wait for: they leave more than a core to what gives way to them.
HOST_LANE="fmt licences cuda build model tests doc-tests"
WEB_LANE="dashboard size wasm-build wasm-tests"
LAST="e2e"
PHASES="$HOST_LANE $WEB_LANE $LAST"
UI_BUDGET_BYTES=350000
PASSED=0 FAILED=0 RAN_TESTS=false WEB_PID=""

# run_tests [PHASE…]: those, one after the other, or all.
run_tests() {
  if [ $# -gt 0 ]; then
    run_phases "$@"
    return
  fi
  say "beside these, told when they end: $WEB_LANE"
  rm -f "$PAGE_MADE"
  # A process group of its own, so that all of it can be ended.
  set -m
  web_lane >"$LOGS/web-lane.log" 2>&1 &
  WEB_PID=$!
  set +m
  run_phases $HOST_LANE
  await_page
  give_way 19
  run_phases $LAST
  join_web_lane
}

# Until the other lane has the page made and weighed, or has ended.
PAGE_MADE=$LOGS/page-made
await_page() {
  until [ -e "$PAGE_MADE" ]; do
    kill -0 "${WEB_PID:-$$}" 2>/dev/null || join_web_lane
    sleep 1
  done
}

# give_way NICE: what is timed here goes before the other lane from now on.
give_way() { [ -z "$WEB_PID" ] || renice -n "$1" -g "$WEB_PID" >/dev/null 2>&1 || true; }

run_phases() {
  local name
  for name; do
    case " $PHASES " in *" $name "*) ;; *) die "no phase '$name': there are $PHASES" ;; esac
    # A lane that has ended early has failed.
    kill -0 "${WEB_PID:-$$}" 2>/dev/null || join_web_lane
    phase "$name" "test_${name//-/_}"
  done
}

# In a shell of its own: what it counted comes back through files.
web_lane() {
  WEB_PID="" TIMES=() PASSED=0 FAILED=0
  trap 'complain $?; printf "%s\n" "${TIMES[@]}" >"$LOGS/web-lane.times"; echo "$PASSED $FAILED" >"$LOGS/web-lane.counts"' EXIT
  run_phases $WEB_LANE
}

# Waits for the lane, shows what it said and adds up what it counted.
join_web_lane() {
  local status=0 passed failed times
  [ -n "$WEB_PID" ] || return 0
  wait "$WEB_PID" || status=$?
  WEB_PID=""
  cat "$LOGS/web-lane.log"
  read -r passed failed <"$LOGS/web-lane.counts"
  mapfile -t times <"$LOGS/web-lane.times"
  PASSED=$((PASSED + passed)) FAILED=$((FAILED + failed)) TIMES+=("${times[@]}") RAN_TESTS=true
  [ "$status" -eq 0 ] || die "a phase for the browser failed, see above"
}

test_fmt() { cargo fmt --all --check; }

# linted COMMAND…: cargo with clippy as the compiler of our own crates. It lints what it builds, and every dependency is
# compiled once: a run of clippy beside would read all of them again, which takes four fifths of its time. Warnings are
# errors here and not in ordinary builds.
linted() { CLIPPY_ARGS=-Dwarnings RUSTC_WORKSPACE_WRAPPER=clippy-driver "$@"; }

# One selection of packages from here to the doc tests: another would unify other features and compile candle anew.
HOST="--locked --workspace --exclude app --exclude engine"

# The CUDA engine, its worker, tests and bench: their Rust side needs no nvcc. What they say of a GPU is told on one; what
# needs none is tested with the rest.
test_cuda() {
  PREFLIGHT_WITHOUT_NVCC=1 linted cargo build --locked -p phi3 -p preflight-worker -p tests \
    --features preflight-worker/cuda,tests/cuda --lib --bin preflight-worker-cuda --test cuda --bench cuda
}

test_licences() {
  if have cargo-deny; then
    cargo deny --log-level error check bans licenses sources
  else
    say "cargo-deny is not installed: the tidy test checks licences and sources"
  fi
}

# The programs that the integration tests start, the tests, and what else there is to lint. The features of phi3 one by
# one are `./dev soak`'s: each costs a compilation of its own.
test_build() { linted cargo build $HOST --all-targets; }

test_model() { default_model "$CARGO_TARGET_DIR/debug/preflight"; }

# counted NAME COMMAND…: runs tests and adds up what their closing lines say.
counted() {
  local log=$LOGS/$1.log status=0
  shift
  "$@" 2>&1 | tee "$log" || status=$?
  RAN_TESTS=true
  PASSED=$((PASSED + $(sum_before passed "$log")))
  FAILED=$((FAILED + $(sum_before failed "$log")))
  [ "$status" -eq 0 ] || die "tests failed: $log has all they said"
}

# nextest, cargo test, wasm-bindgen-test and ours all close with a line that has `N passed` and, if any, `N failed`.
sum_before() {
  sed 's/\x1b\[[0-9;]*m//g' "$2" | grep -E '^ *Summary \[|^test result: |^[0-9]+ passed, ' |
    { grep -oE "[0-9]+ $1" || true; } | awk '{ n += $1 } END { print n + 0 }'
}

test_tests() {
  # They have promises of a few seconds to keep: the other lane gives way from here on.
  give_way 10
  # One more at a time than there are cores: some wait.
  PREFLIGHT_REQUIRE_MODEL=1 PREFLIGHT_REQUIRE_GPU=1 linted counted nextest \
    cargo nextest run $HOST --test-threads $(($(getconf _NPROCESSORS_ONLN) + 1))
}

test_doc_tests() { linted counted doc cargo test --quiet --doc $HOST; }

# wasm_test …: a second configuration bans what compiles for wasm and fails there. Both programs at once, and phi3 with
# the features that the engines turn on: each selection of packages would compile its proc macros and candle anew.
wasm_test() {
  CLIPPY_CONF_DIR=$PWD/scripts/clippy-wasm \
    linted wasm cargo test --locked --target "$TARGET_WASM" --profile "${WASM_PROFILE:-wasm-test}" -p app -p engine "$@"
}

test_wasm_build() {
  wasm_test -p phi3 --test browser --no-run
  # The engine has no tests: it is here for the lints, built as its tests would be, since what only tests need turns on
  # features of what both stand on.
  wasm_test --lib --bin engine --no-run
}

# In headless Chromium, through chromedriver.
in_chromium() {
  export WASM_BINDGEN_TEST_WEBDRIVER_JSON=$PWD/scripts/webdriver.json WASM_BINDGEN_USE_BROWSER=1
  # Compiling shaders for a GPU in software takes most of it.
  export WASM_BINDGEN_TEST_TIMEOUT=${WASM_BINDGEN_TEST_TIMEOUT:-600}
  export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER=wasm-bindgen-test-runner
  counted "$@"
}

test_wasm_tests() {
  in_chromium wasm-phi3 wasm_test -p phi3 --test browser
  in_chromium wasm-app wasm_test --lib
}

test_dashboard() { dashboard; }

# What a first visit downloads, engines apart.
test_size() {
  local bytes
  bytes=$(node tests/e2e/size.mjs dist)
  say "UI shell: $bytes bytes brotli of $UI_BUDGET_BYTES allowed"
  [ "$bytes" -lt "$UI_BUDGET_BYTES" ] || die "the UI shell is too large"
  touch "$PAGE_MADE"
}

# Screenshots come to artifacts/.
test_e2e() {
  PREFLIGHT_WORKER=$CARGO_TARGET_DIR/debug/preflight-worker \
    counted e2e node tests/e2e/run.mjs "$CARGO_TARGET_DIR/debug/preflight" dist "$MODEL_DIR" "$E2E_CHROMIUM"
}

# What only `./dev soak` runs, of the same selection of packages as the tests.
soak_tests() {
  linted counted "$1" cargo nextest run $HOST --profile soak -E "$2"
}

lint() { "${1}" cargo clippy --quiet --locked "${@:2}" -- -D warnings; }

soak() {
  local features
  for features in "" tokenizer candle wgpu; do
    lint env -p phi3 --all-targets --features "$features"
  done
  # The page's share of phi3, without the engines.
  CLIPPY_CONF_DIR=$PWD/scripts/clippy-wasm lint wasm --target "$TARGET_WASM" --profile wasm-test -p app
  # What the page promises of an estimate, optimised as the page is.
  WASM_PROFILE=wasm-release in_chromium soak-estimate wasm_test -p phi3 --test browser -- --nocapture an_estimate
  # What `./dev test` runs with 5,000 cases each.
  PROPTEST_CASES=${PROPTEST_CASES:-200000} soak_tests soak 'package(phi3) & binary(hostile)'
  # Servers killed, models loaded and unloaded, as often as it takes to see a leak.
  PREFLIGHT_KILLS=${PREFLIGHT_KILLS:-200} PREFLIGHT_CYCLES=${PREFLIGHT_CYCLES:-1000} soak_tests soak-server 'test(crashes)'
  PREFLIGHT_EXAMPLES=${PREFLIGHT_EXAMPLES:-100} soak_tests soak-schema 'test(schemathesis)'
  # The same in a tab.
  test_build
  test_model
  dashboard
  E2E_ONLY='leave no memory behind' E2E_TEST_MS=7200000 E2E_CYCLES=${PREFLIGHT_CYCLES:-1000} test_e2e
}

# The fuzz targets in $1, with the coverage that libFuzzer steers by and the address sanitizer that comes with every
# toolchain of rustup. What cargo-fuzz would do with a nightly compiler, the stable one does where it is allowed to.
build_fuzz() {
  local host coverage=(
    --cfg fuzzing -Zsanitizer=address -C codegen-units=1 -C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=4
    -C llvm-args=-sanitizer-coverage-inline-8bit-counters -C llvm-args=-sanitizer-coverage-pc-table
    -C llvm-args=-sanitizer-coverage-trace-compares
  )
  host=$(rustc -vV | sed -n 's/^host: //p')
  # A target by name keeps build scripts out of it.
  RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$1 CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f'; printf %s "${coverage[*]}") \
    cargo build --locked --release --target "$host" --manifest-path fuzz/Cargo.toml >&2
  printf '%s/%s/release' "$1" "$host"
}

# Every fuzz target, one after the other, for FUZZ_SECONDS each; FUZZ_TARGETS names some. Inputs that are new stay with
# the build.
fuzz() {
  local name seconds=${FUZZ_SECONDS:-600} grown=$CARGO_TARGET_DIR/fuzz/corpus log bin
  bin=$(build_fuzz "$CARGO_TARGET_DIR/fuzz") || die "the fuzz targets did not build"
  for name in ${FUZZ_TARGETS:-$(sed -n 's/^name = "\(.*\)"$/\1/p' fuzz/Cargo.toml | grep -vx fuzz)}; do
    log=$LOGS/fuzz-$name.log
    mkdir -p "$grown/$name" "fuzz/artifacts/$name"
    # Allocations are counted by the targets themselves; a leak would only be the process's.
    ASAN_OPTIONS=detect_leaks=0 "$bin/$name" "$grown/$name" "fuzz/corpus/$name" tests/data/configs public/presets \
      -artifact_prefix="fuzz/artifacts/$name/" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=4096 \
      -print_final_stats=1 >"$log" 2>&1 ||
      die "$name: see $log; the input lies in fuzz/artifacts/$name: once it is mended, keep it in fuzz/corpus/$name"
    say "$name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs in $seconds s, no finding"
  done
}

# Called when the script ends, however it ends.
summary() {
  [ -z "$WEB_PID" ] || kill -- "-$WEB_PID" 2>/dev/null || true
  $RAN_TESTS || return 0
  say "times"
  printf 'dev:   %s\n' "${TIMES[@]}"
  printf '%d passed, %d failed\n' "$PASSED" "$FAILED"
}
