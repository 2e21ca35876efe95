"""Makes gguf_dequant.safetensors: random blocks of each GGML format and the values the `gguf` package reads in them.

Run from this folder: python gguf_dequant.py
"""

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants
from safetensors.numpy import save_file

BLOCKS = 4
# Where the f16 scales of a block lie; random bytes there would make NaN and infinity.
SCALES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
}

random = np.random.default_rng(3)
tensors = {}
for name, positions in SCALES.items():
    kind = GGMLQuantizationType[name]
    _, size = GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (BLOCKS, size), dtype=np.uint8)
    for position in positions:
        scale = random.normal(0, 0.05, BLOCKS).astype(np.float16)
        blocks[:, position : position + 2] = scale.view(np.uint8).reshape(BLOCKS, 2)
    values = quants.dequantize(blocks.reshape(-1), kind).astype(np.float32)
    tensors[f"{name.lower()}.blocks"] = blocks.reshape(-1)
    tensors[f"{name.lower()}.values"] = values.reshape(-1)
save_file(tensors, "gguf_dequant.safetensors")
