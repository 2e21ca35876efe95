"""SmolLM2-135M-Instruct (Apache-2.0) in plain PyTorch, made for writing thousands of short texts at once.

    python teacher.py SmolLM2-135M-Instruct.Q4_1.gguf corpus.jsonl --seed 1 --minutes 6

One line a text: the task (recipe.py) with `text`, what the teacher wrote from `start` on. A story that the teacher did
not end within the limit is cut after a sentence. The teacher sees examples (examples.py) as earlier turns of the conversation; they
are the same for a whole batch, so their keys and values are computed and kept once.
"""

import argparse
import json
import math
import random
import re
import time

import gguf
import torch
import torch.nn.functional as F
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

import examples
import recipe

LAYERS, HEADS, KV, DIM, THETA, EPS = 30, 9, 3, 64, 100000.0, 1e-5
GROUP = HEADS // KV
END = 2  # <|im_end|>
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
# Plain ASCII words and marks, no digits: all that is ever written.
PLAIN = re.compile(r" ?[A-Za-z]+|'(s|t|re|ll|ve|m|d)| ?[.,!?;:'\"-]+| ?[.,!?]['\"]| ['\"]|\n\n?|\.\n\n?|[.,!?]\"\n\n?")
NGRAM = 5  # no sequence of so many tokens twice in a text


def tokenizer(fields):
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    tok = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges))
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in tokens[:17]])
    return tok


def norm(x, weight):
    x32 = x.float()
    return (x32 * torch.rsqrt(x32.square().mean(-1, keepdim=True) + EPS)).to(x.dtype) * weight


try:
    import triton
    import triton.language as tl
except ImportError:  # only the slow way then
    triton = None
else:

    @triton.jit
    def _decode(Q, K, V, first, Y, T, row: tl.constexpr, batch: tl.constexpr, KV: tl.constexpr, GROUP: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr):
        b, h = tl.program_id(0), tl.program_id(1)
        g, d = tl.arange(0, 16), tl.arange(0, D)
        at = (b * KV + h) * GROUP * D + g[:, None] * D + d[None, :]
        q = tl.load(Q + at, mask=g[:, None] < GROUP, other=0.0)
        base = b.to(tl.int64) * batch + h * row
        start = tl.load(first + b)
        top = tl.full([16], -1e30, tl.float32)
        total = tl.zeros([16], tl.float32)
        y = tl.zeros([16, D], tl.float32)
        for n0 in range((start // BLOCK) * BLOCK, T, BLOCK):
            n = n0 + tl.arange(0, BLOCK)
            there = n < T
            k = tl.load(K + base + n[:, None] * D + d[None, :], mask=there[:, None], other=0.0)
            v = tl.load(V + base + n[:, None] * D + d[None, :], mask=there[:, None], other=0.0)
            s = tl.where((there & (n >= start))[None, :], tl.dot(q, tl.trans(k)), -1e30)
            new = tl.maximum(top, tl.max(s, 1))
            p = tl.exp(s - new[:, None])
            scale = tl.exp(top - new)
            total = total * scale + tl.sum(p, 1)
            y = y * scale[:, None] + tl.dot(p.to(v.dtype), v)
            top = new
        tl.store(Y + at, (y / total[:, None]).to(q.dtype), mask=g[:, None] < GROUP)


def decode(q, K, V, first, T):
    """Attention of one new token a text: q [B, KV, GROUP, DIM], scaled; keys from `first` [B] up to T."""
    q, y = q.contiguous(), torch.empty_like(q, memory_format=torch.contiguous_format)
    _decode[(len(q), KV)](q, K, V, first, y, T, K.stride(1), K.stride(0), KV, GROUP, DIM, 64)
    return y


def decode_works(device):
    """Compares `decode` with plain matrix products, on this card."""
    if triton is None or device == "cpu":
        return False
    try:
        q, K, V = (torch.randn(5, KV, n, DIM, device=device).bfloat16() for n in (GROUP, 200, 200))
        first = torch.tensor([0, 3, 64, 100, 149], device=device)
        got = decode(q, K, V, first, 150).float()
        s = (q @ K[:, :, :150].transpose(2, 3)).float().masked_fill(torch.arange(150, device=device) < first[:, None, None, None], -torch.inf)
        want = s.softmax(-1) @ V[:, :, :150].float()
        return bool((got - want).abs().max() < 0.05)
    except Exception as error:
        print(f"no fast attention: {error}")
        return False


class Teacher:
    def __init__(self, path, device, dtype):
        reader = gguf.GGUFReader(path)
        self.tok = tokenizer(reader.fields)
        t = {x.name: torch.tensor(gguf.dequantize(x.data, x.tensor_type)).to(device, dtype) for x in reader.tensors}
        self.embed, self.norm = t["token_embd.weight"], t["output_norm.weight"]
        self.layers = []
        for i in range(LAYERS):
            g = lambda name: t[f"blk.{i}.{name}.weight"]
            self.layers.append(dict(
                n1=g("attn_norm"), qkv=torch.cat([g("attn_q"), g("attn_k"), g("attn_v")]), o=g("attn_output"),
                n2=g("ffn_norm"), up=torch.cat([g("ffn_gate"), g("ffn_up")]), down=g("ffn_down"),
            ))
        words = [i for i in range(17, 20000) if PLAIN.fullmatch(self.tok.decode([i])) and not re.search("[A-Z]{2}", self.tok.decode([i]))]
        # Index 0 of the smaller vocabulary ends a text.
        self.allowed = torch.tensor([END] + words, device=device)
        self.head = self.embed[self.allowed].contiguous()
        self.device, self.dtype = device, dtype
        self.fast = decode_works(device)
        self.freq = THETA ** (-torch.arange(0, DIM, 2, device=device).float() / DIM)

    def rotate(self, x, cos, sin):
        # GGUF keeps the pairs of a head side by side.
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)

    def forward(self, ids, positions, mask, cache, at, prefix=None, first=None):
        """Logits of the last token over `allowed`.

        ids, positions [B, n]; mask [B, 1, n, at + n] is added to the scores; `cache` a layer's K and V [B, KV, T, DIM],
        written from `at` on; `prefix` a layer's K and V [KV, P, DIM] that all texts see before their own. With `first` [B], each
        text's first column, and without a prefix, a step of one token is `decode`d.
        """
        B, n = ids.shape
        x = self.embed[ids]
        angle = positions.float()[..., None] * self.freq
        cos, sin = (f(angle)[:, None].to(self.dtype) for f in (torch.cos, torch.sin))
        for i, (layer, (K, V)) in enumerate(zip(self.layers, cache)):
            q, k, v = (norm(x, layer["n1"]) @ layer["qkv"].T).split([HEADS * DIM, KV * DIM, KV * DIM], -1)
            q = self.rotate(q.view(B, n, HEADS, DIM).transpose(1, 2), cos, sin) * DIM**-0.5
            K[:, :, at : at + n] = self.rotate(k.view(B, n, KV, DIM).transpose(1, 2), cos, sin)
            V[:, :, at : at + n] = v.view(B, n, KV, DIM).transpose(1, 2)
            q = q.reshape(B, KV, GROUP * n, DIM)
            if n == 1 and first is not None and not prefix:
                y = decode(q, K, V, first, at + 1)
            else:
                own = (q @ K[:, :, : at + n].transpose(2, 3)).view(B, KV, GROUP, n, at + n)
                scores = (own + mask[:, :, None]).view(B, KV, GROUP * n, at + n)
                if prefix:
                    P, PV = prefix[i]
                    seen = (q.transpose(0, 1).reshape(KV, -1, DIM) @ P.transpose(1, 2)).view(KV, B, GROUP * n, -1)
                    scores = torch.cat([seen.transpose(0, 1), scores], -1)
                p = scores.softmax(-1)
                y = p[..., -(at + n) :] @ V[:, :, : at + n]
                if prefix:
                    shared = p[..., : P.shape[1]].transpose(0, 1).reshape(KV, B * GROUP * n, -1) @ PV
                    y = y + shared.view(KV, B, GROUP * n, DIM).transpose(0, 1)
            y = y.reshape(B, HEADS, n, DIM).transpose(1, 2).reshape(B, n, HEADS * DIM)
            x = x + y @ layer["o"].T
            gate, up = (norm(x, layer["n2"]) @ layer["up"].T).chunk(2, -1)
            x = x + (F.silu(gate) * up) @ layer["down"].T
        return norm(x[:, -1], self.norm) @ self.head.T

    def cache(self, batch, length):
        return [[torch.zeros(batch, KV, length, DIM, dtype=self.dtype, device=self.device) for _ in "kv"] for _ in range(LAYERS)]

    def read(self, text):
        """The keys and values of a text that comes first."""
        ids = torch.tensor([self.tok.encode(text).ids], device=self.device)
        n = ids.shape[1]
        cache = self.cache(1, n)
        mask = torch.full((1, 1, n, n), -1e4, dtype=self.dtype, device=self.device).triu(1)
        self.forward(ids, torch.arange(n, device=self.device)[None], mask, cache, 0)
        return n, [(K[0], V[0]) for K, V in cache]

    def choose(self, logits, out, step, how, generator):
        """Indices into `allowed`; `out` [B, steps] are those chosen before."""
        scaled = logits.float()
        if step >= NGRAM:
            match = torch.ones(len(out), step - NGRAM + 1, dtype=torch.bool, device=self.device)
            for j in range(NGRAM - 1):
                match &= out[:, j : step - NGRAM + 1 + j] == out[:, step - NGRAM + 1 + j, None]
            ban = torch.where(match, out[:, NGRAM - 1 : step], -1)
            scaled = F.pad(scaled, (1, 0)).scatter(1, ban + 1, -torch.inf)[:, 1:]
        if how["presence"] and step:
            seen = torch.zeros_like(scaled).scatter_(1, out[:, :step], 1.0)
            seen[:, 0] = 0
            scaled = scaled - how["presence"] * seen
        scaled = scaled / how["temperature"]
        scaled = scaled.masked_fill(scaled < scaled.amax(-1, keepdim=True) + math.log(how["min_p"]), -torch.inf)
        noise = torch.empty_like(scaled).exponential_(generator=generator).log_()
        return (scaled - noise).argmax(-1)

    @torch.inference_mode()
    def write(self, first, prompts, limit, how, generator, chunk=256):
        """Continuations of texts after `first`, each as token ids and whether END, left out, came before `limit`."""
        prompts = [self.tok.encode(p).ids for p in prompts]
        if first.count("<|im_end|>") == 1:
            # A prefix this short is cheaper in every text.
            prompts, before, prefix = [self.tok.encode(first).ids + p for p in prompts], 0, None
        else:
            before, prefix = self.read(first)
        B, width = len(prompts), max(map(len, prompts))
        ids = torch.tensor([[END] * (width - len(p)) + p for p in prompts], device=self.device)
        lengths = torch.tensor([len(p) for p in prompts], device=self.device)
        column = torch.arange(width + limit, device=self.device)
        begin = width - lengths
        pad = torch.where(column < (width - lengths)[:, None], -1e4, 0.0).to(self.dtype)
        cache = self.cache(B, width + limit)
        causal = torch.full((width, width), -1e4, dtype=self.dtype, device=self.device).triu(1)
        positions = before + (column[:width] - width + lengths[:, None]).clamp(min=0)
        parts = []
        for a in range(0, B, chunk):
            s = slice(a, a + chunk)
            view = [(K[s], V[s]) for K, V in cache]
            parts.append(self.forward(ids[s], positions[s], pad[s, None, None, :width] + causal, view, 0, prefix))
        logits = torch.cat(parts)
        out = torch.zeros(B, limit, dtype=torch.long, device=self.device)
        mine, alive = out.clone(), torch.arange(B, device=self.device)
        for step in range(limit):
            new = self.choose(logits, mine, step, how, generator)
            mine[:, step] = new
            if step % 16 == 15 or step == limit - 1:
                # A text that has ended goes on until here; what follows its END is cut off below.
                out[alive] = mine
                going = (mine[:, : step + 1] != 0).all(1)
                count = int(going.sum())
                if step == limit - 1 or count < 0.04 * B:
                    break
                if count < 0.8 * len(alive):
                    keep = going.nonzero()[:, 0]
                    alive, lengths, pad, new, mine, begin = (x[keep] for x in (alive, lengths, pad, new, mine, begin))
                    for layer in cache:
                        layer[0] = layer[0][keep]
                        layer[1] = layer[1][keep]
            at = width + step
            logits = self.forward(
                self.allowed[new][:, None], (before + lengths + step)[:, None], pad[:, None, None, : at + 1], cache, at, prefix,
                begin if self.fast else None,
            )
        names, result = self.allowed.tolist(), []
        for row in out[:, : step + 1].tolist():
            length = row.index(0) if 0 in row else len(row)
            result.append(([names[i] for i in row[:length]], 0 in row))
        return result


def turn(role, text):
    return f"<|im_start|>{role}\n{text}<|im_end|>\n"


# How the teacher is asked: examples that it is `shown`, how it chooses, how long a text may be.
WAYS = {
    "calm": dict(kind="story", shown=0, temperature=0.65, min_p=0.06, presence=0.1, limit=224),
    "lively": dict(kind="story", shown=0, temperature=0.85, min_p=0.1, presence=0.2, limit=224),
    "shown": dict(kind="story", shown=3, temperature=0.65, min_p=0.06, presence=0.1, limit=160),
    "fact": dict(kind="fact", shown=5, temperature=0.6, min_p=0.08, presence=0.1, limit=80),
}


def conversation(way, rng):
    """What all texts of a batch see first."""
    first = turn("system", SYSTEM)
    for about, start, rest in rng.sample(examples.STORIES if way["kind"] == "story" else examples.FACTS, way["shown"]):
        user = f"Tell me a very short and simple story about {about}." if way["kind"] == "story" else about
        first += turn("user", user) + turn("assistant", f"{start} {rest}")
    return first


def main():
    args = argparse.ArgumentParser()
    args.add_argument("gguf")
    args.add_argument("out")
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--minutes", type=float, default=6)
    args.add_argument("--batch", type=int, default=6144)
    args.add_argument("--ways", default="calm,lively,calm,fact,lively,shown,calm,lively")
    args = args.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    begin = time.time()
    teacher = Teacher(args.gguf, device, torch.bfloat16 if device == "cuda" else torch.float32)
    print(f"loaded in {time.time() - begin:.1f} s; {len(teacher.allowed)} tokens allowed; fast attention: {teacher.fast}", flush=True)
    rng = random.Random(args.seed)
    generator = torch.Generator(device).manual_seed(args.seed)
    ways = args.ways.split(",")
    total = batches = 0
    begin = time.time()
    with open(args.out, "w") as out:
        while time.time() - begin < args.minutes * 60:
            name = ways[batches % len(ways)]
            way = WAYS[name]
            tasks = [getattr(recipe, way["kind"])(rng) for _ in range(args.batch)]
            prompts = [
                turn("user", t["ask"]) + f"<|im_start|>assistant\n{t['start']}" for t in tasks
            ]
            ended = kept = tokens = 0
            for t, (ids, end) in zip(tasks, teacher.write(conversation(way, rng), prompts, way["limit"], way, generator)):
                text = t["start"] + teacher.tok.decode(ids)
                if not end:
                    # Up to the last whole sentence.
                    sentences = re.match(r".*[.!?]\"?(?=\s)", text, re.S)
                    if way["kind"] == "fact" or not sentences:
                        continue
                    text = sentences[0]
                ended, kept, tokens = ended + end, kept + 1, tokens + len(ids)
                out.write(json.dumps(dict(kind=t["kind"], way=name, ended=end, user=t["user"], text=text)) + "\n")
            batches, total = batches + 1, total + tokens
            seconds = time.time() - begin
            print(f"{seconds:6.1f} s  {name}: {kept} kept, {ended} ended, {tokens / max(kept, 1):.0f} tokens each; {total / 1e6:.2f} M, {total / seconds:.0f}/s", flush=True)


if __name__ == "__main__":
    main()
