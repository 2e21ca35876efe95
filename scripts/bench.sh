# `./dev bench`: our speed beside that of peers, on this machine, in one run.

WLLAMA_VERSION=3.13.0
TRANSFORMERS_JS_VERSION=4.3.2

bench() {
  local what=${1:-}
  [ $# -eq 0 ] || shift
  case $what in
    cpu) bench_cpu "$@" ;;
    cuda) bench_cuda "$@" ;;
    browser) bench_browser ;;
    tab) bench_tab "$@" ;;
    server) bench_server ;;
    *) die "what is to be measured? There are: ./dev bench cpu, cuda, browser, tab, server" ;;
  esac
}

# 200 readers of events and 50 clients of /v1 for BENCH_SECONDS; fails where a bound does not hold.
bench_server() {
  setup_build
  phase "build server" release_binaries
  phase "build bench" bench_binary server
  "$BENCH_BINARY"
}

# Builds what a GPU machine needs (nvcc of CUDA 13, no GPU), then runs it here, or leaves it in DIR: `pack DIR`.
bench_cuda() {
  local folder=artifacts/bench-cuda
  if [ "${1:-}" = pack ]; then
    folder=${2:?pack needs a folder}
    shift 2
    phase "build bench" pack_cuda "$folder"
    say "on a machine with an H100: $folder/bench-cuda.sh"
    return 0
  fi
  phase "build bench" pack_cuda "$folder"
  "$folder/bench-cuda.sh" "$@"
}

pack_cuda() {
  mkdir -p "$1"
  cargo bench --locked -p tests --features cuda --bench cuda --no-run 2>"$LOGS/bench.log" || die "see $LOGS/bench.log"
  install -m 755 "$(sed -n 's/^ *Executable .*(\(.*\))$/\1/p' "$LOGS/bench.log")" "$1/bench"
  strip "$1/bench"
  cp public/presets/phi-3-mini-4k-instruct.json "$1/config.json"
  cp tests/bench/cuda_peers.py "$1/peers.py"
  cp scripts/bench-cuda.sh "$1/"
  candle_peer "$1"
}

# Stock candle links cuBLAS, cuRAND and NVRTC, which our engine does without: where they are not, it is left out.
candle_peer() {
  local target=$CARGO_TARGET_DIR/candle-peer
  if PATH=${CUDA_HOME:+$CUDA_HOME/bin:}$PATH CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-90} cargo build --locked --release \
    --features cuda --manifest-path tests/bench/candle_peer/Cargo.toml --target-dir "$target" 2>"$LOGS/candle-peer.log"; then
    install -m 755 "$target/release/candle-peer" "$1/"
  else
    say "no candle peer: see $LOGS/candle-peer.log"
  fi
}

# Our CPU engine in Chromium beside wllama, the same weights in each format that ours quantises to, at equal threads.
bench_browser() {
  setup_test
  # The tests' own build converts the model: a release build takes many times as long as it saves.
  phase "build" test_build
  phase "default model" test_model
  phase "build dashboard" dashboard
  phase "peer" bench_wllama
  node tests/bench/browser/run.mjs dist "$MODEL_DIR" "$GGUFS" \
    "$CACHE/bench-browser/node_modules/@wllama/wllama" "$CHROMIUM"
}

# Packs the engines of the page in DIR, for a machine that has a GPU, a headless Chromium and Python.
bench_tab() {
  local folder=${1:?give a folder to pack: ./dev bench tab DIR}
  setup_build
  phase "build dashboard" dashboard
  mkdir -p "$folder"
  cp dist/engine* "$folder/"
  cp tests/bench/browser/tab.py "$folder/"
  cp public/presets/phi-3-mini-4k-instruct.json "$folder/config.json"
  phase "peer" pack_onnx "$folder/onnx"
  say "on a machine with a GPU: python3 $folder/tab.py $folder CHROMIUM $folder/config.json wgpu:0:q4_0:10:128"
  say "the peer beside it: $folder/onnx/run.sh OUT CHROMIUM"
}

# transformers.js with its onnxruntime-web, from npm: a made-up model of the same shape, its page and what measures it.
pack_onnx() {
  local folder=$1 peer=$CACHE/bench-browser/onnx file
  if [ ! -d "$peer/node_modules/@huggingface/transformers" ]; then
    npm install --prefix "$peer" --ignore-scripts --no-audit --no-fund "@huggingface/transformers@$TRANSFORMERS_JS_VERSION" >"$LOGS/npm-onnx.log" 2>&1 ||
      die "npm could not install transformers.js: see $LOGS/npm-onnx.log"
  fi
  mkdir -p "$folder/page/ort"
  cp tests/bench/browser/onnx/* "$folder/"
  cp "$peer/node_modules/@huggingface/transformers/dist/transformers.web.min.js" "$folder/page/"
  for file in {ort.webgpu,ort.jspi}.bundle.min.mjs ort-wasm-simd-threaded.{asyncify,jspi}.{mjs,wasm}; do
    cp "$peer/node_modules/onnxruntime-web/dist/$file" "$folder/page/ort/"
  done
}

# wllama from npm, and its weights.
bench_wllama() {
  local folder=$CACHE/bench-browser
  mkdir -p "$folder"
  if [ ! -d "$folder/node_modules/@wllama/wllama" ]; then
    npm install --prefix "$folder" --ignore-scripts --no-audit --no-fund "@wllama/wllama@$WLLAMA_VERSION" >"$LOGS/npm-peer.log" 2>&1 ||
      die "npm could not install wllama: see $LOGS/npm-peer.log"
  fi
  bench_ggufs
}

# The default model's own file, and what llama.cpp's tools make of it. Sets GGUFS.
bench_ggufs() {
  local folder=$CACHE/bench-browser name
  GGUFS=$folder/gguf
  mkdir -p "$GGUFS"
  fetch_gguf
  ln -f "$GGUF" "$GGUFS/SmolLM2-135M.Q4_1.gguf" 2>/dev/null || cp "$GGUF" "$GGUFS/SmolLM2-135M.Q4_1.gguf"
  if [ ! -x "$folder/python/bin/python" ]; then
    python3 -m venv "$folder/python" && "$folder/python/bin/pip" install --quiet -r tests/bench/browser/requirements.txt >"$LOGS/pip.log" 2>&1 ||
      die "pip could not install llama.cpp's tools: see $LOGS/pip.log"
  fi
  for name in Q8_0 Q4_0; do
    [ -f "$GGUFS/SmolLM2-135M.$name.gguf" ] && continue
    "$folder/python/bin/python" tests/bench/browser/requantize.py "$GGUF" "$GGUFS/$name.part" "$name"
    mv "$GGUFS/$name.part" "$GGUFS/SmolLM2-135M.$name.gguf"
  done
}

bench_cpu() {
  setup_build
  phase "default model" bench_model
  phase "peer" bench_python
  phase "build bench" bench_binary cpu
  "$BENCH_PYTHON" tests/bench/cpu.py "$BENCH_BINARY" "$MODEL_DIR" "$@"
  if [ -z "${LLAMA_BENCH:-}" ]; then
    say "llama.cpp is left out: LLAMA_BENCH names no llama-bench"
    return 0
  fi
  phase "peer's weights" bench_ggufs
  local format
  for format in q8_0 q4_0; do
    "$BENCH_PYTHON" tests/bench/cpu.py "$BENCH_BINARY" "$MODEL_DIR" --dtype $format \
      --llama-bench "$LLAMA_BENCH" --gguf "$GGUFS/SmolLM2-135M.${format^^}.gguf" "$@"
  done
}

bench_model() {
  release_binaries
  default_model "$CARGO_TARGET_DIR/release/preflight"
}

# The peer's packages, of the versions that made the goldens, in a folder of our own. Sets BENCH_PYTHON.
bench_python() {
  BENCH_PYTHON=${PREFLIGHT_PYTHON:-$CACHE/bench/bin/python}
  if "$BENCH_PYTHON" -c 'import torch, transformers, accelerate' 2>/dev/null; then return 0; fi
  [ -z "${PREFLIGHT_PYTHON:-}" ] || die "$PREFLIGHT_PYTHON cannot import torch, transformers and accelerate"
  say "installing torch and transformers (gigabytes, once)"
  python3 -m venv "$CACHE/bench" || die "python3 cannot make a venv: on Debian, apt install python3-venv"
  grep -E '^(torch|transformers|accelerate|numpy|safetensors|tokenizers)==' tests/goldens/requirements.txt >"$LOGS/peer.txt"
  "$CACHE/bench/bin/pip" install --quiet -r "$LOGS/peer.txt" >"$LOGS/pip.log" 2>&1 ||
    die "pip could not install the peer: see $LOGS/pip.log"
}

# bench_binary NAME: sets BENCH_BINARY; cargo prints its path in brackets.
bench_binary() {
  cargo bench --locked -p tests --bench "$1" --no-run 2>"$LOGS/bench.log" || die "see $LOGS/bench.log"
  BENCH_BINARY=$(sed -n 's/^ *Executable .*(\(.*\))$/\1/p' "$LOGS/bench.log")
}
