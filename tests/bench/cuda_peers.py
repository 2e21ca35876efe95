"""Peers of the CUDA engine on the same files: `python cuda_peers.py DIR [eager] [sdpa] [compile]`.

Prints what a copy on the device moves, then load, first token, prefill and decode of Hugging Face transformers, in the
lines of `cuda run`. Random ids each time; medians; the host waits for each id, as a server must.
"""

import gc
import statistics
import sys
import time

import torch
import transformers
from transformers import AutoModelForCausalLM, StaticCache

FOLDER, MODES = sys.argv[1], sys.argv[2:] or ["eager", "sdpa"]


def say(name, what, value):
    print(f"{name:<10} {what:<44} {value}", flush=True)


def seconds(work):
    torch.cuda.synchronize()
    start = time.perf_counter()
    result = work()
    torch.cuda.synchronize()
    return time.perf_counter() - start, result


def copy_peak():
    source = torch.empty(2 << 30, dtype=torch.uint8, device="cuda").random_()
    target = torch.empty_like(source)
    times = [seconds(lambda: target.copy_(source))[0] for _ in range(12)]
    say("device", "copy, GB/s read and written", f"{2 * source.numel() / statistics.median(times[2:]) / 1e9:.0f}")


def prompt(model, count):
    return torch.randint(0, model.config.vocab_size, (1, count), device="cuda")


@torch.inference_mode()
def first(model, count):
    out = model(input_ids=prompt(model, count), use_cache=True, logits_to_keep=1)
    return out.past_key_values, out.logits[:, -1].argmax(-1, keepdim=True)


@torch.inference_mode()
def steps(model, past, token, count):
    for _ in range(count):
        out = model(input_ids=token, past_key_values=past, use_cache=True)
        token = out.logits[:, -1].argmax(-1, keepdim=True)
        token.item()


@torch.inference_mode()
def compiled(model, count=128):
    forward = torch.compile(model.forward, mode="reduce-overhead", fullgraph=True)
    cache = StaticCache(config=model.config, max_cache_len=256)
    times = []
    for _ in range(4):
        cache.reset()
        places = torch.arange(10, device="cuda")
        out = model(input_ids=prompt(model, 10), past_key_values=cache, use_cache=True, cache_position=places)
        token, at = out.logits[:, -1].argmax(-1, keepdim=True), torch.tensor([10], device="cuda")

        def run(token=token, at=at):
            for _ in range(count):
                torch.compiler.cudagraph_mark_step_begin()
                out = forward(input_ids=token, past_key_values=cache, use_cache=True, cache_position=at)
                token = out.logits[:, -1].argmax(-1, keepdim=True).clone()
                token.item()
                at = at + 1

        times.append(seconds(run)[0] / count)
    say("hf-compile", "bf16 decode at depth 10, tokens/s", f"{1 / min(times):.1f}")


def main():
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {torch.cuda.get_device_name()}")
    copy_peak()
    for mode in MODES:
        name = f"hf-{mode}"
        how = "sdpa" if mode == "compile" else mode

        def load(how=how):
            return AutoModelForCausalLM.from_pretrained(
                FOLDER, dtype=torch.bfloat16, device_map="cuda", attn_implementation=how
            ).eval()

        model = None
        for _ in range(2):
            model = None
            gc.collect()
            torch.cuda.empty_cache()
            took, model = seconds(load)
        say(name, "bf16 load, s", f"{took:.3f}")
        if mode == "compile":
            compiled(model)
            continue
        for count in (10, 512, 2048):
            times = [seconds(lambda count=count: first(model, count))[0] for _ in range(7)]
            took = statistics.median(times)
            if count == 10:
                say(name, "bf16 first token of 10, ms", f"{times[0] * 1e3:.2f} at first, median {took * 1e3:.2f}")
            else:
                say(name, f"bf16 prefill {count}, tokens/s", f"{count / took:.0f} ({took * 1e3:.2f} ms)")
        for depth in (10, 2048):
            times = []
            for _ in range(2):
                past, token = first(model, depth)
                times.append(seconds(lambda past=past, token=token: steps(model, past, token, 64))[0] / 64)
            say(name, f"bf16 decode at depth {depth}, tokens/s", f"{1 / min(times):.1f} ({min(times) * 1e3:.3f} ms)")
        del model
        gc.collect()
        torch.cuda.empty_cache()


main()
