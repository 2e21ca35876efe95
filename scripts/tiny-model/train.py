"""Trains the model on what prepare.py made.

    python train.py data out --minutes 5

One step in four reads texts of 1024 tokens, with the long rope factors; the others of 256, with the short ones. Each
sequence starts where a text starts. Writes model.safetensors (bf16) and loss.csv.
"""

import argparse
import contextlib
import csv
import json
import pathlib
import time

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Tokenizer

from model import CONFIG, Phi3

PROMPTS = ["Once upon a time, there was a little cat named Tom.", "One day, Lily", "<|user|>\nTell me a story about a fox.<|end|>\n<|assistant|>\n", "<|user|>\nWhat is a dog?<|end|>\n<|assistant|>\n", "<|user|>\nHello!<|end|>\n<|assistant|>\n"]


def main():
    args = argparse.ArgumentParser()
    args.add_argument("data", type=pathlib.Path)
    args.add_argument("out", type=pathlib.Path)
    args.add_argument("--minutes", type=float, default=5, help="of training; the number of steps follows from the first")
    args.add_argument("--steps", type=int, help="instead of minutes")
    args.add_argument("--tokens", type=int, default=2**16, help="of a step")
    args.add_argument("--rate", type=float, default=4e-3)
    args.add_argument("--decay", type=float, default=0.1)
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--every", type=int, default=250, help="steps between two lines of loss.csv")
    args = args.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(args.seed)
    torch.set_float32_matmul_precision("high")
    rng = np.random.default_rng(args.seed)

    def load(name):
        ids = torch.from_numpy(np.load(args.data / f"{name}.npy").astype(np.int64)).to(device)
        return ids, np.load(args.data / f"{name}_starts.npy")

    (ids, starts), (val_ids, val_starts) = load("train"), load("val")
    model = Phi3().to(device)
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {len(ids)} tokens, {len(starts)} texts", flush=True)
    tables = {T: model.tables(T, device) for T in (256, 1024)}
    # One compiled graph for each length.
    half = (lambda: torch.autocast("cuda", torch.bfloat16)) if device == "cuda" else contextlib.nullcontext

    def loss_of(x, y, tables):
        with half():
            logits = model(x, tables)
        return F.cross_entropy(logits.float().flatten(0, 1), y.flatten())

    run = torch.compile(loss_of, dynamic=False) if device == "cuda" else loss_of

    def batch(ids, starts, T, count, rng):
        at = torch.from_numpy(rng.choice(starts, count)).to(device)
        rows = ids[(at[:, None] + torch.arange(T + 1, device=device)) % len(ids)]
        return rows[:, :-1], rows[:, 1:]

    decay = [p for p in model.parameters() if p.dim() == 2]
    other = [p for p in model.parameters() if p.dim() != 2]
    groups = [dict(params=decay, weight_decay=args.decay), dict(params=other, weight_decay=0.0)]
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), fused=device == "cuda")

    @torch.no_grad()
    def validate():
        rng = np.random.default_rng(0)
        return [float(loss_of(*batch(val_ids, val_starts, T, max(args.tokens // T, 1), rng), tables[T])) for T in tables]

    def step(i, rate):
        T = 1024 if i % 4 == 3 else 256
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = run(*batch(ids, starts, T, max(args.tokens // T, 1), rng), tables[T])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    begin = time.time()
    steps, warm, first = args.steps, 300, 40
    with open(args.out / "loss.csv", "w") as file:
        log = csv.writer(file, lineterminator="\n")
        log.writerow(["step", "tokens", "learning_rate", "train_loss", "val_loss_256", "val_loss_1024"])
        total, i = 0.0, 0
        while steps is None or i < steps:
            if steps is None and i in (first, 3 * first):
                if device == "cuda":
                    torch.cuda.synchronize()
                if i == first:
                    mark = time.time()
                else:
                    pace = (time.time() - mark) / (2 * first)
                    steps = int((args.minutes * 60 - (time.time() - begin)) / pace * 0.97) + i
                    print(f"{time.time() - begin:.1f} s before; {pace * 1e3:.1f} ms a step, {args.tokens / pace / 1e6:.2f} M tokens/s: {steps} steps", flush=True)
            # Up in a straight line, then down along a cosine.
            rate = args.rate * min(1.0, (i + 1) / warm) * (0.5 + 0.5 * np.cos(np.pi * max(0, i - warm) / max(1, steps - warm)) if steps else 1.0)
            total = total + step(i, rate)
            i += 1
            if i % args.every == 0 or i == steps:
                since = (i - 1) % args.every + 1
                short, long = validate()
                log.writerow([i, i * args.tokens, f"{rate:.2e}", f"{float(total) / since:.4f}", f"{short:.4f}", f"{long:.4f}"])
                file.flush()
                if i % (4 * args.every) == 0 or i == steps:
                    print(f"{time.time() - begin:6.1f} s  step {i}: train {float(total) / since:.4f}, val {short:.4f} {long:.4f}", flush=True)
                total = 0.0

    # What counts from here on are the rounded weights.
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p.bfloat16())
    short, long = validate()
    print(f"rounded to bf16: val {short:.4f} {long:.4f}")
    save_file({n: p.detach().bfloat16().cpu().contiguous() for n, p in model.named_parameters()}, args.out / "model.safetensors", metadata={"format": "pt"})
    (args.out / "train.json").write_text(json.dumps(dict(
        steps=i, tokens_per_step=args.tokens, rate=args.rate, weight_decay=args.decay, seed=args.seed, val_loss_256=short,
        val_loss_1024=long, seconds=time.time() - begin, torch=torch.__version__, device=torch.cuda.get_device_name() if device == "cuda" else "cpu",
    ), indent=2) + "\n")

    tok = Tokenizer.from_file(str(args.data / "tokenizer.json"))
    for prompt in PROMPTS:
        row = tok.encode(prompt).ids
        with torch.no_grad():
            for _ in range(100):
                logits = model(torch.tensor([row], device=device), model.tables(len(row), device))
                row.append(int(logits[0, -1].argmax()))
                if row[-1] == 0:
                    break
        print("##", tok.decode(row, skip_special_tokens=False), flush=True)


if __name__ == "__main__":
    main()
