"""Makes smollm2.json and smollm2.safetensors: Hugging Face reading the SmolLM2 GGUF (dequantised to
f32, eager attention), fed token ids from llama.cpp's tokenizer.

    python make_smollm2.py SmolLM2-135M-Instruct.Q4_1.gguf
"""

import os

import numpy as np

from common import BOUND, HERE, check_pins, dump, setup_torch, sig
from reference import Phi3
from smollm2_common import LlamaCpp, gguf_path, hf_like_tokenizer, metadata, render_chat

check_pins()
torch = setup_torch()

from safetensors.torch import save_file  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402
from transformers.utils import logging  # noqa: E402

logging.set_verbosity_error()
logging.disable_progress_bar()

NEW = 48
CODE = '''Here is a small program. It reads 3 numbers, 10, 250 and 4096, and prints their sum.

```python
def parse(line: str) -> list[int]:
    values = []
    for part in line.split(","):
        part = part.strip()
        if part.isdigit():
            values.append(int(part))
    return values

def main() -> None:
    numbers = parse("10, 250, 4096")
    total = 0
    for i, n in enumerate(numbers):
        total += n
        print(f"step {i}: n = {n}, total = {total}")
    assert total == 4356, "10 + 250 + 4096 = 4356"

if __name__ == "__main__":
    main()
```

Explain the program step by step:

1.'''

# name -> text, or messages for the chat template (generation prompt added). Chosen for greedy
# continuations without near ties.
PROMPTS = {
    "plain_history": "The history of the Roman Empire began in",
    "plain_primes": "The first ten prime numbers are 2, 3, 5, 7,",
    "chat_gravity": [{"role": "user", "content": "What is gravity?"}],
    "chat_system": [
        {"role": "system", "content": "You are a helpful science tutor."},
        {"role": "user", "content": "What is photosynthesis?"},
    ],
    "long_code": CODE,
}
# prompts of which one row is kept whole
FULL = {"chat_gravity": -1, "long_code": -1}


def as_phi3(path):
    """The GGUF's tensors dequantised and fused into a Phi-3 checkpoint: what `preflight convert` makes."""
    import gguf

    t = {x.name: gguf.dequantize(x.data, x.tensor_type).astype(np.float64) for x in gguf.GGUFReader(path).tensors}

    def unpermute(w, heads):
        # GGUF stores the two halves of each head interleaved
        return w.reshape(heads, -1, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)

    w = {"model.embed_tokens.weight": t["token_embd.weight"], "model.norm.weight": t["output_norm.weight"]}
    for i in range(30):
        b, p = f"blk.{i}.", f"model.layers.{i}."
        q, k = unpermute(t[b + "attn_q.weight"], 9), unpermute(t[b + "attn_k.weight"], 3)
        w[p + "self_attn.qkv_proj.weight"] = np.concatenate([q, k, t[b + "attn_v.weight"]])
        w[p + "mlp.gate_up_proj.weight"] = np.concatenate([t[b + "ffn_gate.weight"], t[b + "ffn_up.weight"]])
        for ours, theirs in (
            ("self_attn.o_proj", "attn_output"), ("mlp.down_proj", "ffn_down"),
            ("input_layernorm", "attn_norm"), ("post_attention_layernorm", "ffn_norm"),
        ):
            w[f"{p}{ours}.weight"] = t[f"{b}{theirs}.weight"]
    return w


def main():
    path = gguf_path()
    meta = metadata(path)
    llama = LlamaCpp(path)
    decode = hf_like_tokenizer(meta).decode

    def load(dtype):
        model = AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype=dtype, attn_implementation="eager"
        ).eval()
        assert type(model).__name__ == "LlamaForCausalLM" and model.dtype == dtype
        return model

    model = load(torch.float32)
    conf = model.config
    vocab = conf.vocab_size
    rng = np.random.Generator(np.random.PCG64(2024))
    columns = np.sort(rng.choice(vocab, 256, replace=False))
    few = columns[::8]

    out, tensors, golds = [], {"columns": columns.astype(np.int32)}, {}
    for name, prompt in PROMPTS.items():
        messages = None if isinstance(prompt, str) else prompt
        text = prompt if messages is None else render_chat(meta["tokenizer.chat_template"], messages, True)
        ids = llama.tokenize(text, True)
        assert decode(ids, skip_special_tokens=False) == text
        n = len(ids)
        logits = model(torch.tensor([ids]), use_cache=False).logits[0].float().numpy()
        golds[name] = (ids, logits)
        peak = np.abs(logits).max()

        # greedy, with the cache; every step again as one full forward
        gen = model.generate(
            torch.tensor([ids]), attention_mask=torch.ones(1, n, dtype=torch.long), do_sample=False,
            max_new_tokens=NEW, eos_token_id=None, pad_token_id=None, output_logits=True, return_dict_in_generate=True,
        )
        new = gen.sequences[0, n:].tolist()
        steps = np.stack([x[0].float().numpy() for x in gen.logits])
        again = model(torch.tensor([ids + new[:-1]]), use_cache=False).logits[0, n - 1 :].float().numpy()
        drift = np.abs(again - steps).max() / np.abs(steps).max()
        assert again.argmax(-1).tolist() == new and drift < BOUND / 10, (name, drift)
        top = np.sort(steps, -1)
        gap = (top[:, -1] - top[:, -2]).min()
        stops = {conf.eos_token_id} if isinstance(conf.eos_token_id, int) else set(conf.eos_token_id or [])
        stops |= {0, 2}
        print(f"{name:14} n={n:<4} peak={peak:.2f} gap={gap:.3f} ({gap / np.abs(steps).max():.1e}) drift={drift:.0e} stops={stops & set(new)}")
        print("   ", repr(decode(new, skip_special_tokens=False)), flush=True)
        assert gap > 10 * BOUND * np.abs(steps).max(), f"{name}: a greedy step is close to a coin flip"
        assert not stops & set(new), f"{name}: greedy stops early"

        rows = sorted({0, 1, 2, n // 4, n // 2, n - 3, n - 2, n - 1})
        order = np.argsort(-logits[rows], -1, kind="stable")[:, :20]
        wide = logits.astype(np.float64)
        lse = np.log(np.exp(wide - wide.max(-1, keepdims=True)).sum(-1)) + wide.max(-1)
        tensors |= {
            f"{name}.all_rows": logits[:, few],
            f"{name}.row_max": logits.max(-1),
            f"{name}.row_argmax": logits.argmax(-1).astype(np.int32),
            f"{name}.row_logsumexp": lse.astype(np.float32),
            f"{name}.sample": logits[rows][:, columns],
            f"{name}.top_ids": order.astype(np.int32),
            f"{name}.top_values": np.take_along_axis(logits[rows], order, -1),
        }
        entry = {
            "name": name,
            "messages": messages,
            "text": text,
            "ids": ids,
            "rows": rows,
            "full_row": None,
            "max_abs_logit": sig(peak, 9),
            "bf16_max_diff": None,
            "f16_max_diff": None,
            "greedy": {
                "ids": new,
                "text": decode(new, skip_special_tokens=False),
                "min_gap": sig(gap),
                "max_abs_logit": sig(np.abs(steps).max(), 9),
            },
        }
        if name in FULL:
            entry["full_row"] = n + FULL[name]
            tensors[f"{name}.full"] = logits[FULL[name]]
        out.append(entry)

    # the converted model in the plain numpy reference agrees
    cfg = conf.to_dict() | {"rope_theta": conf.rope_parameters["rope_theta"], "rope_parameters": None, "sliding_window": None}
    cfg.pop("head_dim", None)
    phi3 = Phi3(as_phi3(path), cfg)
    for entry in out:
        ids, gold = golds[entry["name"]]
        off = np.abs(phi3.forward(ids)[0] - gold).max() / np.abs(gold).max()
        print(f"{entry['name']:14} converted to phi3, numpy f64: off by {off:.1e} of the peak", flush=True)
        assert off < BOUND / 4, entry["name"]
    del phi3

    for key, dtype in (("bf16_max_diff", torch.bfloat16), ("f16_max_diff", torch.float16)):
        model = load(dtype)
        for entry in out:
            ids, gold = golds[entry["name"]]
            low = model(torch.tensor([ids]), use_cache=False).logits[0].float().numpy()
            entry[key] = sig(np.abs(low - gold).max())
            print(f"{entry['name']:14} {key} {entry[key]} = {entry[key] / entry['max_abs_logit']:.1e} of the peak", flush=True)

    rope = conf.rope_parameters
    dump(HERE / "smollm2.json", {
        "gguf": path.name,
        "vocab_size": vocab,
        "config": {
            k: getattr(conf, k) for k in (
                "hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads "
                "max_position_embeddings rms_norm_eps tie_word_embeddings bos_token_id eos_token_id vocab_size"
            ).split()
        } | {"rope_theta": rope["rope_theta"]},
        "all_rows_columns": few.tolist(),
        "prompts": out,
    })
    file = HERE / "smollm2.safetensors"
    save_file({k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in tensors.items()}, file)
    file.chmod(0o644)
    print(f"{file.name}: {file.stat().st_size} bytes")


main()
os._exit(0)  # the llama.cpp server has no orderly end
