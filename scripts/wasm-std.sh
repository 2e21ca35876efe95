# Rust's standard library for wasm32. Sets WASM_TOOLCHAIN: the toolchain that has it, empty for the default.

DEBIAN_TOOLCHAIN=debian-web

# Whether a toolchain ("" is the default) compiles, links and tests for wasm. Tried, not looked up:
# an updated compiler refuses the std that was built with the one before it.
wasm_std_works() {
  local WASM_TOOLCHAIN=$1
  if [ -n "$1" ] && ! rustup toolchain list 2>/dev/null | grep -q "^$1"; then return 1; fi
  echo '#[test] fn t() { println!() }' |
    wasm rustc --edition 2024 --test --target "$TARGET_WASM" -o "$LOGS/probe.wasm" - >/dev/null 2>&1
}

setup_wasm_std() {
  for WASM_TOOLCHAIN in "" "$DEBIAN_TOOLCHAIN"; do
    if wasm_std_works "$WASM_TOOLCHAIN"; then return 0; fi
  done
  case ${WASM_STD:-rustup} in
    rustup)
      say "adding $TARGET_WASM with rustup"
      WASM_TOOLCHAIN=""
      have rustup || die "rustup is missing: see https://rustup.rs, or set WASM_STD=debian"
      rustup target add "$TARGET_WASM" || die "rustup could not add $TARGET_WASM: on Debian try WASM_STD=debian"
      ;;
    debian)
      WASM_TOOLCHAIN=$DEBIAN_TOOLCHAIN
      debian_wasm_std
      ;;
    *) die "WASM_STD is '$WASM_STD': say rustup or debian" ;;
  esac
  wasm_std_works "$WASM_TOOLCHAIN" || die "Rust still cannot build for $TARGET_WASM"
}

# Debian ships a recent compiler (rustc-web) with the library's source but not its wasm build.
# Build that once, put it where the compiler looks, and let rustup know the whole as a toolchain.
debian_wasm_std() {
  have apt-get && have rustup || die "WASM_STD=debian needs Debian's apt and rustup"
  local lld sysroot host libraries work
  lld=$(apt-cache search --names-only '^lld-[0-9]+$' | cut -d' ' -f1 | sort -V | tail -1)
  apt_install rustc-web cargo-web rust-web-src rust-web-clippy "${lld:-lld}"

  sysroot=$(/usr/bin/rustc --print sysroot)
  host=$(/usr/bin/rustc -vV | sed -n 's/^host: //p')
  # The name under which rustc calls its wasm linker.
  as_root mkdir -p "$sysroot/lib/rustlib/$host/bin"
  as_root ln -sfn "$(ls /usr/bin/wasm-ld-* | sort -V | tail -1)" "$sysroot/lib/rustlib/$host/bin/rust-lld"
  rustup toolchain link "$DEBIAN_TOOLCHAIN" "$sysroot"

  say "building Rust's std for $TARGET_WASM (a minute or two, once)"
  work=$(mktemp -d)
  cargo_new_empty "$work"
  # Bitcode: fat LTO of the dashboard needs it in std too. `test`: for tests that run in the browser.
  (cd "$work" && env -u CARGO_TARGET_DIR RUSTUP_TOOLCHAIN="$DEBIAN_TOOLCHAIN" RUSTC_BOOTSTRAP=1 \
    RUSTFLAGS="-Cembed-bitcode=yes --remap-path-prefix=$(readlink -f "$sysroot/lib/rustlib/src/rust")=/rust" \
    cargo build --quiet --release --target "$TARGET_WASM" -Zbuild-std=std,panic_abort,test) ||
    die "Rust's std did not build for $TARGET_WASM"
  libraries=$sysroot/lib/rustlib/$TARGET_WASM/lib
  as_root rm -rf "$libraries"
  as_root mkdir -p "$libraries"
  find "$work/target/$TARGET_WASM/release/deps" -name 'lib*.rlib' ! -name 'libempty-*' -print0 |
    as_root xargs -0 cp -t "$libraries"
  rm -rf "$work"
}

# The smallest crate: a pretext for cargo to build std.
cargo_new_empty() {
  mkdir "$1/src"
  : >"$1/src/lib.rs"
  printf '[package]\nname = "empty"\nedition = "2024"\n[workspace]\n[profile.release]\ncodegen-units = 1\n' >"$1/Cargo.toml"
}
