"""Makes placement.json: where Hugging Face puts each module of models on the meta device.

    python make_placement.py

Each case holds a config, what was asked for and the answer of accelerate's functions, as transformers 4
called them; where those of transformers 5 itself differ, theirs as well. Self-checks: no weight is ever
allocated, tied cases are really tied, and every kind of answer occurs.
"""

import copy
import random

from common import HERE, check_pins, dump

check_pins("transformers", "torch", "accelerate")

import accelerate.utils.modeling as acc  # noqa: E402
import torch  # noqa: E402
import transformers.integrations.accelerate as tr  # noqa: E402
from transformers import Phi3Config, Phi3ForCausalLM  # noqa: E402

GIB = 1 << 30
MINI = {
    "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 32, "vocab_size": 32064, "tie_word_embeddings": False,
}
PHI4 = {
    "hidden_size": 5120, "intermediate_size": 17920, "num_hidden_layers": 40, "num_attention_heads": 40,
    "num_key_value_heads": 10, "vocab_size": 100352, "tie_word_embeddings": False,
}
PHI4_MINI = {
    "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32, "num_attention_heads": 24,
    "num_key_value_heads": 8, "vocab_size": 200064, "tie_word_embeddings": True, "partial_rotary_factor": 0.75,
}
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


def case(name, shape, dtype, strategy, memory, stated=True):
    return {"name": name, "shape": shape, "dtype": dtype, "strategy": strategy, "memory": memory, "stated": stated}


def gib(*gpus, cpu=None):
    memory = {i: int(g * GIB) for i, g in enumerate(gpus)}
    if cpu is not None:
        memory["cpu"] = int(cpu * GIB)
    return memory


NAMED = [
    case("mini_sequential_2", MINI, "bfloat16", "sequential", gib(5, 5)),
    case("mini_sequential_3", MINI, "bfloat16", "sequential", gib(3, 3, 4)),
    case("mini_balanced_2", MINI, "bfloat16", "balanced", gib(24, 24)),
    case("mini_balanced_3", MINI, "bfloat16", "balanced", gib(24, 24, 24)),
    case("mini_auto_3_uneven", MINI, "bfloat16", "auto", gib(2, 24, 6)),
    case("mini_low_0", MINI, "bfloat16", "balanced_low_0", gib(24, 24, 24)),
    case("mini_low_0_tight", MINI, "bfloat16", "balanced_low_0", gib(8, 3, 3)),
    case("mini_low_0_without_gpu_0", MINI, "bfloat16", "balanced_low_0", gib(0, 10, 4, cpu=24)),
    case("mini_low_0_one_gpu", MINI, "bfloat16", "balanced_low_0", gib(24, cpu=24)),
    case("mini_offload", MINI, "bfloat16", "auto", gib(4, cpu=32)),
    case("mini_offload_2", MINI, "bfloat16", "auto", gib(2, 3, cpu=32)),
    case("mini_first_layer_too_big", MINI, "bfloat16", "sequential", gib(0.3, 24)),
    case("mini_gpu_of_nothing", MINI, "bfloat16", "auto", gib(0, 24, cpu=32)),
    case("mini_one_gpu", MINI, "bfloat16", "auto", gib(24)),
    case("mini_cpu_alone", MINI, "bfloat16", "auto", gib(cpu=64)),
    case("mini_disk", MINI, "bfloat16", "auto", gib(3, cpu=3)),
    case("mini_bf16_budget", MINI, "bfloat16", "sequential", gib(8, cpu=32)),
    case("mini_f32_same_budget", MINI, "float32", "sequential", gib(8, cpu=32)),
    case("mini_f32_balanced", MINI, "float32", "balanced", gib(12, 12, cpu=32)),
    case("mini_free_one_gpu", MINI, "bfloat16", "auto", gib(7.5, cpu=8), stated=False),
    case("mini_free_sequential", MINI, "bfloat16", "sequential", gib(3, cpu=5.2), stated=False),
    case("mini_free_2", MINI, "bfloat16", "auto", gib(12, 12, cpu=32), stated=False),
    case("phi4_sequential_2", PHI4, "bfloat16", "sequential", gib(16, 24)),
    case("phi4_balanced_2", PHI4, "bfloat16", "balanced", gib(24, 24)),
    case("phi4_balanced_3", PHI4, "bfloat16", "balanced", gib(24, 24, 24)),
    case("phi4_offload", PHI4, "bfloat16", "auto", gib(23.5, cpu=64)),
    case("phi4_f32_3", PHI4, "float32", "auto", gib(24, 24, 24, cpu=64)),
    case("tied_sequential_2", PHI4_MINI, "bfloat16", "sequential", gib(4, 8)),
    case("tied_balanced_2", PHI4_MINI, "bfloat16", "balanced", gib(16, 16)),
    case("tied_balanced_3", PHI4_MINI, "bfloat16", "balanced", gib(16, 16, 16)),
    case("tied_low_0", PHI4_MINI, "bfloat16", "balanced_low_0", gib(16, 16, 16)),
    case("tied_first_gpu_too_small", PHI4_MINI, "bfloat16", "auto", gib(1, 16, cpu=16)),
    case("tied_offload", PHI4_MINI, "bfloat16", "auto", gib(4, cpu=32)),
]


def random_cases(count):
    rng = random.Random(20260724)
    for n in range(count):
        heads = rng.choice([1, 2, 4])
        shape = {
            "hidden_size": heads * rng.choice([8, 16, 24]), "intermediate_size": rng.choice([16, 48, 200]),
            "num_hidden_layers": rng.randint(2, 12), "num_attention_heads": heads,
            "num_key_value_heads": rng.choice([k for k in (1, 2, 4) if heads % k == 0]),
            "vocab_size": rng.choice([16, 300, 5000]), "tie_word_embeddings": rng.random() < 0.4,
        }
        dtype = rng.choice(list(DTYPES))
        total = sum(sizes(build(shape, dtype)).values())
        # From budgets that hold nothing to budgets that hold everything; some to the byte.
        memory = {i: int(total * rng.choice([0, 0.1, 0.3, 0.5, 0.8, 1.0, 1.3])) + rng.randint(0, 3)
                  for i in range(rng.randint(0, 4))}
        if rng.random() < 0.7 or not memory:
            memory["cpu"] = int(total * rng.choice([0.5, 1.5, 4]))
        strategy = rng.choice(["auto", "balanced_low_0", "sequential", "balanced"])
        yield case(f"random_{n}", shape, dtype, strategy, memory, stated=rng.random() < 0.8)


def build(shape, dtype):
    config = Phi3Config(**shape, pad_token_id=0, bos_token_id=0, eos_token_id=0, dtype=DTYPES[dtype])
    with torch.device("meta"):
        model = Phi3ForCausalLM._from_config(config, dtype=DTYPES[dtype])
    model.tie_weights()
    assert all(p.is_meta for p in model.parameters())
    tied = model.lm_head.weight is model.model.embed_tokens.weight
    assert tied == shape["tie_word_embeddings"]
    return model


def sizes(model):
    """Bytes of the modules that are placed whole: one layer stands for all, which are alike."""
    all_sizes, _ = tr.compute_module_sizes(model)
    layers = len(model.model.layers)
    layer = all_sizes["model.layers.0"]
    assert all_sizes["model.layers"] == layers * layer
    named = {"model.embed_tokens": 0, "model.norm": 0, "model.rotary_emb": 0, "lm_head": 0}
    named = {name: all_sizes.get(name, 0) for name in named}
    assert sum(named.values()) + layers * layer == all_sizes[""]
    return {**named, "model.layers": layers * layer}


def with_free_memory(memory):
    """Stands in for the probe of a machine's devices."""
    def get_max_memory(max_memory=None):
        return copy.deepcopy(memory) if max_memory is None else ORIGINAL(max_memory)
    acc.get_max_memory = get_max_memory
    tr.accelerate_max_memory = get_max_memory


ORIGINAL = acc.get_max_memory


def by_accelerate(model, strategy, max_memory):
    """What transformers 4 did."""
    no_split = model._no_split_modules
    if strategy != "sequential":
        max_memory = acc.get_balanced_memory(
            model, max_memory=max_memory, no_split_module_classes=no_split, low_zero=strategy == "balanced_low_0")
    else:
        max_memory = acc.get_max_memory(max_memory)
    return dict(acc.infer_auto_device_map(model, max_memory=max_memory, no_split_module_classes=no_split))


def by_transformers(model, strategy, max_memory):
    return dict(tr._get_device_map(model, strategy, max_memory, None))


def answer(case):
    model = build(case["shape"], case["dtype"])
    with_free_memory(case["memory"])
    given = lambda: copy.deepcopy(case["memory"]) if case["stated"] else None  # noqa: E731
    config = {"model_type": "phi3", "dtype": case["dtype"], **case["shape"]}
    accelerate = by_accelerate(model, case["strategy"], given())
    transformers = by_transformers(model, case["strategy"], given())
    return {
        "name": case["name"], "config": config, "strategy": case["strategy"], "stated": case["stated"],
        "memory": {str(k): v for k, v in case["memory"].items()}, "sizes": sizes(model),
        "accelerate": accelerate, **({"transformers": transformers} if transformers != accelerate else {}),
    }


def main():
    cases = [answer(c) for c in NAMED + list(random_cases(68))]
    values = [set(map(str, c["accelerate"].values())) for c in cases]
    assert any("disk" in v for v in values) and any(v == {"cpu"} for v in values)
    assert any({"0", "1", "2", "3"} <= v for v in values)
    differ = sum("transformers" in c for c in cases)
    assert differ
    dump(HERE / "placement.json", cases)
    print(f"{len(cases)} cases; accelerate and transformers differ in {differ}")


main()
