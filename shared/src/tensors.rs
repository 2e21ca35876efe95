//! The one list of a model's tensors: names, shapes, groups.
//!
//! The estimator sums it, loaders check files against it, engines and synthetic weights ask it for names,
//! so that they cannot disagree. No other module spells a tensor's name.

use crate::decoder::{Attention, Augmented, Decoder, ExpertNames, Layer, Mlp, QkNorm, SharedExperts};

mod group;

pub use crate::decoder::Role;
pub use group::Group;

impl Role {
    /// Group in reports.
    #[must_use]
    pub fn group(self) -> Group {
        use Role::*;
        match self {
            Embedding | LayerEmbeddings => Group::Embedding,
            LmHead => Group::LmHead,
            QkvProj | QProj | KProj | VProj | OProj | Sinks | QLatentProj | QExpandProj | KvLatentProj
            | KvExpandProj | StateProj | StateRatesProj | StateQkvProj | StateGateProj | StateWriteProj
            | StateTimeProj | StateConv | StateTimeBias | StateDecay | StateOutProj => Group::Attention,
            // What else is in and around the blocks.
            GateUpProj | GateProj | UpProj | DownProj | PredictorProj | LaurelDownProj | LaurelUpProj
            | AltupScale | AltupCorrection | AltupPrediction | AltupRouter | LayerEmbeddingGate
            | LayerEmbeddingProj | LayerEmbeddingsProj | StreamProj | StreamOutProj => Group::Mlp,
            Router | SharedGate => Group::Router,
            ExpertGateProj | ExpertUpProj | ExpertDownProj | ExpertsGateUpProj | ExpertsDownProj
            | SharedGateProj | SharedUpProj | SharedDownProj => Group::Experts,
            QNorm
            | KNorm
            | QLatentNorm
            | KvLatentNorm
            | InputNorm
            | PostAttentionNorm
            | PreFeedforwardNorm
            | PostFeedforwardNorm
            | FinalNorm
            | StateNorm
            | LaurelNorm
            | AltupRouterNorm
            | LayerEmbeddingNorm
            | LayerEmbeddingsNorm
            | PredictorEmbeddingNorm
            | PredictorHiddenNorm
            | PredictorFinalNorm => Group::Norm,
        }
    }
}

/// One tensor that a checkpoint of the model must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Name in a Hugging Face checkpoint.
    pub name: String,
    /// Dimensions, row-major: `[rows, columns]` or `[width]`.
    pub shape: Vec<usize>,
    /// What it is.
    pub role: Role,
    /// Its decoder layer; `None` outside the layers.
    pub layer: Option<usize>,
}

impl TensorSpec {
    /// Number of parameters.
    #[must_use]
    pub fn count(&self) -> u64 {
        count(&self.shape)
    }

    /// Group in reports.
    #[must_use]
    pub fn group(&self) -> Group {
        self.role.group()
    }
}

/// Tensors that are alike: those of each expert of a layer are one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What they are.
    pub role: Role,
    /// The bias of the role, not its weight.
    pub is_bias: bool,
    /// Dimensions of one.
    pub shape: Vec<usize>,
    /// How many there are.
    pub copies: usize,
    /// Their decoder layer; `None` outside the layers.
    pub layer: Option<usize>,
}

impl Part {
    /// Number of parameters of all copies.
    #[must_use]
    pub fn count(&self) -> u64 {
        count(&self.shape).saturating_mul(self.copies as u64)
    }
}

fn count(shape: &[usize]) -> u64 {
    shape.iter().fold(1, |product: u64, d| product.saturating_mul(*d as u64))
}

/// The weight of a role; `layer` is ignored for roles outside the layers.
///
/// # Panics
/// The model has no such tensor: a role is asked for by who knows that it is there.
#[must_use]
pub fn spec(decoder: &Decoder, role: Role, layer: usize) -> TensorSpec {
    let is_it = |part: &Part| part.role == role && !part.is_bias;
    let part = layer_parts(decoder, decoder.layers[layer.min(decoder.layers.len() - 1)])
        .into_iter()
        .find(is_it)
        .map(|part| Part { layer: Some(layer), ..part })
        .or_else(|| outside(decoder).chain([head(decoder)]).find(is_it));
    #[expect(clippy::expect_used, reason = "stated above")]
    let part = part.expect("a role of this model");
    TensorSpec { name: name(decoder, &part, 0), role, layer: part.layer, shape: part.shape }
}

/// Every tensor of a checkpoint, in the order of computation. A tied head has no tensor of its own; predictors and
/// what lies beside the language model are not in it.
pub fn list(decoder: &Decoder) -> impl Iterator<Item = TensorSpec> + '_ {
    parts(decoder).flat_map(move |part| specs(decoder, part))
}

/// The tensors of [`list`], those that are alike together: what is summed.
pub fn parts(decoder: &Decoder) -> impl Iterator<Item = Part> + '_ {
    let layers = decoder.layers.iter().enumerate().flat_map(move |(index, layer)| {
        layer_parts(decoder, *layer).into_iter().map(move |part| Part { layer: Some(index), ..part })
    });
    let mut outside = outside(decoder);
    outside
        .next()
        .into_iter()
        .chain(layers)
        .chain(outside)
        .chain((!decoder.tie_word_embeddings).then(|| head(decoder)).into_iter().chain(head_bias(decoder)))
}

/// The tensors of layers that only predict further ahead; the copies of embedding and head that files keep beside
/// them are not in it.
pub fn predictor_parts(decoder: &Decoder) -> impl Iterator<Item = Part> + '_ {
    let hidden = decoder.hidden_size;
    decoder.predictors.iter().enumerate().flat_map(move |(index, layer)| {
        let own = [
            (Role::PredictorEmbeddingNorm, vec![hidden]),
            (Role::PredictorHiddenNorm, vec![hidden]),
            (Role::PredictorProj, vec![hidden, 2 * hidden]),
            (Role::PredictorFinalNorm, vec![hidden]),
        ];
        let own = own.into_iter().map(|(role, shape)| weight(role, shape));
        let index = decoder.layers.len() + index;
        own.chain(layer_parts(decoder, *layer)).map(move |part| Part { layer: Some(index), ..part })
    })
}

/// Whether a stored tensor belongs to no part of the language model.
#[must_use]
pub fn is_apart(decoder: &Decoder, name: &str) -> bool {
    is_not_loaded(decoder, name) || is_beside(decoder, name)
}

/// Whether a stored tensor belongs to a part beside the language model: an encoder, an adapter.
#[must_use]
pub fn is_beside(decoder: &Decoder, name: &str) -> bool {
    decoder.apart.iter().any(|part| apart_names(part.key).iter().any(|within| name.contains(within)))
}

/// Whether published files hold a tensor that the class leaves where it is: another part of the family, a layer that
/// predicts further ahead, or what would make keys and values in a layer that reads another one's.
#[must_use]
pub fn is_not_loaded(decoder: &Decoder, name: &str) -> bool {
    let predictor = (0..decoder.predictors.len()).any(|index| {
        let layer = decoder.layers.len() + index;
        let within = [format!("{}.layers.{layer}.", decoder.family.body), format!("blk.{layer}.")];
        within.iter().any(|within| name.starts_with(within))
    });
    if predictor || decoder.family.unloaded.iter().any(|start| name.starts_with(start)) {
        return true;
    }
    let within = |name: &str| -> Option<bool> {
        let rest = name.strip_prefix(decoder.family.body)?.strip_prefix(".layers.")?;
        let (layer, rest) = rest.split_once('.')?;
        let (module, _) = rest.strip_prefix("self_attn.")?.split_once('.')?;
        let layer = decoder.layers.get(layer.parse::<usize>().ok()?)?;
        Some(layer.cache_of.is_some() && matches!(module, "k_proj" | "v_proj" | "k_norm"))
    };
    within(name).unwrap_or(false)
}

/// The layer that a stored tensor belongs to, under Hugging Face's name or GGUF's.
#[must_use]
pub fn layer_of(decoder: &Decoder, name: &str) -> Option<usize> {
    let within = || name.strip_prefix(decoder.family.body)?.strip_prefix(".layers.");
    let (layer, _) = name.strip_prefix("blk.").or_else(within)?.split_once('.')?;
    layer.parse().ok().filter(|layer| *layer < decoder.layers.len())
}

/// Whether a stored tensor is the last norm's or the head's, under Hugging Face's name or GGUF's.
#[must_use]
pub fn is_after_layers(decoder: &Decoder, name: &str) -> bool {
    let own = [Role::FinalNorm, Role::LmHead].map(|role| module(decoder, role, None));
    name.starts_with("output") || own.iter().any(|module| name.starts_with(module.as_str()))
}

/// What stands in the names of the tensors of a part, by the key of the config that tells of it.
fn apart_names(key: &str) -> &'static [&'static str] {
    match key {
        "vision_config" => &[
            "vision_tower.",
            "vision_model.",
            "multi_modal_projector.",
            "image_embed.",
            "embed_vision.",
            "model.visual.",
        ],
        "audio_config" => &["audio_tower.", "audio_embed.", "embed_audio."],
        "img_processor" => &["vision_embed_tokens.", "image_embed."],
        "audio_processor" => &["audio_embed."],
        "embd_layer" => &["embed_tokens_extend."],
        "vision_lora" => &[".lora_A.vision.", ".lora_B.vision."],
        "speech_lora" => &[".lora_A.speech.", ".lora_B.speech."],
        _ => &[],
    }
}

fn specs(decoder: &Decoder, part: Part) -> impl Iterator<Item = TensorSpec> + '_ {
    (0..part.copies).map(move |copy| TensorSpec {
        name: name(decoder, &part, copy),
        shape: part.shape.clone(),
        role: part.role,
        layer: part.layer,
    })
}

fn weight(role: Role, shape: Vec<usize>) -> Part {
    Part { role, is_bias: false, shape, copies: 1, layer: None }
}

fn bias(role: Role, width: usize) -> Part {
    Part { role, is_bias: true, shape: vec![width], copies: 1, layer: None }
}

/// Embedding, then the final norm and what the layers share beside it.
fn outside(decoder: &Decoder) -> impl Iterator<Item = Part> + use<> {
    let hidden = decoder.hidden_size;
    let embedding = weight(Role::Embedding, vec![decoder.vocab_size, hidden]);
    let norm_bias = decoder.family.layer_norm.then(|| bias(Role::FinalNorm, hidden));
    let further =
        decoder.augmented.map(|augmented| augmented_outside(augmented, hidden, decoder.layers.len()));
    let norm = weight(Role::FinalNorm, vec![hidden]);
    let further = further.into_iter().flatten().filter(|part| part.copies > 0);
    [embedding, norm].into_iter().chain(norm_bias).chain(further)
}

fn augmented_outside(augmented: Augmented, hidden: usize, layers: usize) -> [Part; 5] {
    let Augmented { streams, rows, width, .. } = augmented;
    let all = layers * width;
    let of_streams = |role| Part { copies: streams - 1, ..weight(role, vec![hidden, hidden]) };
    [
        weight(Role::LayerEmbeddings, vec![rows, all]),
        weight(Role::LayerEmbeddingsProj, vec![all, hidden]),
        weight(Role::LayerEmbeddingsNorm, vec![width]),
        of_streams(Role::StreamProj),
        of_streams(Role::StreamOutProj),
    ]
}

fn augmented_in_layer(augmented: Augmented, hidden: usize) -> [Part; 11] {
    let Augmented { streams, rank, width, .. } = augmented;
    [
        (Role::AltupPrediction, vec![streams * streams, streams]),
        (Role::AltupCorrection, vec![streams, streams]),
        (Role::AltupRouter, vec![streams, hidden]),
        (Role::AltupRouterNorm, vec![hidden]),
        (Role::AltupScale, vec![hidden]),
        (Role::LaurelDownProj, vec![rank, hidden]),
        (Role::LaurelUpProj, vec![hidden, rank]),
        (Role::LaurelNorm, vec![hidden]),
        (Role::LayerEmbeddingGate, vec![width, hidden]),
        (Role::LayerEmbeddingProj, vec![hidden, width]),
        (Role::LayerEmbeddingNorm, vec![hidden]),
    ]
    .map(|(role, shape)| weight(role, shape))
}

fn head(decoder: &Decoder) -> Part {
    weight(Role::LmHead, vec![decoder.vocab_size, decoder.hidden_size])
}

fn head_bias(decoder: &Decoder) -> Option<Part> {
    decoder.biases.head.then(|| bias(Role::LmHead, decoder.vocab_size))
}

/// The tensors of one layer, in the order of computation.
fn layer_parts(decoder: &Decoder, layer: Layer) -> Vec<Part> {
    let (family, hidden) = (decoder.family, decoder.hidden_size);
    let mut parts = Vec::with_capacity(16);
    let norms = |parts: &mut Vec<Part>, roles: &[Role]| {
        for role in family.norms.iter().filter(|role| roles.contains(role)) {
            parts.push(weight(*role, vec![hidden]));
            parts.extend(family.layer_norm.then(|| bias(*role, hidden)));
        }
    };
    norms(&mut parts, &[Role::InputNorm]);
    attention_parts(decoder, layer, &mut parts);
    norms(&mut parts, &[Role::PostAttentionNorm, Role::PreFeedforwardNorm]);
    mlp_parts(decoder, layer.mlp, &mut parts);
    norms(&mut parts, &[Role::PostFeedforwardNorm]);
    parts.extend(decoder.augmented.into_iter().flat_map(|augmented| augmented_in_layer(augmented, hidden)));
    parts
}

/// A projection and, if it has one, its bias.
fn projection(role: Role, [rows, columns]: [usize; 2], has_bias: bool) -> impl Iterator<Item = Part> {
    [weight(role, vec![rows, columns])].into_iter().chain(has_bias.then(|| bias(role, rows)))
}

fn attention_parts(decoder: &Decoder, layer: Layer, parts: &mut Vec<Part>) {
    let (family, hidden, biases) = (decoder.family, decoder.hidden_size, decoder.biases);
    let attention = layer.attention;
    let q = attention.query_width();
    match attention {
        Attention::Heads { heads, kv_heads, head_dim, gated } => {
            let kv = kv_heads * head_dim;
            let has_kv = layer.cache_of.is_none();
            if family.fused {
                parts.extend(projection(Role::QkvProj, [q + 2 * kv, hidden], biases.qkv));
            } else {
                let rows = if gated { 2 * q } else { q };
                parts.extend(projection(Role::QProj, [rows, hidden], biases.qkv));
                if has_kv {
                    parts.extend(projection(Role::KProj, [kv, hidden], biases.qkv));
                    parts.extend(projection(Role::VProj, [kv, hidden], biases.qkv));
                }
            }
            let normed = match family.qk_norm {
                QkNorm::None => None,
                QkNorm::Head => Some([head_dim, head_dim]),
                QkNorm::Whole => Some([q, kv]),
            };
            if let Some([q, k]) = normed {
                parts.push(weight(Role::QNorm, vec![q]));
                parts.extend(has_kv.then(|| weight(Role::KNorm, vec![k])));
            }
            parts.extend(family.sinks.then(|| weight(Role::Sinks, vec![heads])));
        }
        Attention::Linear { value_heads, value_dim, kernel, .. } => {
            let mixed = attention.mixed_width();
            if family.linear.is_some_and(|linear| linear.split) {
                parts.push(weight(Role::StateQkvProj, vec![2 * q + mixed, hidden]));
                parts.push(weight(Role::StateGateProj, vec![mixed, hidden]));
                parts.push(weight(Role::StateWriteProj, vec![value_heads, hidden]));
                parts.push(weight(Role::StateTimeProj, vec![value_heads, hidden]));
            } else {
                parts.push(weight(Role::StateProj, vec![2 * q + 2 * mixed, hidden]));
                parts.push(weight(Role::StateRatesProj, vec![2 * value_heads, hidden]));
            }
            parts.push(weight(Role::StateConv, vec![2 * q + mixed, 1, kernel]));
            parts.push(weight(Role::StateTimeBias, vec![value_heads]));
            parts.push(weight(Role::StateDecay, vec![value_heads]));
            parts.push(weight(Role::StateNorm, vec![value_dim]));
            parts.push(weight(Role::StateOutProj, vec![hidden, mixed]));
            return;
        }
        Attention::Latent { heads, q_rank, kv_rank, nope_dim, rope_dim, value_dim } => {
            match q_rank {
                None => parts.extend(projection(Role::QProj, [q, hidden], false)),
                Some(rank) => {
                    parts.extend(projection(Role::QLatentProj, [rank, hidden], biases.qkv));
                    parts.push(weight(Role::QLatentNorm, vec![rank]));
                    parts.extend(projection(Role::QExpandProj, [q, rank], false));
                }
            }
            parts.extend(projection(Role::KvLatentProj, [kv_rank + rope_dim, hidden], biases.qkv));
            parts.push(weight(Role::KvLatentNorm, vec![kv_rank]));
            parts.extend(projection(Role::KvExpandProj, [heads * (nope_dim + value_dim), kv_rank], false));
        }
    }
    parts.extend(projection(Role::OProj, [hidden, attention.mixed_width()], biases.output));
}

fn mlp_parts(decoder: &Decoder, mlp: Mlp, parts: &mut Vec<Part>) {
    let (hidden, has_bias) = (decoder.hidden_size, decoder.biases.mlp);
    match mlp {
        Mlp::Dense { width } => {
            if decoder.family.fused {
                parts.extend(projection(Role::GateUpProj, [2 * width, hidden], has_bias));
            } else {
                parts.extend(projection(Role::GateProj, [width, hidden], has_bias));
                parts.extend(projection(Role::UpProj, [width, hidden], has_bias));
            }
            parts.extend(projection(Role::DownProj, [hidden, width], has_bias));
        }
        Mlp::Experts { count, width, shared_width, gated, .. } => {
            let stacked = decoder.family.experts.is_some_and(|e| e.names == ExpertNames::Stacked);
            // `mlp_bias` is a key of dense and shared MLPs; experts that have one have it always.
            parts.extend(projection(Role::Router, [count, hidden], has_bias && stacked));
            if stacked {
                for (role, reads, gives) in
                    [(Role::ExpertsGateUpProj, hidden, 2 * width), (Role::ExpertsDownProj, width, hidden)]
                {
                    parts.push(weight(role, vec![count, reads, gives]));
                    let bias = Part { shape: vec![count, gives], ..bias(role, gives) };
                    parts.extend(has_bias.then_some(bias));
                }
                return;
            }
            for (role, shape) in [
                (Role::ExpertGateProj, [width, hidden]),
                (Role::ExpertUpProj, [width, hidden]),
                (Role::ExpertDownProj, [hidden, width]),
            ] {
                parts.push(Part { copies: count, ..weight(role, shape.to_vec()) });
            }
            if shared_width > 0 {
                parts.extend(projection(Role::SharedGateProj, [shared_width, hidden], has_bias));
                parts.extend(projection(Role::SharedUpProj, [shared_width, hidden], has_bias));
                parts.extend(projection(Role::SharedDownProj, [hidden, shared_width], has_bias));
            }
            parts.extend(gated.then(|| weight(Role::SharedGate, vec![1, hidden])));
        }
    }
}

/// The module that a role's tensors belong to where layers are placed whole: `model.embed_tokens`, `model.layers.3`.
#[must_use]
pub fn module(decoder: &Decoder, role: Role, layer: Option<usize>) -> String {
    if let Some(layer) = layer {
        return format!("{}.layers.{layer}", decoder.family.body);
    }
    let mut name = name(decoder, &weight(role, Vec::new()), 0);
    // Of several alike, the list that holds them.
    let levels = if matches!(role, Role::StreamProj | Role::StreamOutProj) { 2 } else { 1 };
    for _ in 0..levels {
        name.truncate(name.rfind('.').unwrap_or(name.len()));
    }
    name
}

/// The module that alone holds a part: `model.layers.3.mlp.experts.0` and its projection, the first of several copies.
#[must_use]
pub fn own_module(decoder: &Decoder, part: &Part) -> String {
    let mut name = name(decoder, part, 0);
    for suffix in [".weight", ".bias"] {
        name.truncate(name.strip_suffix(suffix).map_or(name.len(), str::len));
    }
    name
}

/// The name of one copy of a part.
fn name(decoder: &Decoder, part: &Part, copy: usize) -> String {
    let family = decoder.family;
    let numbered = family.experts.is_some_and(|experts| experts.names == ExpertNames::Numbered);
    let one_shared = family.experts.is_some_and(|e| matches!(e.shared, Some(SharedExperts::Gated(..))));
    let small = family.name() == "phi3small";
    let module = match part.role {
        Role::Embedding => "embed_tokens",
        Role::FinalNorm if small => "final_layernorm",
        Role::FinalNorm => "norm",
        Role::LmHead => family.head,
        Role::LayerEmbeddings => "embed_tokens_per_layer",
        Role::LayerEmbeddingsProj => "per_layer_model_projection",
        Role::LayerEmbeddingsNorm => "per_layer_projection_norm",
        Role::StreamProj => "altup_projections.{}",
        Role::StreamOutProj => "altup_unembed_projections.{}",
        Role::InputNorm => "input_layernorm",
        Role::PostAttentionNorm => "post_attention_layernorm",
        Role::PreFeedforwardNorm => "pre_feedforward_layernorm",
        Role::PostFeedforwardNorm => "post_feedforward_layernorm",
        Role::QkvProj if small => "self_attn.query_key_value",
        Role::QkvProj => "self_attn.qkv_proj",
        Role::QProj => "self_attn.q_proj",
        Role::KProj => "self_attn.k_proj",
        Role::VProj => "self_attn.v_proj",
        Role::OProj if small => "self_attn.dense",
        Role::OProj => "self_attn.o_proj",
        Role::QNorm => "self_attn.q_norm",
        Role::KNorm => "self_attn.k_norm",
        Role::Sinks => "self_attn.sinks",
        Role::QLatentProj => "self_attn.q_a_proj",
        Role::QLatentNorm => "self_attn.q_a_layernorm",
        Role::QExpandProj => "self_attn.q_b_proj",
        Role::KvLatentProj => "self_attn.kv_a_proj_with_mqa",
        Role::KvLatentNorm => "self_attn.kv_a_layernorm",
        Role::KvExpandProj => "self_attn.kv_b_proj",
        Role::StateProj => "linear_attn.in_proj_qkvz",
        Role::StateRatesProj => "linear_attn.in_proj_ba",
        Role::StateQkvProj => "linear_attn.in_proj_qkv",
        Role::StateGateProj => "linear_attn.in_proj_z",
        Role::StateWriteProj => "linear_attn.in_proj_b",
        Role::StateTimeProj => "linear_attn.in_proj_a",
        Role::StateConv => "linear_attn.conv1d",
        Role::StateTimeBias => "linear_attn.dt_bias",
        Role::StateDecay => "linear_attn.A_log",
        Role::StateNorm => "linear_attn.norm",
        Role::StateOutProj => "linear_attn.out_proj",
        Role::LaurelDownProj => "laurel.linear_left",
        Role::LaurelUpProj => "laurel.linear_right",
        Role::LaurelNorm => "laurel.post_laurel_norm",
        Role::AltupScale => "altup.correct_output_scale",
        Role::AltupCorrection => "altup.correction_coefs",
        Role::AltupPrediction => "altup.prediction_coefs",
        Role::AltupRouter => "altup.modality_router",
        Role::AltupRouterNorm => "altup.router_norm",
        Role::LayerEmbeddingGate => "per_layer_input_gate",
        Role::LayerEmbeddingProj => "per_layer_projection",
        Role::LayerEmbeddingNorm => "post_per_layer_input_norm",
        Role::GateUpProj if small => "mlp.up_proj",
        Role::GateUpProj => "mlp.gate_up_proj",
        Role::GateProj => "mlp.gate_proj",
        Role::UpProj => "mlp.up_proj",
        Role::DownProj => "mlp.down_proj",
        Role::Router if numbered => "block_sparse_moe.gate",
        Role::Router if family.sinks => "mlp.router",
        Role::Router => "mlp.gate",
        Role::ExpertGateProj if numbered => "block_sparse_moe.experts.{}.w1",
        Role::ExpertUpProj if numbered => "block_sparse_moe.experts.{}.w3",
        Role::ExpertDownProj if numbered => "block_sparse_moe.experts.{}.w2",
        Role::ExpertGateProj => "mlp.experts.{}.gate_proj",
        Role::ExpertUpProj => "mlp.experts.{}.up_proj",
        Role::ExpertDownProj => "mlp.experts.{}.down_proj",
        Role::ExpertsGateUpProj => "mlp.experts.gate_up_proj",
        Role::ExpertsDownProj => "mlp.experts.down_proj",
        Role::SharedGate => "mlp.shared_expert_gate",
        Role::SharedGateProj if one_shared => "mlp.shared_expert.gate_proj",
        Role::SharedUpProj if one_shared => "mlp.shared_expert.up_proj",
        Role::SharedDownProj if one_shared => "mlp.shared_expert.down_proj",
        Role::SharedGateProj => "mlp.shared_experts.gate_proj",
        Role::SharedUpProj => "mlp.shared_experts.up_proj",
        Role::SharedDownProj => "mlp.shared_experts.down_proj",
        Role::PredictorEmbeddingNorm => "enorm",
        Role::PredictorHiddenNorm => "hnorm",
        Role::PredictorProj => "eh_proj",
        Role::PredictorFinalNorm => "shared_head.norm",
    };
    let mut module = module.replace("{}", &copy.to_string());
    // Adapters wrap the projections that they add to.
    let adapted = decoder.apart.iter().any(|part| part.key.ends_with("_lora"));
    if adapted && part.layer.is_some() && part.role.group() != Group::Norm {
        module.push_str(".base_layer");
    }
    // These are parameters of a module, not modules with a weight.
    let suffix = match (part.role, part.is_bias) {
        (
            Role::Sinks
            | Role::ExpertsGateUpProj
            | Role::ExpertsDownProj
            | Role::StateTimeBias
            | Role::StateDecay
            | Role::AltupScale,
            false,
        ) => "",
        (Role::ExpertsGateUpProj | Role::ExpertsDownProj, true) => "_bias",
        (_, false) => ".weight",
        (_, true) => ".bias",
    };
    match part.layer {
        Some(layer) => format!("{}.layers.{layer}.{module}{suffix}", family.body),
        None if part.role == Role::LmHead => format!("{module}{suffix}"),
        None => format!("{}.{module}{suffix}", family.body),
    }
}
