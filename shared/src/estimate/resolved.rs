//! Options with every default filled in.

use thiserror::Error;

use super::activations::Attention;
use super::wgpu_workspace::CACHE_STEP;
use super::{
    Backend, Calibration, Format, KvPolicy, Options, StoredTensors, held_as, stored_dtype, stored_format,
};
use crate::decoder::Decoder;
use crate::devices::{self, Device};
use crate::dtype::DType;
use crate::units::{format_count, one_line};
use crate::weights::{OtherParts, StoredTensor, is_correction};

const DEFAULT_CONTEXT: u64 = 4096;

/// An option out of range.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{option} is {found}, expected {expected}")]
pub struct OptionsError {
    /// The option, in the CLI's spelling without dashes.
    pub option: &'static str,
    /// The value found.
    pub found: String,
    /// What would be accepted.
    pub expected: String,
}

/// Format of the cache where none is asked for: that of the weights, not what they are computed in, so that an 8-bit
/// model keeps its cache in bf16.
fn kv_dtype_beside(format: Format) -> DType {
    let float = format.plain().filter(|dtype| dtype.is_float() && DType::KV_CACHE.contains(dtype));
    float.unwrap_or(DType::Bf16)
}

/// Whether some tensors are stored in another format than a load holds them in.
fn is_mixed(stored: &StoredTensors, format: Format) -> bool {
    let Some(dtype) = format.plain() else { return false };
    let is_other = |(name, tensor): (&String, &StoredTensor)| {
        !is_correction(name) && tensor.dtype != held_as(dtype, &tensor.shape)
    };
    stored.iter().any(is_other)
}

/// The GPU that the options name.
pub(super) fn named_device(options: &Options) -> Result<Option<&'static Device>, OptionsError> {
    let Some(name) = &options.device else { return Ok(None) };
    devices::find(name).map(Some).map_err(|unknown| OptionsError {
        option: "device",
        found: format!("`{}`", one_line(&unknown.name)),
        expected: format!("a GPU of the table; {}", unknown.hint()),
    })
}

/// Options with every default filled in, and which of them were.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// Format of the weights; `None` keeps a checkpoint's own mixture.
    pub convert_to: Option<Format>,
    /// Format that the weights are in, the commonest where it is a mixture.
    pub format: Format,
    /// Format that a checkpoint's weights are in, the commonest where it is a mixture; `None` where it is not known.
    pub as_stored: Option<Format>,
    /// Whether it is one: asking for its commonest format converts the rest.
    pub is_mixed: bool,
    /// Format of the KV cache.
    pub kv_dtype: DType,
    /// Whether that was asked for; else it follows the format of the weights.
    pub kv_dtype_given: bool,
    /// Tokens of each sequence.
    pub context: u64,
    /// Sequences at once.
    pub batch: u64,
    /// How attention is computed.
    pub attn: Attention,
    /// How the cache is sized.
    pub kv_policy: KvPolicy,
    /// What computes.
    pub backend: Backend,
    /// Whether that was named; else memory may be any device's.
    pub backend_given: bool,
    /// Corrections of the overhead of what was measured.
    pub calibration: Vec<Calibration>,
    /// Tokens of the vocabulary, which the host's tokenizer holds.
    pub vocab_size: u64,
    /// What is loaded beside the language model, as it is stored.
    pub other_parts: Option<OtherParts>,
}

impl Resolved {
    /// Fills in the defaults of the CLI's contract.
    ///
    /// # Errors
    /// An option out of range.
    pub fn new(
        decoder: &Decoder,
        stored: Option<&StoredTensors>,
        options: &Options,
    ) -> Result<Self, OptionsError> {
        let as_stored = match stored {
            Some(_) if decoder.quantization.is_some() => Some(stored_format(decoder)),
            // Of a layout that is not known, what its words are in is no format of weights.
            Some(_) if decoder.unknown_quantization.is_some() => None,
            stored => stored.and_then(stored_dtype).map(Format::Plain),
        };
        // A name means the config's own groups and bits where it is the config's format.
        let own = decoder.quantization.map(Format::Quantized);
        let asked = options.dtype.map(|asked| own.filter(|own| own.name() == asked.name()).unwrap_or(asked));
        let format = asked.or(as_stored).unwrap_or_else(|| stored_format(decoder));
        let is_mixed = stored.zip(as_stored).is_some_and(|(stored, format)| is_mixed(stored, format));
        let refuse = |option, found: String, names: Vec<&str>| OptionsError {
            option,
            found,
            expected: names.join(", "),
        };
        if let Some(format) = options.dtype.filter(|format| !Format::ALL.contains(format)) {
            let names = Format::ALL.iter().map(|format| format.name()).collect();
            return Err(refuse("dtype", format.to_string(), names));
        }
        let kv_dtype = options.kv_dtype.unwrap_or_else(|| kv_dtype_beside(format));
        if !DType::KV_CACHE.contains(&kv_dtype) {
            let names = DType::KV_CACHE.iter().map(|dtype| dtype.name()).collect();
            return Err(refuse("kv-dtype", kv_dtype.to_string(), names));
        }
        let in_range = |option, value: Option<u64>, default: u64, max: u64| {
            let value = value.unwrap_or(default);
            if (1..=max).contains(&value) {
                return Ok(value);
            }
            Err(OptionsError {
                option,
                found: value.to_string(),
                expected: format!("1 to {}", format_count(max)),
            })
        };
        let positions = decoder.max_position_embeddings as u64;
        let of_device = named_device(options)?.map(|device| Backend::of(device.vendor()));
        Ok(Self {
            convert_to: asked.filter(|format| is_mixed || Some(*format) != as_stored),
            format,
            as_stored,
            is_mixed,
            kv_dtype,
            kv_dtype_given: options.kv_dtype.is_some(),
            context: in_range("context", options.context, DEFAULT_CONTEXT.min(positions), 1 << 30)?,
            batch: in_range("batch", options.batch, 1, super::fit::MOST_SEQUENCES)?,
            attn: options.attn.unwrap_or_default(),
            kv_policy: options.kv_policy.unwrap_or_default(),
            backend: options.backend.or(of_device).unwrap_or_default(),
            backend_given: options.backend.or(of_device).is_some(),
            calibration: options.calibration.clone(),
            vocab_size: decoder.vocab_size as u64,
            other_parts: options.other_parts,
        })
    }

    /// Whether the CPU was named, or a device that is one.
    #[must_use]
    pub fn is_on_cpu(&self) -> bool {
        self.backend_given && self.backend == Backend::Cpu
    }

    /// The same with `dtype` set to a format, and with what follows from it.
    #[must_use]
    pub fn with_format(&self, format: Format) -> Self {
        if format == self.format {
            return self.clone();
        }
        let kv_dtype = if self.kv_dtype_given { self.kv_dtype } else { kv_dtype_beside(format) };
        let convert_to = Some(format).filter(|format| self.is_mixed || Some(*format) != self.as_stored);
        Self { format, convert_to, kv_dtype, ..self.clone() }
    }

    /// What a load by our engines is sized by: they hold each tensor of the list once, all in one format, whatever a
    /// checkpoint stores. `stored` says no more than which format, and is not to be counted with this again.
    ///
    /// # Errors
    /// An option out of range.
    pub fn of_load(
        decoder: &Decoder,
        stored: Option<&StoredTensors>,
        options: &Options,
    ) -> Result<Self, OptionsError> {
        let resolved = Self::new(decoder, stored, options)?;
        let held = match options.dtype {
            Some(asked) => asked.held_dtype(),
            None => resolved.format.widened(),
        };
        Ok(Self { format: held.into(), convert_to: None, as_stored: None, ..resolved })
    }

    /// Tokens that the cache of a sequence has room for: the context, but for what the WGSL engine rounds it up to.
    #[must_use]
    pub fn cache_tokens(&self) -> u64 {
        self.cache_tokens_on(self.backend)
    }

    /// The same on another backend.
    #[must_use]
    pub fn cache_tokens_on(&self, backend: Backend) -> u64 {
        match backend {
            Backend::Cpu | Backend::Cuda => self.context,
            Backend::Rocm | Backend::Metal | Backend::Wgpu => self.context.next_multiple_of(CACHE_STEP),
        }
    }

    /// Bytes of what is loaded beside the language model.
    #[must_use]
    pub fn other_bytes(&self) -> u64 {
        self.other_parts.map_or(0, |parts| parts.bytes)
    }

    /// Runtime beside weights, cache and activations.
    #[must_use]
    pub fn overhead_bytes(&self) -> u64 {
        self.overhead_of(self.backend)
    }

    /// The same of another backend: what was measured of one says nothing of it.
    #[must_use]
    pub fn overhead_of(&self, backend: Backend) -> u64 {
        let assumed = backend.assumed_overhead(self.vocab_size).0;
        self.calibration_of(backend).map_or(assumed, |calibration| calibration.corrected(assumed))
    }

    /// What was measured of a backend.
    #[must_use]
    pub fn calibration_of(&self, backend: Backend) -> Option<Calibration> {
        self.calibration.iter().copied().find(|calibration| calibration.backend == backend)
    }
}
