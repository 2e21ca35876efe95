"""A made-up Phi-3 in ONNX, as onnxruntime-genai's model builder writes it (int4, block 32, symmetric; `-e webgpu`), laid out for transformers.js.

    python3 make_model.py OUT [--act f32|f16] [--hidden 3072 --layers 32 --heads 32 --kv-heads 32 --inter 8192 --vocab 32064 --context 4096]

Needs numpy only: the protobuf is written by hand. Makes folders under OUT that share one set of weights (links):
    plain   the builder's graph with accuracy_level 4 (its default): logits of every position
    last    the same with the builder's `prune_lm_head`: logits of the last position
    last-a0 as `last`, accuracy_level 0: activations are not quantised to int8
    graph   as `last`, with the builder's `enable_webgpu_graph` (lengths computed on the GPU)
each with config.json, generation_config.json, onnx/model_q4.onnx (q4f16 for --act f16) and onnx/model_q4.onnx_data, _data_1, ...
"""

import argparse
import json
import os
import struct
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

# ---- protobuf, the few messages of onnx.proto that are needed

def varint(n):
    n &= (1 << 64) - 1
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)

def num(field, n):
    return varint(field << 3) + varint(n)

def blob(field, data):
    data = data.encode() if isinstance(data, str) else data
    return varint(field << 3 | 2) + varint(len(data)) + data

F32, U8, I32, I64, F16 = 1, 2, 6, 7, 10

def attribute(name, value):
    if isinstance(value, float):
        return blob(1, name) + varint(2 << 3 | 5) + struct.pack("<f", value) + num(20, 1)
    if isinstance(value, int):
        return blob(1, name) + num(3, value) + num(20, 2)
    return blob(1, name) + blob(5, value) + num(20, 4)

def node(op, inputs, outputs, name, domain="", **attributes):
    body = b"".join(blob(1, i) for i in inputs) + b"".join(blob(2, o) for o in outputs) + blob(3, name) + blob(4, op)
    body += b"".join(blob(5, attribute(k, v)) for k, v in attributes.items())
    return body + (blob(7, domain) if domain else b"")

def value_info(name, kind, dims):
    shape = b"".join(blob(1, num(1, d) if isinstance(d, int) else blob(2, d)) for d in dims)
    return blob(1, name) + blob(2, blob(1, num(1, kind) + blob(2, shape)))

def small_tensor(kind, values, dims):
    return b"".join(num(1, d) for d in dims) + num(2, kind) + blob(9, np.array(values, {I32: "<i4", I64: "<i8"}[kind]).tobytes())

# ---- the graph

def graph(o, tensors, accuracy, last, on_gpu):
    """The GraphProto; `tensors` says where each initializer lies."""
    real = F16 if o.act == "f16" else F32
    nodes, ms, head = [], "com.microsoft", o.hidden // o.heads
    add = lambda *a, **k: nodes.append(blob(1, node(*a, **k)))
    constant = lambda name, kind, values, dims: add("Constant", [], [f"/model/constants/{name}"], f"/model/constant_nodes/{name}", value=small_tensor(kind, values, dims))
    mask = "/model/attn_mask_reformat/attn_mask_subgraph"
    constant("INT64/[1]", I64, [1], [1])
    if on_gpu:
        constant("INT32/[1]", I32, [1], [1])
        add("Cast", ["attention_mask"], [f"{mask}/Cast/output_0"], f"{mask}/Cast", to=I32)
        add("ReduceSum", [f"{mask}/Cast/output_0", "/model/constants/INT64/[1]"], [f"{mask}/ReduceSum/output_0"], f"{mask}/ReduceSum", keepdims=0)
        add("Sub", [f"{mask}/ReduceSum/output_0", "/model/constants/INT32/[1]"], [f"{mask}/Sub/output_0"], f"{mask}/Sub")
        add("ReduceMax", [f"{mask}/ReduceSum/output_0"], [f"{mask}/ReduceMax/output_0"], f"{mask}/ReduceMax", keepdims=0)
        seqlens, total = f"{mask}/Sub/output_0", f"{mask}/ReduceMax/output_0"
    else:
        constant("INT64/1", I64, [1], [])
        add("ReduceSum", ["attention_mask", "/model/constants/INT64/[1]"], [f"{mask}/ReduceSum/output_0"], f"{mask}/ReduceSum", keepdims=0)
        add("Sub", [f"{mask}/ReduceSum/output_0", "/model/constants/INT64/[1]"], [f"{mask}/Sub/output_0"], f"{mask}/Sub")
        add("Cast", [f"{mask}/Sub/output_0"], [f"{mask}/Sub/Cast/output_0"], f"{mask}/Sub/Cast", to=I32)
        add("Shape", ["attention_mask"], [f"{mask}/Shape/output_0"], f"{mask}/Shape")
        add("Gather", [f"{mask}/Shape/output_0", "/model/constants/INT64/1"], [f"{mask}/Gather/output_0"], f"{mask}/Gather", axis=0)
        add("Cast", [f"{mask}/Gather/output_0"], [f"{mask}/Gather/Cast/output_0"], f"{mask}/Gather/Cast", to=I32)
        seqlens, total = f"{mask}/Sub/Cast/output_0", f"{mask}/Gather/Cast/output_0"

    def matmul(path, weight, source, target=None):
        n, blocks, _ = tensors[f"{weight}.weight_Q4"]["dims"]
        target = target or f"{path}/output_0"
        add("MatMulNBits", [source, f"{weight}.weight_Q4", f"{weight}.weight_scales"], [target], f"{path}_Q4", ms,
            K=blocks * 32, N=n, accuracy_level=accuracy, bits=4, block_size=32)
        return target

    def norm(path, weight, residual, addend, more=True):
        out, total_out = f"{path}/output_0", f"{path}/output_3"
        add("SkipSimplifiedLayerNormalization", [residual, addend, weight], [out, "", "", total_out] if more else [out], f"{path}/SkipLayerNorm", ms, epsilon=1e-5)
        return out, total_out

    add("Gather", ["model.embed_tokens.weight", "input_ids"], ["/model/embed_tokens/Gather/output_0"], "/model/embed_tokens/Gather")
    residual = "/model/embed_tokens/Gather/output_0"
    for l in range(o.layers):
        p, w = f"/model/layers.{l}", f"model.layers.{l}"
        if l == 0:
            x = f"{p}/input_layernorm/output_0"
            add("SimplifiedLayerNormalization", [residual, f"{w}.input_layernorm.weight"], [x], f"{p}/input_layernorm/LayerNorm", epsilon=1e-5, axis=-1, stash_type=1)
        else:
            x, residual = norm(f"{p}/input_layernorm", f"{w}.input_layernorm.weight", residual, down)
        qkv = matmul(f"{p}/attn/qkv_proj/MatMul", f"{w}.attn.qkv_proj.MatMul", x)
        attention = f"{p}/attn/GroupQueryAttention"
        add("GroupQueryAttention", [qkv, "", "", f"past_key_values.{l}.key", f"past_key_values.{l}.value", seqlens, total, "cos_cache", "sin_cache", "", "", ""],
            [f"{attention}/output_0", f"present.{l}.key", f"present.{l}.value"], attention, ms,
            num_heads=o.heads, kv_num_heads=o.kv_heads, scale=float(head ** -0.5), local_window_size=-1, softcap=0.0, do_rotary=1, rotary_interleaved=0)
        out = matmul(f"{p}/attn/o_proj/MatMul", f"{w}.attn.o_proj.MatMul", f"{attention}/output_0")
        x, residual = norm(f"{p}/post_attention_layernorm", f"{w}.post_attention_layernorm.weight", residual, out)
        gate = matmul(f"{p}/mlp/gate_proj/MatMul", f"{w}.mlp.gate_proj.MatMul", x)
        up = matmul(f"{p}/mlp/up_proj/MatMul", f"{w}.mlp.up_proj.MatMul", x)
        add("Sigmoid", [gate], [f"{p}/mlp/act_fn/Sigmoid/output_0"], f"{p}/mlp/act_fn/Sigmoid")
        add("Mul", [gate, f"{p}/mlp/act_fn/Sigmoid/output_0"], [f"{p}/mlp/act_fn/Mul/output_0"], f"{p}/mlp/act_fn/Mul")
        add("Mul", [f"{p}/mlp/act_fn/Mul/output_0", up], [f"{p}/mlp/Mul/output_0"], f"{p}/mlp/Mul")
        down = matmul(f"{p}/mlp/down_proj/MatMul", f"{w}.mlp.down_proj.MatMul", f"{p}/mlp/Mul/output_0")
    x, _ = norm(f"/model/layers.{o.layers}/final_norm_layernorm", f"model.layers.{o.layers}.final_norm_layernorm.weight", residual, down, more=False)
    if last:
        constant("INT64/-1", I64, [-1], [])
        add("Gather", [x, "/model/constants/INT64/-1"], ["/lm_head/prune/Gather/output_0"], "/lm_head/prune/Gather", axis=1)
        add("Unsqueeze", ["/lm_head/prune/Gather/output_0", "/model/constants/INT64/[1]"], ["/lm_head/prune/Unsqueeze/output_0"], "/lm_head/prune/Unsqueeze")
        x = "/lm_head/prune/Unsqueeze/output_0"
    matmul("/lm_head/MatMul", "lm_head.MatMul", x, "logits")

    body = b"".join(nodes) + blob(2, "main_graph")
    for name, t in tensors.items():
        where = b"".join(blob(13, blob(1, k) + blob(2, str(v))) for k, v in (("location", t["file"]), ("offset", t["offset"]), ("length", t["size"])))
        body += blob(5, b"".join(num(1, d) for d in t["dims"]) + num(2, t["kind"]) + blob(8, name) + where + num(14, 1))
    cache = lambda length: ["batch_size", o.kv_heads, length, head]
    body += blob(11, value_info("input_ids", I64, ["batch_size", "sequence_length"]))
    body += blob(11, value_info("attention_mask", I64, ["batch_size", "total_sequence_length"]))
    body += blob(12, value_info("logits", real, ["batch_size", 1 if last else "sequence_length", o.vocab]))
    for l in range(o.layers):
        for part in ("key", "value"):
            body += blob(11, value_info(f"past_key_values.{l}.{part}", real, cache("past_sequence_length")))
            body += blob(12, value_info(f"present.{l}.{part}", real, cache("total_sequence_length")))
    return num(1, 10) + blob(2, "make_model.py") + blob(7, body) + blob(8, blob(1, "") + num(2, 22)) + blob(8, blob(1, ms) + num(2, 1))

# ---- the weights

def layout(o):
    """Every initializer with its shape, kind and place: files of at most 1 GB, offsets of whole pages."""
    head, real = o.hidden // o.heads, F16 if o.act == "f16" else F32
    tensors = {}
    def dense(name, *dims):
        tensors[name] = {"dims": list(dims), "kind": real, "size": int(np.prod(dims)) * (2 if real == F16 else 4)}
    def quantised(name, n, k):
        tensors[f"{name}.weight_Q4"] = {"dims": [n, k // 32, 16], "kind": U8, "size": n * k // 2, "k": k}
        dense(f"{name}.weight_scales", n, k // 32)
        tensors[f"{name}.weight_scales"]["k"] = k
    dense("model.embed_tokens.weight", o.vocab, o.hidden)
    dense("cos_cache", o.context, head // 2)
    dense("sin_cache", o.context, head // 2)
    for l in range(o.layers):
        w = f"model.layers.{l}"
        dense(f"{w}.input_layernorm.weight", o.hidden)
        quantised(f"{w}.attn.qkv_proj.MatMul", (o.heads + 2 * o.kv_heads) * head, o.hidden)
        quantised(f"{w}.attn.o_proj.MatMul", o.hidden, o.hidden)
        dense(f"{w}.post_attention_layernorm.weight", o.hidden)
        quantised(f"{w}.mlp.gate_proj.MatMul", o.inter, o.hidden)
        quantised(f"{w}.mlp.up_proj.MatMul", o.inter, o.hidden)
        quantised(f"{w}.mlp.down_proj.MatMul", o.hidden, o.inter)
    dense(f"model.layers.{o.layers}.final_norm_layernorm.weight", o.hidden)
    quantised("lm_head.MatMul", o.vocab, o.hidden)
    part, offset = 0, 0
    for t in tensors.values():
        if offset + t["size"] > o.part_bytes and offset:
            part, offset = part + 1, 0
        t["file"], t["offset"] = f"model_{o.dtype}.onnx_data" + (f"_{part}" if part else ""), offset
        offset = (offset + t["size"] + 4095) // 4096 * 4096
    return tensors

# Two normal draws, rounded as a symmetric quantiser does (2.5 standard deviations are 8 steps), packed low nibble first.
Z = np.sort(np.random.default_rng(7).standard_normal(1 << 14))[32::64]
NIBBLE = np.clip(np.round(Z * 8 / 2.5) + 8, 0, 15).astype(np.uint8)
PAIR = (NIBBLE[:, None] << 4 | NIBBLE[None, :]).ravel()[: 1 << 16] if len(NIBBLE) == 256 else None
assert PAIR is not None and len(PAIR) == 1 << 16

def fill(o, index, name, t, folder):
    """Writes one tensor; what it holds follows from the seed and its place alone."""
    rng, done = np.random.Generator(np.random.SFC64([o.seed, index])), 0
    real = "<f2" if t["kind"] == F16 else "<f4"
    def pieces():
        if name in ("cos_cache", "sin_cache"):
            half = t["dims"][1]
            angle = np.arange(o.context)[:, None] / 10000.0 ** (np.arange(half) / half)[None, :]
            yield (np.cos if name[0] == "c" else np.sin)(angle).astype(real)
            return
        left = int(np.prod(t["dims"]))
        while left:
            n = min(left, 1 << 21)
            left -= n
            if t["kind"] == U8:
                yield PAIR[np.frombuffer(rng.bytes(2 * n), "<u2")]
            elif name.endswith("weight_scales"):
                # Weights of deviation 0.02, less where many are summed into the residual.
                sigma = 0.02 if ("o_proj" not in name and "down_proj" not in name) else 0.02 / (2 * o.layers) ** 0.5 * 4
                yield (sigma * 2.5 / 8 * rng.uniform(0.8, 1.2, n)).astype(real)
            elif "layernorm" in name:
                yield rng.uniform(0.8, 1.2, n).astype(real)
            else:
                yield (0.05 * rng.standard_normal(n, np.float32)).astype(real)
    handle = os.open(os.path.join(folder, t["file"]), os.O_WRONLY)
    try:
        for piece in pieces():
            view = memoryview(np.ascontiguousarray(piece)).cast("B")
            while len(view):
                wrote = os.pwrite(handle, view, t["offset"] + done)
                done, view = done + wrote, view[wrote:]
    finally:
        os.close(handle)
    assert done == t["size"], (name, done, t["size"])

def options(arguments=None):
    p = argparse.ArgumentParser()
    p.add_argument("out")
    p.add_argument("--act", choices=["f32", "f16"], default="f32")
    for name, value in dict(hidden=3072, layers=32, heads=32, kv_heads=32, inter=8192, vocab=32064, context=4096, seed=1, part_bytes=1_000_000_000).items():
        p.add_argument("--" + name.replace("_", "-"), type=int, default=value)
    o = p.parse_args(arguments)
    o.dtype = "q4f16" if o.act == "f16" else "q4"
    return o

VARIANTS = {"plain": (4, False, False), "last": (4, True, False), "last-a0": (0, True, False), "graph": (4, True, True)}

def main():
    o, start = options(), time.monotonic()
    tensors = layout(o)
    data = os.path.join(o.out, "data")
    os.makedirs(data, exist_ok=True)
    files = sorted({t["file"] for t in tensors.values()}, key=lambda f: (len(f), f))
    for f in files:
        with open(os.path.join(data, f), "wb") as handle:
            handle.truncate(max(t["offset"] + t["size"] for t in tensors.values() if t["file"] == f))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda it: fill(o, it[0], *it[1], data), enumerate(tensors.items())))
    config = {
        "architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "hidden_size": o.hidden, "num_hidden_layers": o.layers, "num_attention_heads": o.heads,
        "num_key_value_heads": o.kv_heads, "head_dim": o.hidden // o.heads, "intermediate_size": o.inter, "vocab_size": o.vocab, "hidden_act": "silu",
        "max_position_embeddings": o.context, "original_max_position_embeddings": o.context, "rope_theta": 10000.0, "rope_scaling": None, "rms_norm_eps": 1e-5,
        "sliding_window": 2047, "tie_word_embeddings": False, "use_cache": True, "bos_token_id": 1, "torch_dtype": "float32",
        "made_up": {"seed": o.seed, "part_bytes": o.part_bytes},
        "transformers.js_config": {"dtype": o.dtype, "use_external_data_format": {f"model_{o.dtype}.onnx": len(files)},
                                   "kv_cache_dtype": {o.dtype: "float16" if o.act == "f16" else "float32"}},
    }
    for variant, (accuracy, last, on_gpu) in VARIANTS.items():
        folder = os.path.join(o.out, variant, "onnx")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, f"model_{o.dtype}.onnx"), "wb") as handle:
            handle.write(graph(o, tensors, accuracy, last, on_gpu))
        for f in files:
            link = os.path.join(folder, f)
            if os.path.lexists(link):
                os.remove(link)
            os.link(os.path.join(data, f), link)
        json.dump(config, open(os.path.join(o.out, variant, "config.json"), "w"), indent=1)
        # No end-of-text id: random weights must not end a run early.
        json.dump({"_from_model_config": True, "bos_token_id": 1}, open(os.path.join(o.out, variant, "generation_config.json"), "w"))
    sizes = ", ".join(f"{f} {os.path.getsize(os.path.join(data, f)) / 1e9:.2f} GB" for f in files)
    print(f"made in {time.monotonic() - start:.1f} s: {sizes}", file=sys.stderr)

if __name__ == "__main__":
    main()
