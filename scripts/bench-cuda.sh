#!/usr/bin/env bash
# What `./dev bench cuda` runs where the GPU is; `./dev bench cuda pack DIR` brings it there. It stands beside what it
# needs: `bench` (a binary), `config.json`, `peers.py`, `candle-peer` (a binary). Prints one table.
#   bench-cuda.sh [FOLDER]     FOLDER: where the checkpoint goes, 8 GB; /dev/shm unless given
# A peer that is not there is left out, and it says so:
# $PREFLIGHT_PYTHON: a Python with torch and transformers.
# $LLAMA_BENCH: llama.cpp's llama-bench; $LLAMA_GGUF: what it loads, files of the same shape with commas between them.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
model=${1:-/dev/shm}/preflight-bench
python=${PREFLIGHT_PYTHON:-python3}

# cuBLASLt of PyPI's packages, where there is one and no other.
if cublas=$("$python" -c 'import nvidia.cu13; print(list(nvidia.cu13.__path__)[0])' 2>/dev/null); then
  export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}:$cublas/lib
fi
date -u +%F
nvidia-smi --query-gpu=name,driver_version,clocks.max.sm,power.limit --format=csv,noheader
"$here/bench" write "$model" "$here/config.json"
cat "$model"/*.safetensors >/dev/null
"$here/bench" run "$model" bf16 q8_0 q4_0 fp8
if "$python" -c 'import torch, transformers' 2>/dev/null; then
  "$python" "$here/peers.py" "$model" eager sdpa compile
else
  echo "no transformers: $python cannot import torch and transformers"
fi
if [ -x "$here/candle-peer" ]; then
  "$here/candle-peer" "$model" || echo "no candle peer: it failed"
else
  echo "no candle peer: $here/candle-peer was not built"
fi
if [ -n "${LLAMA_BENCH:-}" ] && [ -n "${LLAMA_GGUF:-}" ]; then
  for what in "-p 10,512,2048 -n 128" "-p 0 -n 128 -d 2048"; do
    "$LLAMA_BENCH" -m "$LLAMA_GGUF" -ngl 99 -fa 1 -r 3 $what || echo "no llama.cpp: it failed"
  done
else
  echo "no llama.cpp: LLAMA_BENCH and LLAMA_GGUF name none"
fi
rm -r "$model"
