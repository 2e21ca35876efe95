"""The same made-up Phi-3 in PyTorch, from the same files: what the GPU should have said.

    python3 reference.py MODELS RESULTS.json

For each case: the logits after each prompt against the reference (root mean square of the difference over that of the reference,
largest difference, same top id), and of the greedy ids how many are the reference's choice when it is shown the ids before them;
"near" counts those too whose logit is within 5 % of the deviation of the logits of the reference's best (activations as int8 move logits).
"""

import base64
import json
import os
import sys

import numpy as np

try:
    import torch
except ImportError:
    sys.exit("no PyTorch here: results not compared")

import make_model


class Phi3:
    def __init__(self, folder):
        config = json.load(open(os.path.join(folder, "plain", "config.json")))
        dtype = config["transformers.js_config"]["dtype"]
        args = [folder, "--act", "f16" if dtype == "q4f16" else "f32"]
        for flag, key in (("hidden", "hidden_size"), ("layers", "num_hidden_layers"), ("heads", "num_attention_heads"), ("kv-heads", "num_key_value_heads"),
                          ("inter", "intermediate_size"), ("vocab", "vocab_size"), ("context", "max_position_embeddings")):
            args += [f"--{flag}", str(config[key])]
        args += ["--part-bytes", str(config["made_up"]["part_bytes"])]
        self.o, self.folder = make_model.options(args), folder
        self.tensors = make_model.layout(self.o)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"

    def raw(self, name):
        t = self.tensors[name]
        kind = {make_model.U8: "u1", make_model.F32: "<f4", make_model.F16: "<f2"}[t["kind"]]
        return np.fromfile(os.path.join(self.folder, "data", t["file"]), kind, int(np.prod(t["dims"])), offset=t["offset"]).reshape(t["dims"])

    def dense(self, name):
        return torch.from_numpy(self.raw(name)).to(self.device).float()

    def matrix(self, name):
        """[n, k]: the low nibble first, 8 is zero."""
        q = torch.from_numpy(self.raw(f"{name}.weight_Q4")).to(self.device)
        q = torch.stack((q & 15, q >> 4), -1).reshape(q.shape[0], -1, 32).float() - 8
        return (q * self.dense(f"{name}.weight_scales").unsqueeze(-1)).reshape(q.shape[0], -1)

    @torch.no_grad()
    def forward(self, prompts):
        """The logits of every position of every prompt; each layer is read once."""
        o, head = self.o, self.o.hidden // self.o.heads
        torch.backends.cuda.matmul.allow_tf32 = False
        norm = lambda x, name: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.dense(name)
        embed = self.raw("model.embed_tokens.weight")
        xs = [torch.from_numpy(embed[ids]).to(self.device).float() for ids in prompts]
        inverse = 10000.0 ** -(torch.arange(head // 2, dtype=torch.float64, device=self.device) / (head // 2))
        def rotate(x):
            angle = torch.arange(x.shape[1], dtype=torch.float64, device=self.device)[:, None] * inverse
            cos, sin = angle.cos().float(), angle.sin().float()
            a, b = x[..., : head // 2], x[..., head // 2 :]
            return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)
        for l in range(o.layers):
            w = f"model.layers.{l}"
            m = {n: self.matrix(f"{w}.{n}.MatMul") for n in ("attn.qkv_proj", "attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")}
            for i, x in enumerate(xs):
                qkv = norm(x, f"{w}.input_layernorm.weight") @ m["attn.qkv_proj"].T
                q, k, v = (part.reshape(len(x), -1, head).transpose(0, 1) for part in qkv.split([o.heads * head, o.kv_heads * head, o.kv_heads * head], -1))
                q, k = rotate(q), rotate(k)
                k, v = (part.repeat_interleave(o.heads // o.kv_heads, 0) for part in (k, v))
                scores = q @ k.transpose(1, 2) * head**-0.5
                scores += torch.full_like(scores[0], float("-inf")).triu(1)
                x = x + (scores.softmax(-1) @ v).transpose(0, 1).reshape(len(x), -1) @ m["attn.o_proj"].T
                y = norm(x, f"{w}.post_attention_layernorm.weight")
                xs[i] = x + (torch.nn.functional.silu(y @ m["mlp.gate_proj"].T) * (y @ m["mlp.up_proj"].T)) @ m["mlp.down_proj"].T
        lm_head = self.matrix("lm_head.MatMul")
        return [(norm(x, f"model.layers.{o.layers}.final_norm_layernorm.weight") @ lm_head.T).cpu().numpy() for x in xs]


def prompt_ids(n, vocab):
    return [(i * 7919 + 13) % vocab for i in range(n)]


def main():
    model, results = Phi3(sys.argv[1]), json.load(open(sys.argv[2]))["results"]
    done = {name: r for name, r in results.items() if "failed" not in r}
    if not done:
        return
    lengths = [int(n) for n in next(iter(done.values()))["logits"]]
    prompts = [prompt_ids(n, model.o.vocab) for n in lengths]
    prompts += [prompt_ids(10, model.o.vocab) + r["ids"][:-1] for r in done.values()]
    logits = model.forward(prompts)
    print(f"against PyTorch {torch.__version__} in f32 on {model.device}:")
    for at, (name, r) in enumerate(done.items()):
        said = []
        for n, want in zip(lengths, logits):
            want, got = want[-1], np.frombuffer(base64.b64decode(r["logits"][str(n)]), "<f4")
            difference = got - want
            said.append(f"prompt {n}: rms {np.sqrt((difference**2).mean() / (want**2).mean()):.2e}, largest {np.abs(difference).max():.3g} of {np.abs(want).max():.3g}, top id {'same' if got.argmax() == want.argmax() else 'OTHER'}")
        rows = logits[len(lengths) + at][9:]
        chosen = rows[np.arange(len(rows)), r["ids"]]
        exact, near = (rows.argmax(-1) == r["ids"]).sum(), (rows.max(-1) - chosen <= 0.05 * rows.std(-1)).sum()
        print(f"  {name}: {'; '.join(said)}; greedy: {exact} of {len(rows)} the reference's choice, {near} near")


if __name__ == "__main__":
    main()
