"""Shared by the golden makers: version pins, one JSON style, bf16 rounding."""

import importlib.metadata
import json
import os
import pathlib

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

HERE = pathlib.Path(__file__).resolve().parent

# The bound the Rust engine is held to in f32: max |difference| <= BOUND * max |logit|.
BOUND = 2e-4


def check_pins(*only):
    """Stops unless the packages in requirements.txt, or `only` these, are installed in exactly that version."""
    for line in (HERE / "requirements.txt").read_text().splitlines():
        line = line.split("#")[0].strip()
        if not line:
            continue
        name, want = line.split("==")
        if only and name not in only:
            continue
        have = importlib.metadata.version(name).split("+")[0]
        if have != want:
            raise SystemExit(f"{name}: the goldens are pinned to {want}, found {have}")


def setup_torch():
    import torch

    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    torch.set_grad_enabled(False)
    return torch


class _Flat(list):
    """A list that is written on one line."""


def dump(path, value):
    """Objects indented, lists of scalars on one line: readable diffs, small files."""

    def enc(v, ind):
        pad, pad1 = "  " * ind, "  " * (ind + 1)
        if isinstance(v, dict):
            if not v:
                return "{}"
            body = ",\n".join(f"{pad1}{json.dumps(k)}: {enc(x, ind + 1)}" for k, x in v.items())
            return "{\n" + body + "\n" + pad + "}"
        if isinstance(v, (list, tuple)):
            if isinstance(v, _Flat) or all(not isinstance(x, (dict, list, tuple)) for x in v):
                return "[" + ", ".join(json.dumps(x, ensure_ascii=True) for x in v) + "]"
            return "[\n" + ",\n".join(pad1 + enc(x, ind + 1) for x in v) + "\n" + pad + "]"
        return json.dumps(v, ensure_ascii=True)

    pathlib.Path(path).write_text(enc(value, 0) + "\n")


def flat(v):
    return _Flat(v)


def sig(x, digits=4):
    """A float with few digits, for numbers that are only reported."""
    return float(f"{float(x):.{digits}g}")
