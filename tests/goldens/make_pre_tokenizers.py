"""Vectors for GGUF's pre-tokenizers, from llama.cpp's own: `pre_tokenizers.json`.

    make_pre_tokenizers.py FOLDER        # holds ggml-vocab-NAME.gguf, .gguf.inp and .gguf.out

Of each vocabulary only what these texts can touch is kept: the tokens that occur in them, wherever pieces are cut, and
the merges that make such a token. BPE over the rest gives the same ids; they are numbered anew.
"""

import json
import struct
import sys
from pathlib import Path

NAMES = ["gpt-2", "mpt", "starcoder", "refact", "command-r", "llama-bpe", "qwen2", "deepseek-llm", "deepseek-coder", "falcon"]
SEPARATOR = "\n__ggml_vocab_test__\n"
SIZES = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}


def metadata(path):
    """The metadata of a GGUF file (version 3)."""
    data, at = path.read_bytes(), 24

    def number(format):
        nonlocal at
        (value,) = struct.unpack_from(format, data, at)
        at += struct.calcsize(format)
        return value

    def value(kind):
        nonlocal at
        if kind == 8:
            length = number("<Q")
            at += length
            return data[at - length : at].decode()
        if kind == 9:
            kind, count = number("<I"), number("<Q")
            return [value(kind) for _ in range(count)]
        return number(SIZES[kind])

    (count,) = struct.unpack_from("<Q", data, 16)
    return {value(8): value(number("<I")) for _ in range(count)}


def byte_characters():
    """GPT-2's character for each byte."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    shifted = iter(range(0x100, 0x200))
    return [chr(byte) if byte in plain else chr(next(shifted)) for byte in range(256)]


def reduced(name, folder, expected):
    meta = metadata(folder / f"ggml-vocab-{name}.gguf")
    assert meta["tokenizer.ggml.pre"] == name, meta["tokenizer.ggml.pre"]
    characters = byte_characters()
    texts = (folder / f"ggml-vocab-{name}.gguf.inp").read_bytes().decode().split(SEPARATOR)
    out = (folder / f"ggml-vocab-{name}.gguf.out").read_text().split("\n")[:-1]
    assert len(texts) == len(out) + (1 if texts[-1] == "" else 0), (name, len(texts), len(out))
    texts = texts[: len(out)]
    assert expected is None or texts == expected, name
    encoded = "\0".join("".join(characters[byte] for byte in text.encode()) for text in texts)
    tokens = meta["tokenizer.ggml.tokens"]
    types = meta["tokenizer.ggml.token_type"]
    raw = "\0".join(texts)
    used = {int(id) for line in out for id in line.split()}
    kept = [
        id
        for id, (token, kind) in enumerate(zip(tokens, types))
        if (token in encoded or token in characters if kind == 1 else token in raw)
    ]
    assert used <= set(kept), (name, [(id, tokens[id], types[id]) for id in used - set(kept)])
    place = {id: index for index, id in enumerate(kept)}
    merges = [merge for merge in meta["tokenizer.ggml.merges"] if merge.replace(" ", "") in encoded]
    ids = [[place[int(id)] for id in line.split()] for line in out]
    return texts, {
        "tokens": [tokens[id] for id in kept],
        # Those that are found in a text before it is cut.
        "added": {place[id]: types[id] for id in kept if types[id] != 1},
        "merges": merges,
        "ids": ids,
    }


def main():
    texts, cases = None, {}
    for name in NAMES:
        texts, cases[name] = reduced(name, Path(sys.argv[1]), texts)
    out = Path(__file__).with_name("pre_tokenizers.json")
    out.write_text(json.dumps({"texts": texts, "cases": cases}, ensure_ascii=False, separators=(",", ":")) + "\n")
    print(out, out.stat().st_size, {name: (len(case["tokens"]), len(case["merges"])) for name, case in cases.items()})


main()
