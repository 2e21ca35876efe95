"""Makes checkpoints/ and cases/: small random Phi-3 models and what Hugging Face computes with them.

    python make_random.py            all
    python make_random.py NAME...    only these cases (checkpoints are always made)

Self-checks, each of which stops the script: the plain numpy reference agrees with Hugging Face; every
deliberate mistake in reference.py that a case names moves its logits far beyond the bound; greedy ids
agree with the reference and keep a gap between the two best logits.
"""

import copy
import hashlib
import json
import math
import pathlib
import shutil
import sys
import tempfile

import numpy as np

from common import BOUND, HERE, check_pins, dump, flat, setup_torch, sig
from random_cases import CASES, CHECKPOINTS
from reference import MUTATIONS, Phi3, bf16_round

check_pins()
torch = setup_torch()

from safetensors.torch import load_file, save_file  # noqa: E402
from transformers import (  # noqa: E402
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Phi3ForCausalLM,
)
from transformers.utils import logging  # noqa: E402

logging.set_verbosity_error()
logging.disable_progress_bar()

# A mistake counts as noticed at 20 times the bound.
NOTICED = 20 * BOUND
QK_GAIN = 1.25
# Greedy steps keep at least this gap, relative to max |logit|: 25 times the bound.
MIN_GAP = 25 * BOUND


def rng_for(*key):
    return np.random.Generator(np.random.PCG64(int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "little")))


def make_weights(c):
    """Weights of one checkpoint as f32 arrays that bf16 and f16 both hold exactly."""
    rng = rng_for("weights", c["seed"])
    h, q, k, i = c["hidden"], c["heads"] * c["head_dim"], c["kv"] * c["head_dim"], c["inter"]

    def mat(rows, cols, gain):
        return rng.standard_normal((rows, cols)) * gain / math.sqrt(cols)

    def norm():
        return 1 + 0.3 * rng.standard_normal(h)

    w = {"model.embed_tokens.weight": rng.standard_normal((c["vocab"], h)) * c["embed"]}
    for n in range(c["layers"]):
        p = f"model.layers.{n}."
        # query and key gains above 1 make attention peaked, so that positions matter
        qkv = np.concatenate([mat(q, h, QK_GAIN), mat(k, h, QK_GAIN), mat(k, h, 1.0)])
        w[p + "input_layernorm.weight"] = norm()
        w[p + "self_attn.qkv_proj.weight"] = qkv
        w[p + "self_attn.o_proj.weight"] = mat(h, q, 1.0)
        w[p + "post_attention_layernorm.weight"] = norm()
        w[p + "mlp.gate_up_proj.weight"] = mat(2 * i, h, 1.0)
        w[p + "mlp.down_proj.weight"] = mat(h, i, 1.0)
    w["model.norm.weight"] = norm()
    if not c["tied"]:
        w["lm_head.weight"] = mat(c["vocab"], h, 1.5)
    w = {n: bf16_round(x.astype(np.float32)) for n, x in w.items()}
    w = {n: x.astype(np.float16).astype(np.float32) for n, x in w.items()}
    for n, x in w.items():
        assert np.array_equal(bf16_round(x), x), n
    return w


def write_checkpoint(name, c):
    folder = HERE / "checkpoints" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    dtype = {"bf16": torch.bfloat16, "f16": torch.float16}[c["store"]]
    w = {n: torch.from_numpy(x).to(dtype) for n, x in make_weights(c).items()}
    meta = {"format": "pt"}
    if c["shards"] == 1:
        save_file(w, folder / "model.safetensors", meta)
    else:
        # the second shard holds layer 1, the final norm and the head; the index starts with lm_head
        second = {n for n in w if "layers.1." in n or n in ("model.norm.weight", "lm_head.weight")}
        files = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
        for f, part in zip(files, ([n for n in w if n not in second], [n for n in w if n in second])):
            save_file({n: w[n] for n in part}, folder / f, meta)
        index = {
            "metadata": {"total_size": sum(t.numel() * t.element_size() for t in w.values())},
            "weight_map": {n: files[n in second] for n in sorted(w)},
        }
        dump(folder / "model.safetensors.index.json", index)
    for f in folder.iterdir():
        f.chmod(0o644)
    return folder


def base_config(name, c):
    """The keys of a published Phi-3 config.json, with this checkpoint's shapes."""
    return {
        "_name_or_path": f"random-{name}",
        "architectures": ["Phi3ForCausalLM"],
        "attention_dropout": 0.0,
        "auto_map": {"AutoConfig": "configuration_phi3.Phi3Config", "AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM"},
        "bos_token_id": 1,
        "embd_pdrop": 0.0,
        "eos_token_id": c["vocab"] - 1,
        "hidden_act": "silu",
        "hidden_size": c["hidden"],
        "initializer_range": 0.02,
        "intermediate_size": c["inter"],
        "max_position_embeddings": 4096,
        "model_type": "phi3",
        "num_attention_heads": c["heads"],
        "num_hidden_layers": c["layers"],
        "num_key_value_heads": c["kv"],
        "original_max_position_embeddings": 4096,
        "pad_token_id": 0,
        "resid_pdrop": 0.0,
        "rms_norm_eps": 1e-05,
        "rope_scaling": None,
        "rope_theta": 10000.0,
        "sliding_window": None,
        "tie_word_embeddings": c["tied"],
        "torch_dtype": {"bf16": "bfloat16", "f16": "float16"}[c["store"]],
        "transformers_version": "4.43.3",
        "use_cache": True,
        "attention_bias": False,
        "vocab_size": c["vocab"],
    }


def load_weights(folder):
    w = {}
    for f in sorted(folder.glob("*.safetensors")):
        w |= load_file(f)
    return w


def split_for_llama(w, c):
    """qkv_proj and gate_up_proj cut into the separate tensors of the Llama family."""
    q, k = c["heads"] * c["head_dim"], c["kv"] * c["head_dim"]
    out = {}
    for n, t in w.items():
        if n.endswith("qkv_proj.weight"):
            for part, x in zip("qkv", (t[:q], t[q : q + k], t[q + k :])):
                out[n.replace("qkv_proj", f"{part}_proj")] = x.contiguous()
        elif n.endswith("gate_up_proj.weight"):
            for part, x in zip(("gate", "up"), t.chunk(2)):
                out[n.replace("gate_up_proj", f"{part}_proj")] = x.contiguous()
        else:
            out[n] = t
    return out


def hf_model(folder, c, cfg, load, dtype):
    """The Hugging Face model of this case, loaded from a folder as any model would be."""
    cfg = copy.deepcopy(cfg)
    with tempfile.TemporaryDirectory() as tmp:
        tmp = pathlib.Path(tmp)
        if load:
            assert list(load) == ["rope_scaling"] and load["rope_scaling"]["type"] == "linear"
            window = cfg.get("sliding_window")
            kind, conf = (LlamaForCausalLM, LlamaConfig) if window is None else (MistralForCausalLM, MistralConfig)
            keep = ("vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads "
                    "max_position_embeddings rms_norm_eps rope_theta tie_word_embeddings sliding_window bos_token_id "
                    "eos_token_id pad_token_id hidden_act").split()
            cfg = {k: cfg[k] for k in keep if k in cfg} | {"rope_scaling": dict(load["rope_scaling"])}
            if window is None:
                cfg.pop("sliding_window", None)
            save_file(split_for_llama(load_weights(folder), c), tmp / "model.safetensors", {"format": "pt"})
            conf.from_dict(copy.deepcopy(cfg)).save_pretrained(tmp)
        else:
            kind = Phi3ForCausalLM
            rope = cfg.get("rope_scaling")
            if rope and rope.get("type") == "su":
                # 5.23.0 turns su into longrope, but only after it has looked for longrope's original
                # length, and then misses it (KeyError). Given inside as well, the file loads.
                rope["original_max_position_embeddings"] = cfg["original_max_position_embeddings"]
            for f in folder.iterdir():
                (tmp / f.name).symlink_to(f)
            (tmp / "config.json").write_text(json.dumps(cfg))
        model, info = kind.from_pretrained(tmp, dtype=dtype, attn_implementation="eager", output_loading_info=True)
    bad = {k: v for k, v in info.items() if v and k in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")}
    assert not bad, bad
    model.eval()
    assert model.dtype == dtype and model.config._attn_implementation == "eager"
    return model


def logits_of(model, tokens):
    return model(torch.tensor([tokens]), use_cache=False).logits[0].float().numpy()


def greedy(model, prompt, new):
    out = model.generate(
        torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long), do_sample=False,
        max_new_tokens=new, output_logits=True, return_dict_in_generate=True,
    )
    return out.sequences[0, len(prompt):].tolist(), np.stack([x[0].float().numpy() for x in out.logits])


def gaps(rows):
    top = np.sort(rows, -1)
    return top[:, -1] - top[:, -2]


def sequence(rng, vocab, n):
    """n tokens; id 0 (the pad id), the last id and repeats occur."""
    t = rng.integers(0, vocab, n).tolist()
    if n > 4:
        t[1], t[3], t[4] = 0, vocab - 1, t[2]
    return t


def find_greedy(name, model, vocab, plen, new, eos):
    """The prompt, of many seeded ones, whose continuation is varied and furthest from a coin flip."""
    best = None
    for seed in range(40):
        prompt = rng_for("prompt", name, seed).integers(1, vocab, plen).tolist()
        ids, rows = greedy(model, prompt, new)
        if set(ids) & eos or len(set(ids)) < min(6, len(ids)):
            continue
        score = gaps(rows).min() / np.abs(rows).max()
        if best is None or score > best[0]:
            best = (score, prompt, ids, rows)
    assert best, f"{name}: no varied continuation"
    assert best[0] >= MIN_GAP, f"{name}: smallest gap only {best[0]:.2e} of max |logit|"
    return best[1:]


def pick_rows(n, cfg):
    """All rows of a short sequence; else the first, the last and those around each boundary."""
    if n <= 20:
        return list(range(n))
    want = {0, 1, 2, n // 2, n - 3, n - 2, n - 1}
    for b in (cfg.get("sliding_window"), cfg.get("original_max_position_embeddings")):
        if b and b <= n:
            want |= {b - 2, b - 1, b, b + 1}
    return sorted(r for r in want if 0 <= r < n)


def make_case(name, ck, changes, more, folder, summary):
    c = CHECKPOINTS[ck]
    cfg = base_config(ck, c)
    for k, v in changes.items():
        if v is ...:
            cfg.pop(k, None)
        else:
            cfg[k] = copy.deepcopy(v)
    load = more.get("load")
    n, plen, new = more.get("n", 20), more.get("prompt", 6), more.get("new", 24)
    tokens = sequence(rng_for("tokens", name), c["vocab"], n)
    rows = pick_rows(n, cfg)
    w64 = {k: t.double().numpy() for k, t in load_weights(folder).items()}
    # The reference has no class defaults but these two.
    ref_cfg = {"max_position_embeddings": 4096, **cfg}

    eos = cfg.get("eos_token_id")
    model = hf_model(folder, c, cfg | {"eos_token_id": None} if more.get("stop") else cfg, load, torch.float32)
    if more.get("stop"):
        # learn what comes, then declare a later id the end (the second of a list)
        prompt, ids, _ = find_greedy(name, model, c["vocab"], plen, new, set())
        at = next(i for i in range(8, new) if ids[i] not in ids[:i])
        other = [t for t in range(2, c["vocab"]) if t not in ids]
        cfg["eos_token_id"] = ref_cfg["eos_token_id"] = ids[at] if more["stop"] == "int" else [other[0], ids[at], other[-1]]
        model = hf_model(folder, c, cfg, load, torch.float32)
        want, (ids, grows) = ids[: at + 1], greedy(model, prompt, new)
        assert ids == want, (ids, want)
    else:
        prompt, ids, grows = find_greedy(name, model, c["vocab"], plen, new, {eos} if isinstance(eos, int) else set(eos or []))

    full = logits_of(model, tokens)
    gold = full[rows]
    peak = float(np.abs(gold).max())

    # 1. the independent reference agrees, on the forward and on every greedy step
    ref = Phi3(w64, ref_cfg, load)
    mine = ref.forward(tokens)[0]
    off = np.abs(mine - full).max() / peak
    # f32 angles lose precision with the position: position * 6e-8 radians
    tol = BOUND / 20 * max(1, n / 60)
    assert off < tol, f"{name}: reference is off by {off:.1e}"
    steps = ref.generate(prompt, ids)
    goff = np.abs(steps - grows).max() / np.abs(grows).max()
    assert goff < BOUND / 20 * max(1, plen / 60), f"{name}: reference is off by {goff:.1e} in greedy"
    assert steps.argmax(-1).tolist() == ids

    # 2. every mistake that matters here is noticed
    noticed = {}
    for mut in MUTATIONS:
        bad = Phi3(w64, ref_cfg, load, mut).forward(tokens)[0][rows]
        d = np.abs(bad - mine[rows]).max() / peak
        if d > 1e-9:
            noticed[mut] = d
    total = len(prompt) + len(ids)
    if ref.rope.orig and len(prompt) <= ref.rope.orig < total - 1:
        d = np.abs(ref.generate(prompt, ids, stale=True) - grows).max() / np.abs(grows).max()
        noticed["stale_keys_at_crossing"] = d
    for mut in more["must"] + (["stale_keys_at_crossing"] if "stale_keys_at_crossing" in noticed else []):
        assert noticed.get(mut, 0) > NOTICED, f"{name}: does not notice {mut}: {noticed.get(mut, 0):.1e}"
    weak = {m: d for m, d in noticed.items() if d <= NOTICED}
    summary[name] = noticed

    # 3. reduced precision, for stating a bound
    low = {}
    for key, dt in (("bf16", torch.bfloat16), ("f16", torch.float16)):
        low[key] = np.abs(logits_of(hf_model(folder, c, cfg, load, dt), tokens)[rows] - gold).max()

    # logits of a few greedy steps: first, last and around each crossing
    at = {0, len(ids) - 1}
    for b in (ref.rope.orig, cfg.get("sliding_window")):
        if b:
            at |= {s for s in (b - len(prompt), b - len(prompt) + 1, b - len(prompt) + 2) if 0 <= s < len(ids)}
    at = sorted(at)

    out = {
        "checkpoint": ck,
        "note": more["note"],
        "config": cfg,
        "load_config": load,
        "tokens": tokens,
        "rows": rows,
        "max_abs_logit": sig(peak, 9),
        "bf16_max_diff": sig(low["bf16"]),
        "f16_max_diff": sig(low["f16"]),
        "greedy": {
            "prompt": prompt,
            "max_new": new,
            "ids": ids,
            "stop": "eos" if len(ids) < new else "length",
            "min_gap": sig(gaps(grows).min()),
            "max_abs_logit": sig(np.abs(grows).max(), 9),
            "logit_steps": at,
        },
        "notices": {m: sig(d, 2) for m, d in sorted(noticed.items(), key=lambda x: -x[1]) if d > NOTICED},
    }
    dump(HERE / "cases" / f"{name}.json", out)
    save_file(
        {"logits": torch.from_numpy(gold.copy()), "greedy_logits": torch.from_numpy(grows[at].copy())},
        HERE / "cases" / f"{name}.safetensors",
    )
    (HERE / "cases" / f"{name}.safetensors").chmod(0o644)
    print(
        f"{name:34} n={n:<3} peak={peak:7.3f} ref={off:.0e}/{goff:.0e} gap={gaps(grows).min() / np.abs(grows).max():.1e} "
        f"bf16={low['bf16'] / peak:.1e} f16={low['f16'] / peak:.1e} notices={len(noticed) - len(weak)} "
        f"weak={ {m: sig(d, 1) for m, d in weak.items()} }",
        flush=True,
    )


def main():
    only = set(sys.argv[1:])
    folders = {n: write_checkpoint(n, c) for n, c in CHECKPOINTS.items()}
    if not only:
        shutil.rmtree(HERE / "cases", ignore_errors=True)
    (HERE / "cases").mkdir(exist_ok=True)
    summary = {}
    for name, ck, changes, more in CASES:
        if not only or name in only:
            make_case(name, ck, changes, more, folders[ck], summary)
    if not only:
        print("\nmistake -> cases that notice it, smallest and largest relative difference")
        for mut in [*MUTATIONS, "stale_keys_at_crossing"]:
            d = [s[mut] for s in summary.values() if s.get(mut, 0) > NOTICED]
            assert d, f"no case notices {mut}"
            print(f"  {mut:28} {len(d):3} cases  {min(d):.1e} .. {max(d):.1e}")


main()
