"""Makes phi3_vocab.txt, phi3_tokenizer.json and phi3_chat.json: the tokenizer of Phi-3 mini, medium
and 3.5-mini, built in the `tokenizers` package and checked against llama.cpp's published vectors.

    python make_phi3_tokenizer.py llama-tokenizer.js ggml-vocab-phi-3.gguf.inp ggml-vocab-phi-3.gguf.out

llama-tokenizer.js is in npm's llama-tokenizer-js 1.2.2 (MIT); the other two are in the source of PyPI's
llama_cpp_python 0.3.16 (MIT), vendor/llama.cpp/models.
"""

import base64
import hashlib
import pathlib
import re
import struct
import sys

from common import HERE, check_pins, dump
from smollm2_common import render_chat

check_pins()

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers  # noqa: E402

# Merges whose result is a run of spaces come last; both halves run through their lengths in this order.
SPACE_RUNS = [2, 4, 8, 5, 6, 12, 13, 10, 14, 3, 9, 7, 11, 15, 1]


def derive_merges(vocab):
    """All merges from the vocabulary alone: by the id of the result, then by the ids of the halves."""
    at = {t: i for i, t in enumerate(vocab)}
    merges, runs = [], {}
    for t in vocab:
        pairs = [(t[:i], t[i:]) for i in range(1, len(t)) if t[:i] in at and t[i:] in at]
        if set(t) == {"▁"}:
            runs |= {(len(a), len(b)): (a, b) for a, b in pairs}
        else:
            merges += sorted(pairs, key=lambda p: (at[p[0]], at[p[1]]))
    return merges + [runs[a, b] for a in SPACE_RUNS for b in SPACE_RUNS if (a, b) in runs]


def added_tokens(april):
    """(id, content, rstrip, special), before and since May 2024."""
    names = {32000: "<|endoftext|>", 32001: "<|assistant|>", 32006: "<|system|>", 32007: "<|end|>", 32010: "<|user|>"}
    names |= {32001 + n: f"<|placeholder{n}|>" for n in (1, 2, 3, 4)}
    names |= {32003 + n: f"<|placeholder{n}|>" for n in (5, 6)}
    out = [(0, "<unk>", False, True), (1, "<s>", False, True), (2, "</s>", not april, april)]
    return out + [(i, names[i], not april and i != 32000, True) for i in sorted(names)]


def build(vocab, merges, april):
    tok = Tokenizer(models.BPE({t: i for i, t in enumerate(vocab)}, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tok.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tok.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    for i, content, rstrip, special in added_tokens(april):
        tok.add_tokens([AddedToken(content, rstrip=rstrip, normalized=False, special=special)])
        assert tok.token_to_id(content) == i
    assert tok.get_vocab_size() == 32011
    return tok


TEXTS = [
    "", "Hello world", " Hello world", "Hello, world!", " Hello World!", "\n\nHi", "    Hello\n    Hello", " ", "  ", "   ", "\t\n", "333", "!!!!!!", "' era", "Führer", "ied 4 ½ months", " this is 🦙.cpp", "нещо на Български",
    "你好，世界 42", "مرحبا", "e\u0301", "👨\u200d👩\u200d👧", "\u0000", "a\r\nb", "fn main() {\n    println!(\"{}\", 1 + 2);\n}\n", " " * 16, " " * 40, "a" * 50, "\u2581", "▁Hello ▁",
    "<|user|>\nHello<|end|>\n<|assistant|>\n", "<|system|>\nBe brief.<|end|>\n<|user|>\nWhat is 2+2?<|end|>\n<|assistant|>\n", "<|user|>\n<|end|>\n<|assistant|>", "<|user|>   \n\t x<|end|>", "a <|end|> b", "</s>  x", "<s>Hello", "<|endoftext|> \nx", "<|placeholder1|> <|placeholder6|> ", "<unk> ?", "Hello<|end|>", "<|end|>\n\n<|end|>",
]
GOLDEN = {
    "": [], "Hello world": [15043, 3186], " Hello world": [29871, 15043, 3186], "\n\nHi": [29871, 13, 13, 18567],
    "    Hello\n    Hello": [268, 15043, 13, 1678, 15043], " ": [259], "  ": [1678], "   ": [268], "\t\n": [29871, 12, 13],
    "333": [29871, 29941, 29941, 29941], "!!!!!!": [1738, 6824, 21004], "Führer": [383, 4000, 261],
    " this is 🦙.cpp": [29871, 445, 338, 29871, 243, 162, 169, 156, 29889, 8223],
    "<|user|>\nHello<|end|>\n<|assistant|>\n": [32010, 15043, 32007, 32001],
}
GOLDEN_APRIL = {"<|user|>\nHello<|end|>\n<|assistant|>\n": [32010, 29871, 13, 10994, 32007, 29871, 13, 32001, 29871, 13]}

JULY = "{% for message in messages %}{% if message['role'] == 'system' %}{{'<|system|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'assistant' %}{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
TEMPLATES = {
    "mini_april_2024": "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') %}{{'<|user|>' + '\n' + message['content'] + '<|end|>' + '\n' + '<|assistant|>' + '\n'}}{% elif (message['role'] == 'assistant') %}{{message['content'] + '<|end|>' + '\n'}}{% endif %}{% endfor %}",
    "mini_july_2024": JULY,
    "mini_3_5": JULY.replace("message['role'] == 'system' %}", "message['role'] == 'system' and message['content'] %}"),
}
S, U, A = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 2+2?"}, {"role": "assistant", "content": "4"}
CHATS = {"user": [U], "system_user": [S, U], "user_assistant_user": [U, A, U], "ends_with_assistant": [U, A], "empty_system": [{"role": "system", "content": ""}, U]}


def main():
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    js, inp, out = (pathlib.Path(p).read_text(encoding="utf-8") for p in sys.argv[1:])
    blob = {n: base64.b64decode(re.search(n + r'\s*=\s*"([^"]+)"', js).group(1)) for n in ("llama_vocab_base64", "llama_merges_binary")}
    vocab = blob["llama_vocab_base64"].decode().split("\n")
    at = struct.unpack(f"<{len(blob['llama_merges_binary']) // 2}H", blob["llama_merges_binary"])
    merges = [(vocab[a], vocab[b]) for a, b in zip(at[::2], at[1::2])]
    assert len(vocab) == len(set(vocab)) == 32000 and len(merges) == 61249
    assert derive_merges(vocab) == merges

    now, april = build(vocab, merges, False), build(vocab, merges, True)
    texts = inp.split("\n__ggml_vocab_test__\n")
    wants = [[int(x) for x in line.split()] for line in out.split("\n")]
    assert len(texts) == 47
    vectors = []
    for text, want in zip(texts, wants):
        assert now.encode(text).ids == want, text
        vectors.append({"text": text, "ids": want})
    for text in TEXTS:
        if text not in texts:
            vectors.append({"text": text, "ids": now.encode(text).ids})
    by_text = {v["text"]: v["ids"] for v in vectors}
    for text, want in GOLDEN.items():
        assert by_text[text] == want, (text, by_text[text])
    old = [{"text": t, "ids": april.encode(t).ids} for t in TEXTS if april.encode(t).ids != now.encode(t).ids]
    for text, want in GOLDEN_APRIL.items():
        assert {v["text"]: v["ids"] for v in old}[text] == want
    for tok, group in ((now, vectors), (april, old)):
        for v in group:
            v["decoded"] = tok.decode(v["ids"], skip_special_tokens=False)
            v["decoded_plain"] = tok.decode(v["ids"], skip_special_tokens=True)

    (HERE / "phi3_vocab.txt").write_text("\n".join(vocab), encoding="utf-8")
    listed = lambda a: [dict(zip(("id", "content", "rstrip", "special"), t)) for t in added_tokens(a)]  # noqa: E731
    dump(HERE / "phi3_tokenizer.json", {
        "space_run_order": SPACE_RUNS,
        "merges": len(merges),
        "merges_sha256": hashlib.sha256("".join(f"{a} {b}\n" for a, b in merges).encode()).hexdigest(),
        "added_tokens": listed(False),
        "added_tokens_april_2024": listed(True),
        "vectors": vectors,
        "vectors_april_2024": old,
    })
    chats = []
    for name, template in TEMPLATES.items():
        for chat, messages in CHATS.items():
            for gen in (True, False):
                text = render_chat(template, messages, gen, bos_token="<s>", eos_token="<|endoftext|>")
                ids = (april if "april" in name else now).encode(text).ids
                chats.append({"template": name, "name": chat, "messages": messages, "add_generation_prompt": gen, "text": text, "ids": ids})
    dump(HERE / "phi3_chat.json", {"templates": TEMPLATES, "cases": chats})
    print(f"{len(vectors)} + {len(old)} vectors (47 of 47 llama.cpp vectors agree), {len(chats)} chat renderings")


main()
