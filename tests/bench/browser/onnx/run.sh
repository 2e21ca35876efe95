#!/usr/bin/env bash
# run.sh OUT_DIR CHROMIUM: a made-up Phi-3-mini (q4) in transformers.js and onnxruntime-web, WebGPU, one table; about 8 minutes at most.
# $TJS_MODEL: where the model goes (/tmp/tjs-model, 2.8 GB). $TJS_SHAPE: arguments for make_model.py. $TJS_BENCH: further ones for bench.py.
# $TAB_FLAGS: Chromium's GPU flags. $TJS_SECONDS: for all of it (470).
set -euo pipefail
began=$SECONDS
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(realpath -m "${1:?output folder}") chromium=$(realpath "${2:?a headless Chromium}")
mkdir -p "$out"
model=${TJS_MODEL:-/tmp/tjs-model} beside=$(dirname "$chromium")
# A bundle's libraries and the driver's, unless the caller has said (or CHROMIUM is a script that does).
libraries=${LD_LIBRARY_PATH:-}
for folder in /usr/local/nvidia/lib64 "$beside/lib"; do
  if [ -d "$folder" ]; then libraries=$folder${libraries:+:$libraries}; fi
done
export CHROMIUM_LIBRARIES=$libraries
icd=/usr/local/nvidia/share/vulkan/icd.d/nvidia_icd.json
if [ -z "${VK_DRIVER_FILES:-}" ] && [ -e "$icd" ]; then export VK_DRIVER_FILES=$icd; fi
python3 "$here/make_model.py" "$model" ${TJS_SHAPE:-}
budget=$((${TJS_SECONDS:-470} - (SECONDS - began) - 60))
python3 "$here/bench.py" "$model" "$out" "$chromium" --budget "$budget" ${TJS_BENCH:-}
timeout 120 python3 "$here/reference.py" "$model" "$out/results.json" 2>&1 | tee "$out/reference.txt" || echo "results not compared"
echo "took $((SECONDS - began)) s"
