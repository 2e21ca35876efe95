#!/usr/bin/env bash
# What `./dev bench cuda` runs where the GPU is; `./dev bench cuda pack DIR` brings it there. It stands beside what it
# needs: `bench` (a binary), `config.json`, `peers.py`. Prints one table.
#   bench-cuda.sh [FOLDER]     FOLDER: where the checkpoint goes, 8 GB; /dev/shm unless given
# $PREFLIGHT_PYTHON: a Python with torch and transformers for the peers; without one they are left out, and it says so.
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
  echo "no peers: $python cannot import torch and transformers"
fi
rm -r "$model"
