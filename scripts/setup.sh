# Installs what is missing, and only that. Proven on Debian 12; Ubuntu alike; on macOS it names what to install.

source scripts/wasm-std.sh

TRUNK_VERSION=0.22.1
NEXTEST_VERSION=0.9.143
# The command line tool must be of the crate's own version.
WASM_BINDGEN_VERSION=$(awk '/^name = "wasm-bindgen"$/ { getline; gsub(/"/, ""); print $3 }' Cargo.lock)

as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }

apt_install() {
  say "installing with apt: $*"
  as_root apt-get update -qq || say "apt-get update failed: trying with the lists as they are"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >"$LOGS/apt.log" 2>&1 ||
    die "apt could not install $*: see $LOGS/apt.log"
}

# need COMMAND PACKAGE BREW: adds to what is to be installed.
need() {
  if have "$1"; then return 0; fi
  MISSING+=("$2")
  MISSING_BREW+=("$3")
}

install_missing() {
  [ ${#MISSING[@]} -gt 0 ] || return 0
  if have apt-get; then
    apt_install "${MISSING[@]}"
  else
    die "missing: ${MISSING[*]}. On macOS: brew install ${MISSING_BREW[*]}"
  fi
}

setup_rust() {
  have cargo || die "Rust is missing: install rustup, see https://rustup.rs"
  local minimum have_version
  minimum=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  have_version=$(rustc --version | cut -d' ' -f2)
  [ "$(printf '%s\n' "$minimum" "$have_version" | sort -V | head -1)" = "$minimum" ] ||
    die "Rust $minimum or newer is needed, this is $have_version: run rustup update"
}

# cargo_tool COMMAND VERSION [CARGO FLAGS…]: into our own folder, never over the user's. TOOL_OPTIMISED=1 for what computes.
cargo_tool() {
  local name=$1 version=$2 found
  shift 2
  found=$("$name" --version 2>/dev/null | head -1) || found=""
  case $found in *"$version"*) return 0 ;; esac
  say "installing $name $version with cargo (minutes, once)"
  env -u CARGO_TARGET_DIR CARGO_PROFILE_RELEASE_OPT_LEVEL=${TOOL_OPTIMISED:-0} CARGO_PROFILE_RELEASE_LTO=off \
    CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_DEBUG=false \
    ${TOOL_TOOLCHAIN:+RUSTUP_TOOLCHAIN="$TOOL_TOOLCHAIN"} \
    cargo install --quiet --force --root "$CACHE/tools" "$@" >"$LOGS/$name.log" 2>&1 ||
    die "cargo could not install $name $version: see $LOGS/$name.log"
}

setup_npm() {
  local lock=$NPM_DIR/package-lock.json stamp=$NPM_DIR/node_modules/.installed
  if cmp -s "$lock" "$stamp"; then return 0; fi
  say "installing npm packages"
  npm ci --prefix "$NPM_DIR" --ignore-scripts --no-audit --no-fund >"$LOGS/npm.log" 2>&1 ||
    die "npm ci failed: see $LOGS/npm.log"
  cp "$lock" "$stamp"
}

# What building and serving need.
setup_build() {
  phase "set up" setup_build_steps
}
setup_build_steps() {
  MISSING=() MISSING_BREW=()
  need cc build-essential gcc
  need node nodejs node
  need npm npm node
  need python3 python3 python
  python3 -m pip --version >/dev/null 2>&1 || need "python3 -m pip" python3-pip python
  install_missing
  setup_rust
  setup_wasm_std
  # Trunk asks for a newer compiler than we do; Debian's, where we have it, is new enough.
  TOOL_TOOLCHAIN=$WASM_TOOLCHAIN cargo_tool trunk "$TRUNK_VERSION" \
    --locked --ignore-rust-version --no-default-features --features rustls "trunk@$TRUNK_VERSION"
  # Not --locked: its lock file names a crate version that is no longer to be had.
  TOOL_OPTIMISED=1 cargo_tool wasm-bindgen "$WASM_BINDGEN_VERSION" --no-default-features "wasm-bindgen-cli@$WASM_BINDGEN_VERSION"
  setup_npm
}

# Clients and testers from PyPI, in a folder of our own. Without a network their tests say that they are left out.
setup_python_tests() {
  local folder=$CACHE/python-tests list=tests/requirements.txt
  if ! cmp -s "$list" "$folder/installed.txt"; then
    say "installing schemathesis and the OpenAI client from PyPI"
    if ! { python3 -m venv "$folder" && "$folder/bin/pip" install --quiet -r "$list" && cp "$list" "$folder/installed.txt"; } \
      >"$LOGS/pip-tests.log" 2>&1; then
      say "schemathesis and the OpenAI client are LEFT OUT: see $LOGS/pip-tests.log"
      return 0
    fi
  fi
  export PREFLIGHT_OPENAI_PYTHON=$folder/bin/python PREFLIGHT_SCHEMATHESIS=$folder/bin/st
}

# What the tests need besides.
setup_test() {
  setup_build
  phase "set up tests" setup_test_steps
}
setup_test_steps() {
  MISSING=() MISSING_BREW=()
  local chosen=${CHROMIUM:-}
  CHROMIUM=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || true)}
  CHROMEDRIVER=${CHROMEDRIVER:-$(command -v chromedriver || true)}
  [ -n "$CHROMIUM" ] || need chromium chromium "--cask chromium"
  [ -n "$CHROMEDRIVER" ] || need chromedriver chromium-driver chromedriver
  # Vulkan in software, for hosts without a GPU. On macOS there is Metal.
  if have apt-get && ! ls /usr/share/vulkan/icd.d/*.json >/dev/null 2>&1; then
    MISSING+=(mesa-vulkan-drivers libvulkan1)
  fi
  install_missing
  export CHROMIUM=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || true)}
  export CHROMEDRIVER=${CHROMEDRIVER:-$(command -v chromedriver || true)}
  # The same browser without windows of its own opens a page in a quarter of the time. Not every system has it.
  if [ -z "$chosen" ] && ! have chromium-headless-shell && apt-cache show chromium-headless-shell >/dev/null 2>&1; then
    (apt_install chromium-headless-shell) || say "going on with $CHROMIUM"
  fi
  E2E_CHROMIUM=${chosen:-$(command -v chromium-headless-shell || echo "$CHROMIUM")}
  [ -n "$CHROMIUM" ] && [ -n "$CHROMEDRIVER" ] || die "Chromium and chromedriver are needed: set CHROMIUM and CHROMEDRIVER to them"
  cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 ||
    rustup component add rustfmt clippy || die "rustfmt and clippy are missing: rustup component add rustfmt clippy"
  setup_python_tests
  have cargo-nextest || cargo_tool cargo-nextest "$NEXTEST_VERSION" \
    --locked --no-default-features --features default-no-update "cargo-nextest@$NEXTEST_VERSION"
}
