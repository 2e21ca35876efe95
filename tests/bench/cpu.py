"""CPU speed, ours and a peer's in turn on the same weights, prompt and threads.

usage: python cpu.py BENCH_BINARY MODEL_DIR [--dtype f32] [--prompt 128] [--new 64] [--rounds 3]
       python cpu.py BENCH_BINARY MODEL_DIR --dtype q8_0 --llama-bench LLAMA_BENCH --gguf FILE …

The peer is Hugging Face transformers, which needs torch (goldens/requirements.txt), or llama.cpp by its own bench, on a file of
the same weights in the same format. Each round runs both once, so that whatever else the machine does hits both; the
best of the rounds counts for each. Exit 1 if our decoding is slower than the peer's, or than 0.9 of llama.cpp's.
"""

import argparse
import json
import os
import subprocess
import sys
import time

THREADS = 2


def ours(args):
    env = dict(os.environ, RAYON_NUM_THREADS=str(THREADS))
    command = [args.binary, args.model, args.dtype, str(args.prompt), str(args.new)]
    return json.loads(subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout)


class LlamaCpp:
    name, least = "llama.cpp", 0.9

    def __init__(self, args):
        self.command = [args.llama_bench, "-m", args.gguf, "-t", str(THREADS), "-r", "1", "-o", "json"]
        self.prompt, self.new = str(args.prompt), str(args.new)

    def speed(self, *what):
        out = subprocess.run([*self.command, *what], check=True, capture_output=True, text=True).stdout
        return json.loads(out)[0]["avg_ts"]

    def run(self):
        return {
            "prefill_tokens_per_s": self.speed("-p", self.prompt, "-n", "0"),
            "decode_tokens_per_s": self.speed("-p", "0", "-n", self.new, "-d", self.prompt),
        }


class HuggingFace:
    name, least = "transformers", 1.0

    def __init__(self, args):
        import torch
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(THREADS)
        torch.set_grad_enabled(False)
        self.torch = torch
        dtype = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}[args.dtype]
        self.model = AutoModelForCausalLM.from_pretrained(args.model, dtype=dtype).eval()
        self.ids = torch.tensor([[100 + i * 37 % 900 for i in range(args.prompt)]])
        self.new = args.new

    def run(self):
        # The bare loop over forward: quicker than `generate`, which checks and copies more for each token.
        start = time.perf_counter()
        out = self.model(self.ids, use_cache=True, logits_to_keep=1)
        token = out.logits[:, -1].argmax(-1, keepdim=True)
        ids = [token.item()]
        first = time.perf_counter()
        for _ in range(self.new - 1):
            out = self.model(token, past_key_values=out.past_key_values, use_cache=True)
            token = out.logits[:, -1].argmax(-1, keepdim=True)
            ids.append(token.item())
        last = time.perf_counter()
        return {
            "prefill_tokens_per_s": self.ids.shape[1] / (first - start),
            "decode_tokens_per_s": (self.new - 1) / (last - first),
            "ids": ids,
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("model")
    parser.add_argument("--dtype", default="f32", choices=["f32", "bf16", "f16", "q8_0", "q4_0"])
    parser.add_argument("--llama-bench")
    parser.add_argument("--gguf")
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()

    peer = LlamaCpp(args) if args.llama_bench else HuggingFace(args)
    peer.run()
    runs = {"ours": [], peer.name: []}
    for number in range(args.rounds):
        # Other processes on the machine show in the load.
        load = os.getloadavg()[0]
        mine, theirs = ours(args), peer.run()
        runs["ours"].append(mine)
        runs[peer.name].append(theirs)
        # llama.cpp's bench generates without telling what.
        ids = "not told" if "ids" not in theirs else "equal" if mine["ids"] == theirs["ids"] else "DIFFERENT"
        print(
            f"round {number + 1}: decode {mine['decode_tokens_per_s']:6.1f} : {theirs['decode_tokens_per_s']:6.1f}  "
            f"prefill {mine['prefill_tokens_per_s']:7.1f} : {theirs['prefill_tokens_per_s']:7.1f} tokens/s  "
            f"ids {ids}  load average {load:.1f}",
            flush=True,
        )

    def best(who, key):
        return max(run[key] for run in runs[who])

    print(f"\n{args.model} in {args.dtype}, {THREADS} threads, prompt {args.prompt}, {args.new} new tokens, best of {args.rounds}")
    for key in ("decode_tokens_per_s", "prefill_tokens_per_s"):
        mine, theirs = best("ours", key), best(peer.name, key)
        print(f"{key:22} ours {mine:8.1f}   {peer.name} {theirs:8.1f}   ratio {mine / theirs:.2f}")
    traffic, peak = best("ours", "weight_gb_per_s"), best("ours", "read_peak_gb_per_s")
    print(f"weights read           {traffic:.1f} GB/s of {peak:.1f} GB/s that two threads read at best ({100 * traffic / peak:.0f} %)")
    sys.exit(best("ours", "decode_tokens_per_s") < peer.least * best(peer.name, "decode_tokens_per_s"))


main()
