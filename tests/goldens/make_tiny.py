"""Makes tiny.json and tiny.safetensors: Hugging Face running the model in public/tiny (f32, eager attention).

    python make_tiny.py
"""

import numpy as np

from common import BOUND, HERE, check_pins, dump, setup_torch, sig

check_pins()
torch = setup_torch()

from safetensors.torch import save_file  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402
from transformers.utils import logging  # noqa: E402

logging.set_verbosity_error()
logging.disable_progress_bar()

MODEL = HERE / "../../public/tiny"
NEW = 200
# Long enough that 200 more tokens pass the window (128) and then the original length (256).
PROMPT = (
    "The old man lived at the edge of the woods with his cat and two hens. He was a kind man, and he liked to help the "
    "people of the village. One rainy evening, there was a knock at the door. A young woman stood there, and she was cold "
    'and wet. "Please come in," said the old man. "You can sit by the fire, and I will make some soup."'
)
TEXTS = [
    "Once upon a time", " two  spaces, \n\nlines\tand tabs", "It's 1984: don't!", "naïve café — 🦙 Ünïcödé 漢字", "",
    "<|user|>\nHi<|end|>\n<|assistant|>\n", "<|endoftext|>a<|end|>", "\r\n\u0000\u00a0x",
]
CHATS = [
    [("user", "What is a boat?")],
    [("system", "Be kind."), ("user", "Tell me a story."), ("assistant", "Once upon a time."), ("user", "Go on!")],
]


def main():
    tok = AutoTokenizer.from_pretrained(MODEL)

    def load(dtype):
        model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=dtype, attn_implementation="eager").eval()
        assert type(model).__name__ == "Phi3ForCausalLM" and model.dtype == dtype
        return model

    def forward(model, ids):
        return model(torch.tensor([ids]), use_cache=False).logits[0].float().numpy()

    model = load(torch.float32)
    conf = model.config
    original, window = conf.original_max_position_embeddings, conf.sliding_window
    prompt = tok(PROMPT)["input_ids"]
    n = len(prompt)
    assert n < window < original < n + NEW - 1 <= conf.max_position_embeddings

    # Step by step, each one forward over the whole sequence: short factors up to `original` tokens, then long ones.
    ids, steps = list(prompt), []
    for _ in range(NEW):
        steps.append(forward(model, ids)[-1])
        ids.append(int(steps[-1].argmax()))
    new, steps = ids[n:], np.stack(steps)
    fed = ids[:-1]

    gen = model.generate(
        torch.tensor([prompt]), attention_mask=torch.ones(1, n, dtype=torch.long), do_sample=False, max_new_tokens=NEW,
        eos_token_id=None, pad_token_id=None,
    )
    assert gen[0, n:].tolist() == new, "with its cache Hugging Face goes another way"

    # The same logits come from two forwards, which is how an engine is compared throughout.
    runs = {"short": fed[:original], "long": fed}
    rows = {name: forward(model, part) for name, part in runs.items()}
    peak = {name: float(np.abs(row).max()) for name, row in rows.items()}
    forced = np.concatenate([rows["short"][n - 1 :], rows["long"][original:]])
    drift = np.abs(forced - steps).max() / np.abs(steps).max()
    assert drift < BOUND / 10 and forced.argmax(-1).tolist() == new, drift

    # The long factors and the window are seen: without either, the logits are others.
    for key in ("long factors", "window"):
        other = load(torch.float32)
        if key == "window":
            other.config.sliding_window = None
        else:
            other.config.max_position_embeddings = original * 4
            other.config.original_max_position_embeddings = original * 4
            other.model.rotary_emb.config.original_max_position_embeddings = original * 4
        moved = np.abs(forward(other, fed) - rows["long"]).max() / peak["long"]
        print(f"without the {key}: logits move by {moved:.1e} of the peak")
        assert moved > 20 * BOUND, key

    top = np.sort(steps, -1)
    gaps = top[:, -1] - top[:, -2]
    print(f"{n} + {NEW} tokens, drift {drift:.0e}, smallest gap {gaps.min():.4f} at step {gaps.argmin()}, bound {BOUND * max(peak.values()):.4f}")
    print(repr(tok.decode(new)))

    columns = np.sort(np.random.Generator(np.random.PCG64(2024)).choice(conf.vocab_size, 32, replace=False))
    tensors, out = {"gaps": gaps}, {}
    low = {key: load(dtype) for key, dtype in (("bf16_max_diff", torch.bfloat16), ("f16_max_diff", torch.float16))}
    for name, part in runs.items():
        logits = rows[name]
        wide = logits.astype(np.float64)
        lse = np.log(np.exp(wide - wide.max(-1, keepdims=True)).sum(-1)) + wide.max(-1)
        full = sorted({0, 1, window - 1, window, len(part) // 2, len(part) - 1})
        tensors |= {
            f"{name}.columns": logits[:, columns], f"{name}.row_max": logits.max(-1),
            f"{name}.row_logsumexp": lse.astype(np.float32), f"{name}.full": logits[full],
        }
        out[name] = {"tokens": len(part), "full_rows": full, "max_abs_logit": sig(peak[name], 9)} | {
            key: sig(np.abs(forward(m, part) - logits).max()) for key, m in low.items()
        }
        print(name, out[name])

    def rendered(turns):
        return tok.apply_chat_template([{"role": r, "content": c} for r, c in turns], add_generation_prompt=True, tokenize=False)

    for text in TEXTS:
        assert tok.decode(tok(text)["input_ids"]) == text, text
    dump(HERE / "tiny.json", {
        "prompt": {"text": PROMPT, "ids": prompt},
        "greedy": {"ids": new, "text": tok.decode(new), "min_gap": sig(gaps.min())},
        "columns": columns.tolist(),
        "runs": out,
        "texts": [{"text": text, "ids": tok(text)["input_ids"]} for text in TEXTS],
        "chats": [
            {
                "messages": [{"role": r, "content": c} for r, c in turns], "text": rendered(turns),
                "ids": tok(rendered(turns))["input_ids"],
            } for turns in CHATS
        ],
    })
    file = HERE / "tiny.safetensors"
    save_file({k: torch.from_numpy(np.ascontiguousarray(v, np.float32)) for k, v in tensors.items()}, file)
    file.chmod(0o644)
    print(f"{file.name}: {file.stat().st_size} bytes")


main()
