"""Makes family_files.json: what transformers writes of tiny models of every family, and what their caches hold.

    python make_family_files.py

Each case is a random config of `make_families.py` that is small. Its model is made with random weights in bf16, saved,
and run over some tokens. `tensors` are the names and shapes of the saved file's header; `cache` has for each layer the
tensors that its cache holds after them, with dtype and shape, none for a layer that reads another one's. Of models of
several parts there are the language model's tensors alone.
"""

import json
import pathlib
import struct
import tempfile

from make_families import (
    APART,
    FAMILIES,
    HERE,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    nested,
    random_config,
    torch,
)

CASES_EACH = 2
LARGEST = 3_000_000
MOST_TENSORS = 90
# With encoders that are large whatever the language model is.
LARGE_PARTS = {"phi4_multimodal"}
# Above the smaller of the windows, and no multiple of a block.
TOKENS = 81


def header(folder):
    (path,) = pathlib.Path(folder).glob("*.safetensors")
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        tensors = json.loads(file.read(length))
    tensors.pop("__metadata__", None)
    return {name: tensor["shape"] for name, tensor in sorted(tensors.items())}


def saved(model):
    """Names and shapes of the language model's tensors in the file that a model is saved to."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tensors = header(folder)
    return {name: shape for name, shape in tensors.items() if not any(part in name for part in APART)}


def held(layer):
    """The tensors of one layer's cache."""
    named = {"keys": getattr(layer, "keys", None), "values": getattr(layer, "values", None)}
    for states in ("conv_states", "recurrent_states"):
        for index, state in (getattr(layer, states, None) or {}).items():
            named[f"{states}.{index}"] = state
    return {
        name: [str(tensor.dtype).removeprefix("torch."), *tensor.shape]
        for name, tensor in named.items()
        if tensor is not None and tensor.numel() > 0
    }


def case(config):
    built = AutoConfig.for_model(**json.loads(json.dumps(config)))
    if built.num_attention_heads % built.num_key_value_heads:
        raise ValueError("a default of kv heads that does not divide the heads")
    if "sliding_attention" in (getattr(built, "layer_types", None) or []) and built.sliding_window is None:
        raise ValueError("layers with a window that is switched off: built, but no cache is made of them")
    with torch.device("meta"):
        total = sum(p.numel() for p in AutoModelForCausalLM.from_config(built).parameters())
    if total > LARGEST:
        raise ValueError("large")
    if built.model_type == "gemma3n_text" and built.num_kv_shared_layers == 0:
        raise ValueError("no layer reads the cache of another")
    torch.manual_seed(0)
    ways = {"attn_implementation": "eager", "experts_implementation": "eager"}
    model = AutoModelForCausalLM.from_config(built, dtype=torch.bfloat16, **ways).eval()
    ids = torch.randint(1, min(built.vocab_size, getattr(built, "vocab_size_per_layer_input", 99)), (1, TOKENS))
    out = model(ids, use_cache=True)
    assert bool(out.logits.isfinite().all())
    tensors = saved(model)
    if len(tensors) > MOST_TENSORS:
        raise ValueError("large: many tensors")
    cache = [held(layer) for layer in out.past_key_values.layers]
    assert len(cache) == built.num_hidden_layers
    return {"config": config, "tokens": TOKENS, "tensors": tensors, "cache": cache}


def nested_case(config):
    """What is saved of a model of several parts; its cache is that of the language model's own class."""
    built = AutoConfig.for_model(**json.loads(json.dumps(config)))
    model = AutoModelForImageTextToText.from_config(built, dtype=torch.bfloat16)
    return {"config": config, "tokens": 0, "tensors": saved(model), "cache": []}


def main():
    cases = []
    for model_type in [name for name in FAMILIES if name not in LARGE_PARTS]:
        seed = found = 0
        while found < CASES_EACH:
            config = random_config(model_type, f"file {seed}")
            seed += 1
            try:
                cases.append(case(config))
            except (ValueError, ZeroDivisionError) as error:
                print(f"{model_type} {seed}: {error}"[:160])
                assert seed < 200 * CASES_EACH, model_type
                continue
            found += 1
    # The eyes of gemma3n take timm.
    cases += [nested_case(config) for config in nested() if "vision_config" in config]
    lines = ",\n".join(json.dumps(each, separators=(",", ":")) for each in cases)
    (HERE / "family_files.json").write_text(f"[\n{lines}\n]\n")
    print(f"{len(cases)} cases")


if __name__ == "__main__":
    main()
