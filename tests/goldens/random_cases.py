"""The small random checkpoints and the cases that run on them. Data only; make_random.py runs it."""

# name -> shapes. `embed`: std of the embedding rows (0.02 as in trained models, so that rms_norm_eps
# matters in the first layer). `store`: dtype of the files. `shards`: number of files.
CHECKPOINTS = {
    "mha": dict(vocab=96, hidden=72, heads=3, kv=3, head_dim=24, inter=96, layers=2, tied=False, embed=0.02, store="bf16", shards=1, seed=11),
    "gqa": dict(vocab=112, hidden=96, heads=6, kv=2, head_dim=16, inter=112, layers=2, tied=False, embed=0.5, store="bf16", shards=1, seed=22),
    "tied": dict(vocab=104, hidden=64, heads=4, kv=2, head_dim=16, inter=88, layers=3, tied=True, embed=0.3, store="bf16", shards=1, seed=33),
    "sharded": dict(vocab=96, hidden=48, heads=4, kv=2, head_dim=12, inter=64, layers=2, tied=False, embed=0.5, store="f16", shards=2, seed=44),
    "head_dim": dict(vocab=96, hidden=40, heads=4, kv=1, head_dim=16, inter=64, layers=2, tied=False, embed=0.5, store="bf16", shards=1, seed=55),
}

# Factor lists in the style of the published files: short near 1, long growing.
SHORT12 = [1.0, 1.02, 1.05, 1.1, 1.17, 1.29, 1.34, 1.68, 1.85, 2.02, 2.19, 2.84]
LONG12 = [1.08, 1.14, 1.59, 2.62, 4.79, 7.7, 12.2, 24.46, 32.59, 50.34, 62.61, 64.84]
SU_SHORT12 = [1.03, 1.05, 1.08, 1.23, 1.33, 1.4, 1.49, 1.56, 1.73, 1.97, 2.2, 3.1]
SU_LONG12 = [1.5, 1.9, 2.3, 3.3, 4.2, 6.5, 9.1, 15.9, 28.0, 41.0, 55.0, 61.0]
SHORT8 = [1.05, 1.1, 1.3, 1.5, 1.7, 1.9, 2.3, 2.9]
LONG8 = [1.2, 1.9, 3.3, 6.1, 11.5, 22.0, 40.0, 63.0]
SHORT6 = [1.1, 1.25, 1.4, 1.8, 2.1, 2.9]
LONG6 = [1.3, 2.4, 5.5, 13.0, 31.0, 64.0]

LONGROPE12 = {"type": "longrope", "short_factor": SHORT12, "long_factor": LONG12}
SU12 = {"type": "su", "short_factor": SU_SHORT12, "long_factor": SU_LONG12}
MHA_LR = dict(max_position_embeddings=192, original_max_position_embeddings=24, rope_scaling=LONGROPE12)
TIED_ALL = dict(
    max_position_embeddings=512,
    original_max_position_embeddings=16,
    partial_rotary_factor=0.75,
    sliding_window=10,
    rope_scaling={"type": "longrope", "short_factor": SHORT6, "long_factor": LONG6},
)


def lr(**more):
    return {**LONGROPE12, **more}


WINDOW = ["window_plus_1", "window_minus_1", "no_window"]
FACTOR = ["no_attention_factor", "attention_factor_once", "multiply_factors", "no_scaling"]
GQA = ["qkv_thirds", "qkv_interleaved", "gqa_modulo"]
BLOCK = ["kv_swapped", "gate_up_swapped", "rope_interleaved", "rope_reversed", "norm_one_plus", "no_final_norm", "gelu", "rope_bf16"]

# (case, checkpoint, config changes, more). A change to `...` removes the key.
# more: n = tokens in the full forward (default 20), prompt = greedy prompt length (default 6),
# new = greedy tokens (default 24), load = load-time overrides, must = mistakes this case has to show.
CASES = [
    # plain
    ("mha_plain", "mha", {}, dict(must=BLOCK + ["eps_1e6", "eps_zero", "pad_row_zero"], note="plain causal attention, untied, head_dim 24")),
    ("mha_one_token", "mha", {}, dict(n=1, prompt=1, must=["kv_swapped", "gate_up_swapped", "norm_one_plus", "eps_zero"], note="a sequence of one token; greedy from a one-token prompt")),
    ("mha_theta_250000", "mha", dict(rope_theta=250000.0), dict(n=40, must=["theta_10000"], note="rope_theta from the file")),
    ("mha_300_tokens", "mha", {}, dict(n=300, prompt=250, must=["rope_bf16", "rope_interleaved"], note="positions above 256, which bf16 cannot count")),
    ("mha_eps", "mha", dict(rms_norm_eps=0.003), dict(must=["eps_1e6", "eps_zero"], note="rms_norm_eps from the file")),
    ("mha_sparse_config", "mha", {k: ... for k in ("_name_or_path", "attention_dropout", "auto_map", "bos_token_id", "embd_pdrop", "hidden_act", "initializer_range", "num_key_value_heads", "original_max_position_embeddings", "resid_pdrop", "rms_norm_eps", "rope_scaling", "rope_theta", "sliding_window", "tie_word_embeddings", "torch_dtype", "transformers_version", "use_cache", "attention_bias", "max_position_embeddings")}, dict(must=["eps_1e6", "eps_zero"], note="every key with a default left out: kv heads = heads, rope_theta 10000, rms_norm_eps 1e-5, no window, untied, silu")),
    ("gqa_plain", "gqa", {}, dict(must=BLOCK[:-1] + GQA, note="grouped queries: 6 heads on 2 kv heads; qkv split by block sizes")),
    ("tied_plain", "tied", {}, dict(must=GQA, note="tied embeddings (no lm_head tensor), 3 layers")),
    ("tied_partial", "tied", dict(partial_rotary_factor=0.75), dict(n=32, must=["full_rotary", "rotary_tail", "rotary_head_dim_exponent", "rotary_scale", "rope_interleaved"], note="partial rotary: the first 12 of 16 dims, frequencies over 12")),
    ("tied_partial_floor", "tied", dict(partial_rotary_factor=0.4), dict(n=32, must=["full_rotary", "rotary_tail", "rotary_head_dim_exponent", "rotary_scale"], note="rotary dims = int(16 * 0.4) = 6: rounded down")),
    ("tied_partial_odd", "tied", dict(partial_rotary_factor=0.45), dict(n=32, must=["full_rotary", "rotary_tail"], note="int(16 * 0.45) = 7 is odd: Hugging Face takes 4 frequencies theta^(-2i/7) and rotates 8 dims")),
    ("sharded_plain", "sharded", {}, dict(must=BLOCK[:-1] + GQA, note="two shards with an index, weights in f16")),
    ("head_dim", "head_dim", dict(head_dim=16), dict(must=BLOCK[:-1] + ["hidden_over_heads_scale"], note="explicit head_dim 16 with hidden/heads = 10; one kv head; o_proj is [40, 64]")),
    ("head_dim_window_partial", "head_dim", dict(head_dim=16, sliding_window=7, partial_rotary_factor=0.5), dict(n=30, must=WINDOW + ["full_rotary", "rotary_tail", "hidden_over_heads_scale"], note="explicit head_dim with partial rotary (8 of 16) and a window")),
    # window
    ("mha_window_below", "mha", dict(sliding_window=8), dict(n=7, prompt=4, must=[], note="window 8, 7 tokens: no effect yet; greedy runs past the window")),
    ("mha_window_at", "mha", dict(sliding_window=8), dict(n=8, prompt=8, must=["window_minus_1"], note="window 8, 8 tokens: the last row sees all 8")),
    ("mha_window_one_over", "mha", dict(sliding_window=8), dict(n=9, prompt=9, must=WINDOW, note="window 8, 9 tokens: the last row loses the first key")),
    ("mha_window_above", "mha", dict(sliding_window=8), dict(n=48, prompt=30, must=WINDOW, note="window 8, 48 tokens; greedy starts above the window")),
    ("gqa_window", "gqa", dict(sliding_window=11), dict(n=40, prompt=5, new=32, must=WINDOW + GQA, note="window 11 with grouped queries; greedy grows past the window")),
    # longrope
    ("mha_longrope_below", "mha", MHA_LR, dict(n=12, prompt=18, must=FACTOR + ["orig_is_max", "always_long", "attention_factor_long_only"], note="12 tokens of original 24: short factors, attention factor too; greedy crosses 24")),
    ("mha_longrope_at", "mha", MHA_LR, dict(n=24, prompt=24, must=FACTOR + ["switch_one_early", "always_long", "attention_factor_long_only"], note="24 of 24 tokens: still short; the second greedy step crosses")),
    ("mha_longrope_one_over", "mha", MHA_LR, dict(n=25, prompt=25, must=FACTOR + ["switch_one_late", "always_short", "per_position_switch"], note="25 tokens: long factors for all 25 positions")),
    ("mha_longrope_above", "mha", MHA_LR, dict(n=60, prompt=40, must=FACTOR + ["always_short", "per_position_switch", "rope_bf16"], note="60 tokens: long factors throughout")),
    ("mha_su_below", "mha", {**MHA_LR, "rope_scaling": SU12}, dict(n=16, prompt=20, must=FACTOR + ["always_long"], note="the same under the name su, with its own lists; greedy crosses")),
    ("mha_su_above", "mha", {**MHA_LR, "rope_scaling": SU12}, dict(n=33, prompt=33, must=FACTOR + ["always_short", "per_position_switch"], note="su above the original length")),
    ("mha_longrope_factor", "mha", {**MHA_LR, "rope_scaling": lr(factor=2.5)}, dict(n=30, must=FACTOR + ["attention_factor_from_ratio"], note="explicit factor 2.5 replaces max/original (8) in the attention factor")),
    ("mha_longrope_attention_factor", "mha", {**MHA_LR, "rope_scaling": lr(factor=2.5, attention_factor=1.7)}, dict(n=30, must=FACTOR + ["attention_factor_from_ratio"], note="explicit attention_factor wins over factor")),
    ("mha_longrope_orig_equals_max", "mha", {**MHA_LR, "max_position_embeddings": 24}, dict(n=30, prompt=20, must=["multiply_factors", "always_short", "per_position_switch"], note="original == max: attention factor 1, long factors above it all the same")),
    ("mha_longrope_orig_absent", "mha", {**MHA_LR, "max_position_embeddings": 131072, "original_max_position_embeddings": ...}, dict(n=30, must=FACTOR + ["always_long"], note="original length absent from the file: 4096, so short factors and attention factor 1.190238 = sqrt(1 + ln 32 / ln 4096)")),
    ("gqa_longrope_window", "gqa", dict(max_position_embeddings=160, original_max_position_embeddings=20, sliding_window=9, rope_scaling={"type": "longrope", "short_factor": SHORT8, "long_factor": LONG8}), dict(n=40, prompt=6, new=32, must=WINDOW + FACTOR + GQA + ["always_short", "per_position_switch"], note="longrope, window and grouped queries; greedy runs past the window, then past the original length")),
    ("tied_longrope_partial_below", "tied", {k: v for k, v in TIED_ALL.items() if k != "sliding_window"}, dict(n=13, prompt=10, must=FACTOR + ["full_rotary", "always_long"], note="longrope over 12 of 16 dims (6 factors), short")),
    ("tied_longrope_partial_above", "tied", {k: v for k, v in TIED_ALL.items() if k != "sliding_window"}, dict(n=40, prompt=17, must=FACTOR + ["full_rotary", "always_short", "per_position_switch"], note="longrope over 12 of 16 dims, long")),
    # new spelling
    ("gqa_rope_parameters", "gqa", {"torch_dtype": ..., "rope_scaling": ..., "rope_theta": ..., "dtype": "bfloat16", "rope_parameters": {"rope_type": "default", "rope_theta": 250000.0, "partial_rotary_factor": 0.5}}, dict(n=40, must=["theta_10000", "full_rotary"], note="new spelling: dtype, and rope_theta and partial_rotary_factor inside rope_parameters")),
    ("sharded_rope_parameters_longrope", "sharded", {"torch_dtype": ..., "rope_scaling": ..., "rope_theta": ..., "dtype": "float16", "max_position_embeddings": 144, "original_max_position_embeddings": 18, "rope_parameters": {"rope_type": "longrope", "rope_theta": 50000.0, "short_factor": SHORT6, "long_factor": LONG6, "original_max_position_embeddings": 36, "partial_rotary_factor": 1.0}}, dict(n=30, prompt=14, must=FACTOR + ["theta_10000", "orig_nested_wins", "always_short", "per_position_switch"], note="new spelling of longrope; the top-level original length (18) beats the one inside rope_parameters (36)")),
    # stop tokens: eos ids are filled in by the script so that generation stops early
    ("gqa_eos_int", "gqa", {}, dict(stop="int", must=GQA, note="eos_token_id a number: greedy stops there, the id included")),
    ("gqa_eos_list", "gqa", {}, dict(stop="list", must=GQA, note="eos_token_id a list: greedy stops at its second id, the id included")),
    # linear: Phi3Config refuses it, so the oracle is Llama (Mistral with a window) on the same weights, split
    ("mha_linear", "mha", {}, dict(n=40, load={"rope_scaling": {"type": "linear", "factor": 2.0}}, must=["linear_ignored", "linear_multiplied"], note="linear scaling by 2 as a load-time override")),
    ("gqa_linear_theta_window", "gqa", dict(rope_theta=250000.0, sliding_window=9), dict(n=40, load={"rope_scaling": {"type": "linear", "factor": 4.0}}, must=["linear_ignored", "linear_multiplied", "theta_10000"] + WINDOW, note="linear scaling by 4 with rope_theta 250000, grouped queries and a window")),
    ("mha_linear_over_longrope", "mha", MHA_LR, dict(n=40, prompt=18, load={"rope_scaling": {"type": "linear", "factor": 3.0}}, must=["linear_ignored", "linear_multiplied"], note="the override replaces the longrope of the file: no attention factor, no switch")),
    # everything at once
    ("all_below", "tied", TIED_ALL, dict(n=9, prompt=8, must=FACTOR + ["full_rotary", "always_long"], note="window 10, longrope 16 of 512, partial 0.75, grouped queries, tied: 9 tokens, below both")),
    ("all_at", "tied", TIED_ALL, dict(n=16, prompt=16, must=WINDOW + FACTOR + ["full_rotary", "switch_one_early"], note="the same with 16 tokens: above the window, at the original length")),
    ("all_one_over", "tied", TIED_ALL, dict(n=17, prompt=17, must=WINDOW + FACTOR + ["full_rotary", "switch_one_late", "per_position_switch"], note="the same with 17 tokens: one above the original length")),
    ("all_above", "tied", TIED_ALL, dict(n=64, prompt=9, new=32, must=WINDOW + FACTOR + GQA + ["full_rotary", "always_short", "per_position_switch"], note="the same with 64 tokens; greedy from 9 crosses the window and then the original length")),
]
