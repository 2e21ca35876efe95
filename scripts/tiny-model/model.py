"""The model: its config, and a plain PyTorch version of it that trains fast. export.py checks it against transformers."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

# The frequencies of a head's 16 pairs: slowed a little in the short table, up to the fourfold length in the long one.
PAIRS = 16
CONFIG = {
    "architectures": ["Phi3ForCausalLM"],
    "model_type": "phi3",
    "vocab_size": 1536,
    "hidden_size": 192,
    "intermediate_size": 288,
    "num_hidden_layers": 6,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "hidden_act": "silu",
    "max_position_embeddings": 1024,
    "original_max_position_embeddings": 256,
    "rope_theta": 10000.0,
    "rope_scaling": {
        "type": "longrope",
        "short_factor": [round(1.1 ** (i / (PAIRS - 1)), 3) for i in range(PAIRS)],
        "long_factor": [round(4.0 ** (i / (PAIRS - 1)), 3) for i in range(PAIRS)],
    },
    "sliding_window": 128,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "embd_pdrop": 0.0,
    "resid_pdrop": 0.0,
    "initializer_range": 0.02,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
    "torch_dtype": "bfloat16",
    "use_cache": True,
}


class Norm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x):
        y = x.float()
        return (y * torch.rsqrt(y.square().mean(-1, keepdim=True) + self.eps)).to(x.dtype) * self.weight.to(x.dtype)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, self.kv = c["num_attention_heads"], c["num_key_value_heads"]
        self.dim = c["hidden_size"] // self.heads
        self.qkv_proj = nn.Linear(c["hidden_size"], (self.heads + 2 * self.kv) * self.dim, bias=False)
        self.o_proj = nn.Linear(self.heads * self.dim, c["hidden_size"], bias=False)

    def forward(self, x, cos, sin, mask):
        B, T, _ = x.shape
        q, k, v = self.qkv_proj(x).view(B, T, -1, self.dim).transpose(1, 2).split([self.heads, self.kv, self.kv], 1)

        def rotate(t):
            a, b = t.chunk(2, -1)
            return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(v.dtype)

        k, v = (t.repeat_interleave(self.heads // self.kv, 1) for t in (rotate(k), v))
        y = F.scaled_dot_product_attention(rotate(q), k, v, attn_mask=mask)
        return self.o_proj(y.transpose(1, 2).reshape(B, T, -1))


class MLP(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate_up_proj = nn.Linear(c["hidden_size"], 2 * c["intermediate_size"], bias=False)
        self.down_proj = nn.Linear(c["intermediate_size"], c["hidden_size"], bias=False)

    def forward(self, x):
        gate, up = self.gate_up_proj(x).chunk(2, -1)
        return self.down_proj(F.silu(gate) * up)


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.input_layernorm = Norm(c["hidden_size"], c["rms_norm_eps"])
        self.self_attn = Attention(c)
        self.post_attention_layernorm = Norm(c["hidden_size"], c["rms_norm_eps"])
        self.mlp = MLP(c)

    def forward(self, x, cos, sin, mask):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embed_tokens = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.layers = nn.ModuleList(Layer(c) for _ in range(c["num_hidden_layers"]))
        self.norm = Norm(c["hidden_size"], c["rms_norm_eps"])


class Phi3(nn.Module):
    """Parameters are named as in transformers."""

    def __init__(self, c=CONFIG):
        super().__init__()
        self.config, self.model = c, Decoder(c)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                deep = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * c["num_hidden_layers"]) if deep else 0.02)

    def tables(self, T, device):
        """cos, sin [T, dim / 2] and the mask [T, T] of a sequence of T tokens."""
        c, rope = self.config, self.config["rope_scaling"]
        original = c["original_max_position_embeddings"]
        factors = torch.tensor(rope["long_factor" if T > original else "short_factor"], device=device)
        steps = torch.arange(PAIRS, device=device) / PAIRS
        angle = torch.arange(T, device=device)[:, None] / (factors * c["rope_theta"] ** steps)
        scale = math.sqrt(1 + math.log(c["max_position_embeddings"] / original) / math.log(original))
        at = torch.arange(T, device=device)
        back = at[:, None] - at[None, :]
        return angle.cos() * scale, angle.sin() * scale, (back >= 0) & (back < c["sliding_window"])

    def forward(self, ids, tables):
        x = self.model.embed_tokens(ids)
        for layer in self.model.layers:
            x = layer(x, *tables)
        return F.linear(self.model.norm(x), self.model.embed_tokens.weight)
