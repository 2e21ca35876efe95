"""Puts the trained model together as a folder that transformers and Preflight read, and checks it in transformers.

    python export.py data out ../../public/tiny
"""

import json
import pathlib
import shutil
import sys

import torch
from safetensors.torch import load_file

from chat import END, TEMPLATE, chat
from model import CONFIG, Phi3

GENERATION = {"bos_token_id": 0, "eos_token_id": [0, 4], "pad_token_id": 0, "do_sample": True, "temperature": 0.7, "top_p": 0.9}
TOKENIZER = {
    "add_bos_token": False,
    "add_prefix_space": False,
    "bos_token": END,
    "eos_token": END,
    "pad_token": END,
    "chat_template": TEMPLATE,
    "clean_up_tokenization_spaces": False,
    "model_max_length": CONFIG["max_position_embeddings"],
    "tokenizer_class": "PreTrainedTokenizerFast",
}


def write(data, trained, out):
    out.mkdir(parents=True, exist_ok=True)
    for name, value in (("config.json", CONFIG), ("generation_config.json", GENERATION), ("tokenizer_config.json", TOKENIZER)):
        (out / name).write_text(json.dumps(value, indent=2) + "\n")
    shutil.copyfile(data / "tokenizer.json", out / "tokenizer.json")
    shutil.copyfile(trained / "model.safetensors", out / "model.safetensors")


def check(out):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_grad_enabled(False)
    theirs = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32, attn_implementation="eager").eval()
    assert type(theirs).__name__ == "Phi3ForCausalLM"
    ours = Phi3().eval()
    ours.load_state_dict({k: v.float() for k, v in load_file(out / "model.safetensors").items()})
    for n in (1, 100, 256, 257, 700):
        ids = torch.randint(CONFIG["vocab_size"], (1, n), generator=torch.Generator().manual_seed(n))
        a, b = theirs(ids, use_cache=False).logits, ours(ids, ours.tables(n, "cpu"))
        off = float((a - b).abs().max() / a.abs().max())
        print(f"{n} tokens: off by {off:.1e} of the peak")
        assert off < 1e-4, n
    tok = AutoTokenizer.from_pretrained(out)
    turns = [("user", "Tell me a story."), ("assistant", "Once upon a time."), ("user", "Hi!")]
    messages = [{"role": r, "content": c} for r, c in turns]
    for ask in (True, False):
        assert tok.apply_chat_template(messages, add_generation_prompt=ask, tokenize=False) == chat(turns, ask)
    assert tok.decode(tok(chat(turns, True))["input_ids"]) == chat(turns, True)
    size = sum(f.stat().st_size for f in out.iterdir())
    print(f"{sum(p.numel() for p in ours.parameters())} parameters; {size} bytes in all")
    assert size < 4_000_000


if __name__ == "__main__":
    data, trained, out = map(pathlib.Path, sys.argv[1:])
    write(data, trained, out)
    check(out)
