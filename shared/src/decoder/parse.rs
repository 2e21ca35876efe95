//! A config of any known family, read and validated.

use super::{Attention, Augmented, Bias, Biases, Decoder, Exempt, Family, HeadDim, KvHeads, Latent};
use super::{Linear, Quantization, apart, layers};
use crate::config::{
    ConfigError, Defaulted, Fields, ModelConfig, OtherLayers, limits, refuse_other_heads, refuse_other_layers,
};
use crate::units::one_line;

impl Decoder {
    /// Parses and validates `config.json` of any known family.
    ///
    /// # Errors
    /// [`ConfigError`], with the JSON path and the value found.
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        Self::from_fields(&Fields::parse(json)?)
    }

    /// Validates a parsed config. Absent keys take the defaults of transformers' config class and are listed in
    /// `defaulted`.
    ///
    /// # Errors
    /// [`ConfigError`], with the JSON path and the value found; [`ConfigError::UnknownArchitecture`] where the tensors
    /// of its `model_type` are not known.
    pub fn from_fields(fields: &Fields) -> Result<Self, ConfigError> {
        let model_type = fields
            .text("model_type")?
            .ok_or_else(|| ConfigError::Missing { field: "model_type".to_owned() })?;
        let family = Family::of(model_type)
            .ok_or_else(|| ConfigError::UnknownArchitecture { model_type: model_type.to_owned() })?;
        if family.runs() {
            return ModelConfig::from_fields(fields)?.decoder().quantized(fields);
        }
        refuse_other_heads(fields)?;
        let nested = match family.nested {
            Some(key) => {
                Some(fields.object(key)?.ok_or_else(|| ConfigError::Missing { field: fields.path(key) })?)
            }
            None => None,
        };
        let text = nested.as_ref().unwrap_or(fields).respelled(family.spellings)?;
        let computed =
            OtherLayers { linear: family.linear.is_some(), sharing: family.cache_sharing.is_some() };
        refuse_other_layers(&text, computed)?;
        refuse_other_types(&text)?;
        let mut decoder = Reader { family, fields: &text, defaulted: Vec::new() }.read()?;
        decoder.apart = apart::apart(fields);
        if nested.is_some() {
            decoder.tie_word_embeddings =
                fields.flag("tie_word_embeddings")?.unwrap_or(family.defaults.tie_word_embeddings);
            decoder.dtype = match decoder.dtype {
                None => fields.dtype()?,
                named => named,
            };
        }
        decoder.quantized(fields)
    }

    fn quantized(self, fields: &Fields) -> Result<Self, ConfigError> {
        let quantization = Quantization::read(fields)?;
        let method = fields.object("quantization_config")?.map(|config| {
            let method = config.text("quant_method").ok().flatten();
            one_line(method.unwrap_or("quantization_config"))
        });
        let unknown_quantization = method.filter(|_| quantization.is_none());
        let exempt = Exempt::read(fields)?;
        Ok(Self { quantization, unknown_quantization, exempt, ..self })
    }
}

/// Reads one object of keys as a family's class does.
pub(super) struct Reader<'a> {
    pub(super) family: &'static Family,
    pub(super) fields: &'a Fields,
    pub(super) defaulted: Vec<Defaulted>,
}

impl Reader<'_> {
    fn read(mut self) -> Result<Decoder, ConfigError> {
        let Self { family, fields, .. } = self;
        let defaults = &family.defaults;
        let hidden_size = self.count("hidden_size", limits::WIDTH, defaults.hidden_size)?;
        let vocab_size = self.count("vocab_size", limits::VOCAB, defaults.vocab_size)?;
        let layer_count = self.count("num_hidden_layers", limits::LAYERS, defaults.num_hidden_layers)?;
        let max_position_embeddings =
            self.count("max_position_embeddings", limits::POSITIONS, defaults.max_position_embeddings)?;
        let attention = match &family.latent {
            Some(latent) => self.latent_attention(latent)?,
            None => self.attention(hidden_size)?,
        };
        let mlps = layers::mlps(&mut self, layer_count)?;
        let windows = layers::windows(&mut self, layer_count)?;
        let layer = |(mlp, window)| super::Layer { attention, window, mlp, cache_of: None };
        let mut layers: Vec<_> = mlps.into_iter().zip(windows).map(layer).collect();
        layers::override_each(&self, &mut layers)?;
        if let Some(linear) = &family.linear {
            let attention = self.linear_attention(linear)?;
            for index in layers::linear(&self, linear.interval, layer_count)? {
                layers[index].attention = attention;
            }
        }
        if let Some((key, default)) = family.cache_sharing {
            layers::share_caches(&mut self, key, default, &mut layers)?;
        }
        let augmented = match &family.augmented {
            Some(defaults) => Some(self.augmented(defaults, layer_count)?),
            None => None,
        };
        let predictors = fields.count("num_nextn_predict_layers", 0, 64)?.unwrap_or(0);
        let last = layers[layers.len() - 1];
        Ok(Decoder {
            family,
            hidden_size,
            vocab_size,
            max_position_embeddings,
            tie_word_embeddings: fields.flag("tie_word_embeddings")?.unwrap_or(defaults.tie_word_embeddings),
            biases: Biases {
                qkv: self.bias(family.qkv_bias)?,
                output: self.bias(family.output_bias)?,
                mlp: self.bias(family.mlp_bias)?,
                head: self.bias(family.head_bias)?,
            },
            predictors: vec![last; if family.latent.is_some() { predictors } else { 0 }],
            rotary_dim: self.rotary_dim(attention)?,
            layers: layers.into(),
            augmented,
            dtype: fields.dtype()?,
            quantization: None,
            unknown_quantization: None,
            exempt: Exempt::default(),
            apart: Vec::new(),
            defaulted: self.defaulted,
        })
    }

    /// A count of at least one; what is absent is noted.
    pub(super) fn count(
        &mut self,
        key: &'static str,
        max: usize,
        default: usize,
    ) -> Result<usize, ConfigError> {
        Ok(self.fields.count(key, 1, max)?.unwrap_or_else(|| {
            self.defaulted.push(Defaulted(key));
            default
        }))
    }

    fn bias(&self, bias: Bias) -> Result<bool, ConfigError> {
        match bias {
            Bias::Never => Ok(false),
            Bias::Always => Ok(true),
            Bias::Key(key, default) => Ok(self.fields.flag(key)?.unwrap_or(default)),
        }
    }

    fn attention(&mut self, hidden_size: usize) -> Result<Attention, ConfigError> {
        let defaults = &self.family.defaults;
        let heads = self.count("num_attention_heads", limits::HEADS, defaults.num_attention_heads)?;
        let key = "num_key_value_heads";
        let kv_heads = match (self.fields.count(key, 1, limits::HEADS)?, defaults.kv_heads) {
            (Some(kv_heads), _) => kv_heads,
            // null is not absent: the class puts the query heads in its place.
            (None, _) if self.fields.map().contains_key(key) => heads,
            (None, KvHeads::Same) => heads,
            (None, KvHeads::Fixed(kv_heads)) => {
                self.defaulted.push(Defaulted(key));
                kv_heads
            }
        };
        divides(self.fields, heads, kv_heads)?;
        let head_dim = match (self.fields.count("head_dim", 1, limits::HEAD_DIM)?, defaults.head_dim) {
            (Some(head_dim), _) => head_dim,
            (None, HeadDim::Fixed(head_dim)) => {
                self.defaulted.push(Defaulted("head_dim"));
                head_dim
            }
            (None, HeadDim::Quotient) if hidden_size.is_multiple_of(heads) => hidden_size / heads,
            (None, HeadDim::Quotient) => {
                let rule = format!(
                    "{heads} attention heads do not divide hidden_size {hidden_size}, and there is no head_dim"
                );
                let field = self.fields.path("num_attention_heads");
                return Err(ConfigError::Contradiction { field, rule });
            }
        };
        Ok(Attention::Heads { heads, kv_heads, head_dim, gated: self.family.query_gate })
    }

    fn linear_attention(&mut self, defaults: &Linear) -> Result<Attention, ConfigError> {
        let key_heads = self.count("linear_num_key_heads", limits::HEADS, defaults.key_heads)?;
        let value_heads = self.count("linear_num_value_heads", limits::HEADS, defaults.value_heads)?;
        if !value_heads.is_multiple_of(key_heads) {
            let rule = format!("{key_heads} key heads do not divide linear_num_value_heads {value_heads}");
            return Err(ConfigError::Contradiction { field: self.fields.path("linear_num_key_heads"), rule });
        }
        Ok(Attention::Linear {
            key_heads,
            value_heads,
            key_dim: self.count("linear_key_head_dim", limits::HEAD_DIM, defaults.key_dim)?,
            value_dim: self.count("linear_value_head_dim", limits::HEAD_DIM, defaults.value_dim)?,
            kernel: self.count("linear_conv_kernel_dim", limits::HEAD_DIM, defaults.kernel)?,
        })
    }

    fn augmented(&mut self, defaults: &Augmented, layers: usize) -> Result<Augmented, ConfigError> {
        let key = "activation_sparsity_pattern";
        let listed = self.fields.get(key).and_then(serde_json::Value::as_array);
        if listed.is_some_and(|list| list.len() != layers) {
            return Err(self.fields.invalid(key, &format!("a list of {layers}, one for each layer")));
        }
        Ok(Augmented {
            streams: self.count("altup_num_inputs", limits::STREAMS, defaults.streams)?,
            rank: self.count("laurel_rank", limits::WIDTH, defaults.rank)?,
            rows: self.count("vocab_size_per_layer_input", limits::VOCAB, defaults.rows)?,
            width: self.count("hidden_size_per_layer_input", limits::HEAD_DIM, defaults.width)?,
        })
    }

    fn latent_attention(&mut self, defaults: &Latent) -> Result<Attention, ConfigError> {
        let heads =
            self.count("num_attention_heads", limits::HEADS, self.family.defaults.num_attention_heads)?;
        let key = "q_lora_rank";
        let q_rank = match self.fields.map().contains_key(key) {
            // null: queries are projected directly, as in V2-Lite.
            true => self.fields.count(key, 1, limits::WIDTH)?,
            false => Some(self.count(key, limits::WIDTH, defaults.q_rank)?),
        };
        Ok(Attention::Latent {
            heads,
            q_rank,
            kv_rank: self.count("kv_lora_rank", limits::WIDTH, defaults.kv_rank)?,
            nope_dim: self.count("qk_nope_head_dim", limits::HEAD_DIM, defaults.nope_dim)?,
            rope_dim: self.count("qk_rope_head_dim", limits::HEAD_DIM, defaults.rope_dim)?,
            value_dim: self.count("v_head_dim", limits::HEAD_DIM, defaults.value_dim)?,
        })
    }

    fn rotary_dim(&self, attention: Attention) -> Result<usize, ConfigError> {
        let key = "partial_rotary_factor";
        let within = match &self.fields.object("rope_parameters")? {
            Some(rope) => rope.number(key, 1e-3, 1.0)?,
            None => None,
        };
        let named = self.fields.number(key, 1e-3, 1.0)?.or(within);
        let share = named.unwrap_or(f64::from(self.family.rotary_percent) / 100.0);
        Ok(match attention {
            Attention::Heads { head_dim, .. } => (head_dim as f64 * share) as usize,
            Attention::Latent { rope_dim, .. } => rope_dim,
            Attention::Linear { .. } => 0,
        })
    }
}

/// Refuses keys of a wrong type or sign that no size depends on: a config that no class would read is no model's.
fn refuse_other_types(fields: &Fields) -> Result<(), ConfigError> {
    for key in ["rope_scaling", "rope_parameters"] {
        let Some(rope) = fields.object(key)? else { continue };
        for key in ["rope_type", "type"] {
            rope.text(key)?;
        }
        for key in ["factor", "rope_theta"] {
            rope.number(key, 1e-6, 1e12)?;
        }
    }
    for key in ["rope_theta", "rope_local_base_freq"] {
        fields.number(key, 1.0, 1e12)?;
    }
    for key in ["rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon"] {
        fields.number(key, 0.0, 1.0)?;
    }
    for key in ["hidden_act", "hidden_activation"] {
        fields.text(key)?;
    }
    Ok(())
}

/// Query heads share the others in equal groups.
pub(super) fn divides(fields: &Fields, heads: usize, kv_heads: usize) -> Result<(), ConfigError> {
    if heads.is_multiple_of(kv_heads) {
        return Ok(());
    }
    let rule = format!("{kv_heads} key/value heads do not divide num_attention_heads {heads}");
    Err(ConfigError::Contradiction { field: fields.path("num_key_value_heads"), rule })
}
