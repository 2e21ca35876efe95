"""Makes families.json: parameter counts of Hugging Face models of every family, from random configs.

    python make_families.py

Models are built on the meta device, so that sizes cost nothing. Each case leaves some keys out, so that the config
class's defaults are held against ours too. Counts are of distinct parameters: a tied head counts once, buffers not
at all. Where a model has parts beside the language model, `total` is the language model's alone. `windows` is the
window of each layer as the class works it out (null for none); `saved` is the same config as transformers writes it, without encoders.
"""

import json
import random

from common import HERE, check_pins, setup_torch

check_pins()
torch = setup_torch()

from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText  # noqa: E402
from transformers.utils import logging  # noqa: E402

logging.set_verbosity_error()

CASES_EACH = 8
# Parts of a model that are no part of the language model.
APART = ("vision_tower", "multi_modal_projector", "embed_tokens_extend", "vision_model", "visual.")


def sizes(rng):
    heads = rng.choice([4, 6, 8, 16])
    return {
        "hidden_size": heads * rng.choice([8, 12, 16, 64]),
        "intermediate_size": rng.randrange(40, 900),
        "num_hidden_layers": rng.randrange(2, 9),
        "num_attention_heads": heads,
        "num_key_value_heads": rng.choice([k for k in (1, 2, 3, 4, heads) if heads % k == 0]),
        "vocab_size": rng.randrange(100, 4000),
        "max_position_embeddings": rng.choice([512, 4096, 131072]),
    }


def maybe(rng, config, key, values):
    if rng.random() < 0.6:
        config[key] = rng.choice(values)


def experts(rng, config, count, per_token="num_experts_per_tok"):
    config[count] = rng.choice([2, 4, 8, 16])
    config[per_token] = rng.choice([1, 2])


def layer_types(rng, config):
    if rng.random() < 0.4:
        kinds = ["sliding_attention", "full_attention"]
        config["layer_types"] = [rng.choice(kinds) for _ in range(config["num_hidden_layers"])]


def latent(rng, config):
    config.update(
        kv_lora_rank=rng.randrange(8, 96),
        q_lora_rank=rng.choice([None, rng.randrange(8, 96)]),
        qk_nope_head_dim=rng.choice([8, 16, 24]),
        qk_rope_head_dim=rng.choice([8, 16]),
        v_head_dim=rng.choice([8, 16, 32]),
        moe_intermediate_size=rng.randrange(16, 200),
        n_shared_experts=rng.choice([1, 2, 3]),
        first_k_dense_replace=rng.choice([0, 1, 2]),
        # Grouped choice needs experts that divide into groups; it has no parameters.
        n_group=1,
        topk_group=1,
    )
    config["num_key_value_heads"] = config["num_attention_heads"]
    experts(rng, config, "n_routed_experts")
    maybe(rng, config, "attention_bias", [True, False])
    if config["model_type"] == "deepseek_v2":
        maybe(rng, config, "mlp_bias", [True, False])


def llama(rng, config):
    maybe(rng, config, "attention_bias", [True, False])
    maybe(rng, config, "mlp_bias", [True, False])
    maybe(rng, config, "head_dim", [8, 20, 64])


def mistral(rng, config):
    maybe(rng, config, "head_dim", [8, 20, 64])
    maybe(rng, config, "sliding_window", [None, 64, 1024])


def mixtral(rng, config):
    experts(rng, config, "num_local_experts")
    maybe(rng, config, "sliding_window", [None, 64])


def phimoe(rng, config):
    mixtral(rng, config)
    maybe(rng, config, "attention_bias", [True, False])
    maybe(rng, config, "lm_head_bias", [True, False])
    config["rope_scaling"] = None


def qwen2(rng, config):
    maybe(rng, config, "use_sliding_window", [True, False])
    maybe(rng, config, "sliding_window", [64, 1024])
    maybe(rng, config, "max_window_layers", [0, 1, 3])
    layer_types(rng, config)


def qwen3(rng, config):
    qwen2(rng, config)
    maybe(rng, config, "attention_bias", [True, False])
    maybe(rng, config, "head_dim", [8, 20, 64])


def qwen3_moe(rng, config):
    experts(rng, config, "num_experts")
    config["moe_intermediate_size"] = rng.randrange(16, 200)
    maybe(rng, config, "decoder_sparse_step", [1, 2])
    maybe(rng, config, "mlp_only_layers", [[], [0], [1, 2]])
    maybe(rng, config, "attention_bias", [True, False])
    maybe(rng, config, "use_sliding_window", [True, False])
    maybe(rng, config, "head_dim", [8, 20, 64])


def gemma2(rng, config):
    maybe(rng, config, "head_dim", [8, 20, 64])
    maybe(rng, config, "attention_bias", [True, False])
    maybe(rng, config, "sliding_window", [64, 1024])
    layer_types(rng, config)


def gemma3_text(rng, config):
    gemma2(rng, config)
    maybe(rng, config, "sliding_window_pattern", [2, 3, 6])


def smollm3(rng, config):
    llama(rng, config)
    config.pop("head_dim", None)
    maybe(rng, config, "use_sliding_window", [True, False])
    maybe(rng, config, "sliding_window", [64, 1024])
    maybe(rng, config, "no_rope_layer_interval", [2, 3])
    config["pad_token_id"] = 0


def olmo2(rng, config):
    maybe(rng, config, "attention_bias", [True, False])
    config["pad_token_id"] = 0


def olmo3(rng, config):
    olmo2(rng, config)
    maybe(rng, config, "sliding_window", [64, 1024])
    layer_types(rng, config)


def with_shared_expert(rng, config):
    experts(rng, config, "num_experts")
    config["moe_intermediate_size"] = rng.randrange(16, 200)
    maybe(rng, config, "shared_expert_intermediate_size", [24, 100])


def linear_attention(rng, config):
    config["head_dim"] = rng.choice([16, 32, 64])
    maybe(rng, config, "attention_bias", [True, False])
    # Each key head serves whole value heads.
    key_heads = rng.choice([1, 2, 4])
    config["linear_num_key_heads"] = key_heads
    config["linear_num_value_heads"] = key_heads * rng.choice([1, 2, 3])
    maybe(rng, config, "linear_key_head_dim", [8, 16, 24])
    maybe(rng, config, "linear_value_head_dim", [8, 16, 40])
    maybe(rng, config, "linear_conv_kernel_dim", [2, 3, 5])
    if rng.random() < 0.4:
        kinds = ["linear_attention", "full_attention"]
        config["layer_types"] = [rng.choice(kinds) for _ in range(config["num_hidden_layers"])]
    else:
        maybe(rng, config, "full_attention_interval", [1, 2, 3])


def qwen3_next(rng, config):
    with_shared_expert(rng, config)
    linear_attention(rng, config)
    maybe(rng, config, "decoder_sparse_step", [1, 2])
    maybe(rng, config, "mlp_only_layers", [[], [0], [1, 2]])


def qwen3_5_moe_text(rng, config):
    config.pop("intermediate_size")
    with_shared_expert(rng, config)
    linear_attention(rng, config)


def gemma3n_text(rng, config):
    layers = config["num_hidden_layers"] = rng.randrange(2, 12)
    layer_types(rng, config)
    config["num_kv_shared_layers"] = rng.randrange(0, layers)
    config["hidden_size_per_layer_input"] = rng.choice([8, 12, 20])
    config["vocab_size_per_layer_input"] = rng.randrange(100, 3000)
    if rng.random() < 0.4:
        config["intermediate_size"] = [rng.randrange(40, 900) for _ in range(layers)]
    maybe(rng, config, "head_dim", [8, 20, 64])
    maybe(rng, config, "attention_bias", [True, False])
    maybe(rng, config, "sliding_window", [64, 1024])
    maybe(rng, config, "laurel_rank", [4, 10])
    maybe(rng, config, "altup_num_inputs", [2, 3])


def gpt_oss(rng, config):
    experts(rng, config, "num_local_experts")
    maybe(rng, config, "head_dim", [8, 20, 64])
    maybe(rng, config, "sliding_window", [None, 64])
    layer_types(rng, config)


def phi3(rng, config):
    maybe(rng, config, "sliding_window", [None, 64, 1024])
    config["pad_token_id"] = 0


FAMILIES = {
    "phi3": phi3,
    "phi4_multimodal": phi3,
    "phimoe": phimoe,
    "llama": llama,
    "mistral": mistral,
    "mixtral": mixtral,
    "qwen2": qwen2,
    "qwen3": qwen3,
    "qwen3_moe": qwen3_moe,
    "gemma2": gemma2,
    "gemma3_text": gemma3_text,
    "deepseek_v2": latent,
    "deepseek_v3": latent,
    "smollm3": smollm3,
    "olmo2": olmo2,
    "olmo3": olmo3,
    "gpt_oss": gpt_oss,
    "qwen3_next": qwen3_next,
    "qwen3_5_text": linear_attention,
    "qwen3_5_moe_text": qwen3_5_moe_text,
    "gemma3n_text": gemma3n_text,
}

# Left out of some cases, if the class has a default that stays small enough to build.
# Of what lists every layer, the number of layers is no default.
LISTS = {"layer_types", "num_kv_shared_layers"}
OPTIONAL = ["num_key_value_heads", "vocab_size", "max_position_embeddings", "intermediate_size", "num_hidden_layers"]


def random_config(model_type, seed):
    rng = random.Random(f"{model_type} {seed}")
    config = {"model_type": model_type, **sizes(rng)}
    FAMILIES[model_type](rng, config)
    maybe(rng, config, "tie_word_embeddings", [True, False])
    for key in OPTIONAL:
        if rng.random() < 0.2 and not (key == "num_hidden_layers" and LISTS.intersection(config)):
            config.pop(key, None)
    return config


def windows(config):
    """The window of each layer, by what the class says of its layers."""
    text = config.get_text_config()
    window = getattr(text, "sliding_window", None)
    kinds = getattr(text, "layer_types", None)
    layers = text.num_hidden_layers
    if kinds is None:
        return [window] * layers
    return [window if kind == "sliding_attention" else None for kind in kinds]


def case(config):
    built = AutoConfig.for_model(**json.loads(json.dumps(config)))
    text = built.get_text_config()
    if text.num_attention_heads % text.num_key_value_heads:
        raise ValueError("a default of kv heads that does not divide the heads: built, but never computed with")
    model_class = AutoModelForImageTextToText if "vision_config" in config else AutoModelForCausalLM
    # Building what gemma3n sees with takes timm; its class makes the language model of this part of the config alone.
    part = text if config["model_type"] == "gemma3n" else built
    with torch.device("meta"):
        model = model_class.from_config(part)
    model.tie_weights()
    own = {name: p.numel() for name, p in model.named_parameters() if not any(part in name for part in APART)}
    # As `save_pretrained` writes it: some keys under another name than a person gives them.
    saved = json.loads(built.to_json_string(use_diff=True))
    for encoder in ("vision_config", "audio_config"):
        saved.pop(encoder, None)
    return {"config": config, "saved": saved, "total": sum(own.values()), "windows": windows(built)}


def nested():
    """Configs of several parts, of which one is the language model."""
    siglip = {"model_type": "siglip_vision_model", "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48,
              "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    text = random_config("gemma3_text", 99)
    yield {"model_type": "gemma3", "text_config": text, "vision_config": siglip, "mm_tokens_per_image": 4}
    yield {"model_type": "gemma3n", "text_config": random_config("gemma3n_text", 99)}
    for model_type in ("qwen3_5", "qwen3_5_moe"):
        text = random_config(f"{model_type}_text", 99)
        eyes = {"model_type": f"{model_type}_vision", "depth": 1, "hidden_size": 32, "num_heads": 2, "patch_size": 4,
                "intermediate_size": 48, "out_hidden_size": text["hidden_size"], "num_position_embeddings": 16}
        yield {"model_type": model_type, "text_config": text, "vision_config": eyes}


def main():
    cases = []
    for model_type in FAMILIES:
        seed = found = 0
        while found < CASES_EACH:
            config = random_config(model_type, seed)
            seed += 1
            try:
                cases.append(case(config))
            except (ValueError, RuntimeError, TypeError, ZeroDivisionError) as error:
                print(f"{model_type} {seed}: the class refuses it: {error}"[:160])
                assert seed < 20 * CASES_EACH, model_type
                continue
            found += 1
    cases += [case(config) for config in nested()]
    lines = ",\n".join(json.dumps(each, separators=(",", ":")) for each in cases)
    (HERE / "families.json").write_text(f"[\n{lines}\n]\n")
    print(f"{len(cases)} cases")


if __name__ == "__main__":
    main()
