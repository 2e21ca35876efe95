"""A second, independent Phi-3 in plain numpy (f64), written from the description and not
from the Hugging Face code. It has two jobs: it must agree with Hugging Face on every case, and it
can be made wrong on purpose (`mut`) to show that every case notices the mistake."""

import math

import numpy as np

# name -> what an engine with this mistake does
MUTATIONS = {
    "window_plus_1": "sees W+1 keys",
    "window_minus_1": "sees W-1 keys",
    "no_window": "ignores sliding_window",
    "no_attention_factor": "attention factor left out",
    "attention_factor_long_only": "attention factor only with the long factors",
    "attention_factor_once": "attention factor on queries only (so once instead of squared)",
    "attention_factor_from_ratio": "explicit factor / attention_factor ignored",
    "multiply_factors": "inv_freq multiplied by the factor instead of divided",
    "per_position_switch": "short or long chosen per position, not per sequence",
    "always_short": "long factors never used",
    "always_long": "short factors never used",
    "switch_one_early": "long already at length == original_max_position_embeddings",
    "switch_one_late": "still short at length == original_max_position_embeddings + 1",
    "orig_is_max": "original_max_position_embeddings read as max_position_embeddings",
    "orig_nested_wins": "original_max_position_embeddings inside rope_parameters beats the top-level key",
    "no_scaling": "rope scaling ignored altogether",
    "qkv_thirds": "qkv rows cut into three equal parts",
    "qkv_interleaved": "qkv rows read as one block per kv group",
    "kv_swapped": "k and v swapped",
    "gate_up_swapped": "up first, gate second",
    "gqa_modulo": "query head h reads kv head h % kv_heads",
    "rope_interleaved": "pairs (2i, 2i+1) rotated instead of (i, i + d/2)",
    "rope_reversed": "rotation by the negative angle",
    "full_rotary": "partial_rotary_factor ignored",
    "rotary_tail": "the last dims of the head rotated instead of the first",
    "rotary_head_dim_exponent": "frequencies of the full head, cut to the rotary part",
    "rotary_scale": "softmax scale from the rotary dims",
    "hidden_over_heads_scale": "softmax scale from hidden_size / heads",
    "theta_10000": "rope_theta ignored",
    "eps_1e6": "rms_norm_eps 1e-6 instead of the file's or the default",
    "eps_zero": "rms_norm_eps left out",
    "norm_one_plus": "norm weight taken as 1 + w",
    "no_final_norm": "final norm left out",
    "gelu": "gelu (tanh) instead of silu",
    "rope_bf16": "rope angles built in bf16",
    "linear_ignored": "linear scaling ignored",
    "linear_multiplied": "linear: positions multiplied by the factor",
    "pad_row_zero": "embedding row of pad_token_id read as zeros",
}


def bf16_round(x):
    u = np.asarray(x, np.float32).view(np.uint32).astype(np.uint64)
    u = (u + 0x7FFF + ((u >> 16) & 1)) & 0xFFFF0000
    return u.astype(np.uint32).view(np.float32)


class Rope:
    def __init__(self, cfg, load, mut):
        rp = dict(cfg.get("rope_scaling") or cfg.get("rope_parameters") or {})
        theta = rp.get("rope_theta", cfg.get("rope_theta", 10000.0))
        prf = rp.get("partial_rotary_factor", cfg.get("partial_rotary_factor", 1.0))
        if load and "rope_scaling" in load:
            rp = dict(load["rope_scaling"])
        kind = rp.get("rope_type", rp.get("type", "default"))
        hd = cfg.get("head_dim", cfg["hidden_size"] // cfg["num_attention_heads"])
        if mut == "theta_10000":
            theta = 10000.0
        if mut == "full_rotary":
            prf = 1.0
        dim = int(hd * prf)
        pairs = (dim + 1) // 2
        expo = np.arange(pairs) * 2 / (hd if mut == "rotary_head_dim_exponent" else dim)
        base = theta**expo
        self.dims = 2 * pairs
        self.kind = kind
        self.att = 1.0
        self.short = self.long = 1.0 / base
        self.orig = None
        if kind in ("su", "longrope") and mut != "no_scaling":
            orig = cfg.get("original_max_position_embeddings", 4096)
            if mut == "orig_nested_wins":
                orig = rp.get("original_max_position_embeddings", orig)
            if mut == "orig_is_max":
                orig = cfg["max_position_embeddings"]
            ratio = cfg["max_position_embeddings"] / orig
            factor = rp.get("factor", ratio)
            if mut == "attention_factor_from_ratio":
                factor = ratio
            self.att = 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(orig))
            if mut != "attention_factor_from_ratio":
                self.att = rp.get("attention_factor", self.att)
            if mut == "no_attention_factor":
                self.att = 1.0
            s, l = np.array(rp["short_factor"], float), np.array(rp["long_factor"], float)
            if len(s) != pairs:  # only under a mutation of the rotary size
                s, l = np.resize(s, pairs), np.resize(l, pairs)
            if mut == "multiply_factors":
                self.short, self.long = s / base, l / base
            else:
                self.short, self.long = 1 / (s * base), 1 / (l * base)
            if mut == "always_short":
                self.long = self.short
            if mut == "always_long":
                self.short = self.long
            self.orig = orig + {"switch_one_early": -1, "switch_one_late": 1}.get(mut, 0)
            self.true_orig = orig
        if kind == "linear" and mut not in ("linear_ignored", "no_scaling"):
            f = rp["factor"]
            self.short = self.long = self.short * f if mut == "linear_multiplied" else self.short / f
        self.mut = mut

    def is_long(self, total):
        return self.orig is not None and total > self.orig

    def tables(self, pos, total):
        """cos and sin for positions `pos` in a sequence of `total` tokens; [n, pairs]."""
        long = self.is_long(total)
        inv = np.broadcast_to(self.long if long else self.short, (len(pos), len(self.short)))
        if self.mut == "per_position_switch" and self.orig is not None:
            inv = np.where(np.array(pos)[:, None] >= self.true_orig, self.long, self.short)
        ang = np.array(pos, float)[:, None] * inv
        att = self.att
        if self.mut == "attention_factor_long_only" and not long:
            att = 1.0
        if self.mut == "rope_bf16":
            ang = bf16_round(bf16_round(pos)[:, None] * bf16_round(inv)).astype(float)
            return bf16_round(np.cos(ang) * att).astype(float), bf16_round(np.sin(ang) * att).astype(float)
        return np.cos(ang) * att, np.sin(ang) * att


class Phi3:
    """`weights`: name -> f64 array. `cfg`: the config.json object. `load`: load-time overrides."""

    def __init__(self, weights, cfg, load=None, mut=None):
        self.w, self.cfg, self.mut = weights, cfg, mut
        self.rope = Rope(cfg, load, mut)
        self.heads = cfg["num_attention_heads"]
        self.kv = cfg.get("num_key_value_heads") or self.heads
        self.hd = cfg.get("head_dim", cfg["hidden_size"] // self.heads)
        self.eps = {"eps_1e6": 1e-6, "eps_zero": 0.0}.get(mut, cfg.get("rms_norm_eps", 1e-5))
        w = cfg.get("sliding_window")
        if mut == "no_window":
            w = None
        if w is not None:
            w += {"window_plus_1": 1, "window_minus_1": -1}.get(mut, 0)
        self.window = w
        d = self.hd
        if mut == "rotary_scale":
            d = self.rope.dims
        if mut == "hidden_over_heads_scale":
            d = cfg["hidden_size"] // self.heads
        self.scale = 1 / math.sqrt(d)

    def norm(self, x, w):
        if self.mut == "norm_one_plus":
            w = 1 + w
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps) * w

    def rotate(self, x, cos, sin):  # x [heads, n, hd]
        d = self.rope.dims
        cos, sin = cos[None], sin[None]
        if self.mut == "rope_reversed":
            sin = -sin
        if self.mut == "rotary_tail":
            keep, rot = x[..., : x.shape[-1] - d], x[..., x.shape[-1] - d :]
        else:
            rot, keep = x[..., :d], x[..., d:]
        if self.mut == "rope_interleaved":
            a, b = rot[..., 0::2], rot[..., 1::2]
            out = np.empty_like(rot)
            out[..., 0::2], out[..., 1::2] = a * cos - b * sin, b * cos + a * sin
        else:
            a, b = rot[..., : d // 2], rot[..., d // 2 :]
            out = np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)
        return np.concatenate([keep, out] if self.mut == "rotary_tail" else [out, keep], -1)

    def split(self, qkv):
        n, (h, k, d) = len(qkv), (self.heads, self.kv, self.hd)
        if self.mut == "qkv_interleaved":
            g = qkv.reshape(n, k, h // k + 2, d)
            q, kk, v = g[:, :, : h // k].reshape(n, h, d), g[:, :, h // k], g[:, :, h // k + 1]
            return q.transpose(1, 0, 2), kk.transpose(1, 0, 2), v.transpose(1, 0, 2)
        q, kk, v = qkv[:, : h * d], qkv[:, h * d : (h + k) * d], qkv[:, (h + k) * d :]
        if self.mut == "qkv_thirds" and h != k:
            t = qkv.shape[1] // 3
            parts = [qkv[:, :t], qkv[:, t : 2 * t], qkv[:, 2 * t :]]
            q, kk, v = (np.resize(p.T, (m, n)).T for p, m in zip(parts, (h * d, k * d, k * d)))
        if self.mut == "kv_swapped":
            kk, v = v, kk
        return tuple(t.reshape(n, m, d).transpose(1, 0, 2) for t, m in ((q, h), (kk, k), (v, k)))

    def forward(self, tokens, cache=None):
        """Logits of all `tokens`; `cache` is a list of (k, v) per layer of the tokens before them."""
        w, n = self.w, len(tokens)
        past = 0 if not cache else cache[0][0].shape[1]
        pos = np.arange(past, past + n)
        cos, sin = self.rope.tables(pos, past + n)
        emb = w["model.embed_tokens.weight"]
        if self.mut == "pad_row_zero" and self.cfg.get("pad_token_id") is not None:
            emb = emb.copy()
            emb[self.cfg["pad_token_id"]] = 0
        x = emb[np.array(tokens)]
        kpos = np.arange(past + n)
        seen = kpos[None] <= pos[:, None]
        if self.window is not None:
            seen &= kpos[None] > pos[:, None] - self.window
        new = []
        for i in range(self.cfg["num_hidden_layers"]):
            p = f"model.layers.{i}."
            y = self.norm(x, w[p + "input_layernorm.weight"])
            q, k, v = self.split(y @ w[p + "self_attn.qkv_proj.weight"].T)
            q = self.rotate(q, cos, sin)
            if self.mut == "attention_factor_once":
                k = self.rotate(k, cos / self.rope.att, sin / self.rope.att)
            else:
                k = self.rotate(k, cos, sin)
            if cache:
                k, v = np.concatenate([cache[i][0], k], 1), np.concatenate([cache[i][1], v], 1)
            new.append((k, v))
            g = self.heads // self.kv
            idx = np.arange(self.heads) % self.kv if self.mut == "gqa_modulo" else np.arange(self.heads) // g
            s = q @ k[idx].transpose(0, 2, 1) * self.scale
            s = np.where(seen[None], s, -np.inf)
            s = np.exp(s - np.where(np.isinf(m := s.max(-1, keepdims=True)), 0, m))
            s = s / np.maximum(s.sum(-1, keepdims=True), 1e-300)
            a = (s @ v[idx]).transpose(1, 0, 2).reshape(n, -1)
            x = x + a @ w[p + "self_attn.o_proj.weight"].T
            y = self.norm(x, w[p + "post_attention_layernorm.weight"])
            gate, up = np.split(y @ w[p + "mlp.gate_up_proj.weight"].T, 2, -1)
            if self.mut == "gate_up_swapped":
                gate, up = up, gate
            if self.mut == "gelu":
                act = 0.5 * gate * (1 + np.tanh(math.sqrt(2 / math.pi) * (gate + 0.044715 * gate**3)))
            else:
                act = gate / (1 + np.exp(-gate))
            x = x + (up * act) @ w[p + "mlp.down_proj.weight"].T
        if self.mut != "no_final_norm":
            x = self.norm(x, w["model.norm.weight"])
        head = emb if self.cfg.get("tie_word_embeddings") else w["lm_head.weight"]
        return x @ head.T, new

    def generate(self, prompt, steps, stale=False):
        """Logits row of each greedy step, following `steps` (the expected ids). Keys are computed
        anew when the sequence crosses into the long factors, unless `stale`."""
        rows, cache, tokens = [], None, list(prompt)
        for tok in steps:
            crossing = cache and self.rope.is_long(len(tokens)) and not self.rope.is_long(len(tokens) - 1)
            if cache is None or (crossing and not stale):
                logits, cache = self.forward(tokens)
            else:
                logits, cache = self.forward(tokens[-1:], cache)
            rows.append(logits[-1])
            tokens.append(tok)
        return np.array(rows)
