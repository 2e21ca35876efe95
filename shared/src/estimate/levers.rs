//! What one could change: each lever alone, from the one that changes least.

use super::activations::{Attention, Workspace};
use super::fit::{Suggestion, Verdict, largest};
use super::{
    Backend, Format, KvPolicy, LayerKv, Resolved, StoredTensors, broken_row, correction_bytes, counted,
    part_bytes, tensor_bytes,
};
use crate::decoder::Decoder;
use crate::dtype::DType;
use crate::tensors::{self, Role};
use crate::units::{format_bytes, format_count, format_counted};

/// A context of fewer tokens is no help to anyone.
const SHORTEST_CONTEXT: u64 = 128;

/// A load that may be changed.
pub(crate) struct Levers<'a> {
    pub(super) decoder: &'a Decoder,
    pub(super) stored: Option<&'a StoredTensors>,
    pub(super) resolved: &'a Resolved,
    /// The need under other options, and the verdict on it.
    pub(super) need: &'a dyn Fn(&Resolved) -> (u64, Verdict),
    pub(super) now: Verdict,
}

impl Levers<'_> {
    /// Every lever that betters the verdict, the smallest change first; `further` levers come last.
    pub(super) fn that_help(&self, further: &dyn Fn(&Self) -> Vec<Suggestion>) -> Vec<Suggestion> {
        let mut found = Vec::new();
        found.extend(self.batch());
        found.extend(self.attention());
        found.extend(self.context());
        found.extend(self.kv_dtypes());
        found.extend(self.window());
        found.extend(self.formats());
        found.extend(further(self));
        found.retain(|suggestion| suggestion.verdict < self.now);
        found
    }

    /// The changes that bring in another device beside one with `available` bytes. Beside a CPU, a browser's too, is none.
    pub(super) fn other_devices(&self, available: u64) -> Vec<Suggestion> {
        if self.resolved.is_on_cpu() {
            return Vec::new();
        }
        self.offload(available).into_iter().chain(self.second_gpu(available)).collect()
    }

    /// A narrower format, what of the context is left with it, and one sequence at a time: the formats that this build
    /// runs come first, and of those the one that changes least.
    pub(super) fn together(&self) -> Option<Suggestion> {
        let loads = |resolved: &Resolved| (self.need)(resolved).1 != Verdict::DoesNotFit;
        let with = |format: Format| {
            let context = largest(self.resolved.context, |context| loads(&self.in_format(format, context)));
            (context >= SHORTEST_CONTEXT.min(self.resolved.context)).then_some((format, context))
        };
        let of = |is_run: bool| {
            let runs =
                move |format: &Format| computes(&self.in_format(*format, self.resolved.context)) == is_run;
            self.narrower().filter(runs).find_map(with)
        };
        let (format, context) = of(true).or_else(|| of(false))?;
        let [one, words] = self.alone();
        let change = format!("dtype={format}&context={context}{one}");
        Some(self.changed(change, in_words(format, context, words), &self.in_format(format, context)))
    }

    /// What to do where no single change that this build runs is enough: several at once, or what it takes at the very
    /// least. `found` are the single changes that it does not run.
    pub(super) fn advice(&self, found: &[Suggestion], together: Option<&Suggestion>) -> String {
        let that = if found.is_empty() { "" } else { "that this build runs " };
        if let Some(Suggestion { label, total_bytes, .. }) = together {
            return format!(
                "no single change {that}is enough; {label} would need {}",
                format_bytes(*total_bytes)
            );
        }
        let need = |format: &Format, context| (self.need)(&self.in_format(*format, context)).0;
        let format =
            self.narrower().rev().min_by_key(|format| need(format, 1)).unwrap_or(self.resolved.format);
        let context = SHORTEST_CONTEXT.min(self.resolved.context);
        format!(
            "no change {that}is enough: even {} need {}; take more memory, or a smaller model",
            in_words(format, context, self.alone()[1]),
            format_bytes(need(&format, context))
        )
    }

    /// Whether this build does one of these changes, or nothing of the load whatever is changed.
    pub(super) fn is_answered(&self, found: &[Suggestion]) -> bool {
        let is_run = self.decoder.family.runs() && computes(self.resolved);
        found.iter().any(|suggestion| suggestion.runs || !is_run)
    }

    /// One sequence with weights in another format.
    fn in_format(&self, format: Format, context: u64) -> Resolved {
        Resolved { context, batch: 1, ..self.resolved.with_format(format) }
    }

    fn narrower(&self) -> impl DoubleEndedIterator<Item = Format> {
        let need = |format: Format| (self.need)(&self.in_format(format, self.resolved.context)).0;
        let now = (self.need)(self.resolved).0;
        Format::LEVERS.into_iter().filter(move |format| need(*format) < now)
    }

    /// What makes one sequence of several, as a change and in words.
    fn alone(&self) -> [&'static str; 2] {
        match self.resolved.batch {
            1 => [""; 2],
            _ => ["&batch=1", ", one sequence at a time"],
        }
    }

    /// A change of options.
    fn changed(&self, change: String, label: String, resolved: &Resolved) -> Suggestion {
        let (total_bytes, verdict) = (self.need)(resolved);
        let is_run = computes(resolved);
        // What is not run as it is, whatever is changed, is said of it once and not of every change.
        let told = is_run || !computes(self.resolved);
        let told = Suggestion::new(self.decoder, change, label, total_bytes, verdict, told);
        Suggestion { runs: told.runs && is_run, ..told }
    }

    /// Whether layers may lie on other devices too: NVIDIA's GPUs and the CPU beside them share a model.
    fn spreads(&self) -> bool {
        self.resolved.backend == Backend::Cuda && computes(self.resolved)
    }

    fn helps(&self, resolved: &Resolved) -> bool {
        (self.need)(resolved).1 < self.now
    }

    fn batch(&self) -> Option<Suggestion> {
        let with = |batch| Resolved { batch, ..self.resolved.clone() };
        let batch = largest(self.resolved.batch - 1, |batch| self.helps(&with(batch)));
        let sequences = format_counted(batch, "sequence");
        let label = format!("run {sequences} at once instead of {}", self.resolved.batch);
        (batch > 0).then(|| self.changed(format!("batch={batch}"), label, &with(batch)))
    }

    fn attention(&self) -> Option<Suggestion> {
        let label = "compute attention without writing the scores out".to_owned();
        let fused = Resolved { attn: Attention::Fused, ..self.resolved.clone() };
        (self.resolved.attn == Attention::Eager).then(|| self.changed("attn=fused".to_owned(), label, &fused))
    }

    fn context(&self) -> Option<Suggestion> {
        let with = |context| Resolved { context, ..self.resolved.clone() };
        // More than the model's positions would be no shorter context to anyone.
        let most = (self.resolved.context - 1).min(self.decoder.max_position_embeddings as u64);
        let context = largest(most, |context| self.helps(&with(context)));
        let label = format!("shorten the context to {} tokens", format_count(context));
        (context >= SHORTEST_CONTEXT)
            .then(|| self.changed(format!("context={context}"), label, &with(context)))
    }

    fn window(&self) -> Option<Suggestion> {
        let hides = self.decoder.effective_window(self.resolved.context).is_some();
        let label = "keep only the sliding window in the KV cache".to_owned();
        let window = Resolved { kv_policy: KvPolicy::Window, ..self.resolved.clone() };
        (self.resolved.kv_policy != KvPolicy::Window && hides)
            .then(|| self.changed("kv_policy=window".to_owned(), label, &window))
    }

    fn kv_dtypes(&self) -> impl Iterator<Item = Suggestion> {
        let bytes = |dtype: DType| dtype.row_bytes(256);
        let narrower = DType::KV_CACHE.into_iter().filter(move |d| {
            bytes(*d) < bytes(self.resolved.kv_dtype) && broken_row(self.decoder, *d).is_none()
        });
        narrower.map(|kv_dtype| {
            let label = format!("keep the KV cache in {kv_dtype}");
            let change = Resolved { kv_dtype, ..self.resolved.clone() };
            self.changed(format!("kv_dtype={kv_dtype}"), label, &change)
        })
    }

    fn formats(&self) -> impl Iterator<Item = Suggestion> {
        let now = (self.need)(self.resolved).0;
        Format::LEVERS.into_iter().filter(|format| *format != self.resolved.format).filter_map(
            move |format| {
                let verb =
                    if format.is_quantized() { "quantize the weights to" } else { "load the weights in" };
                let label = format!("{verb} {format}");
                let change = self.resolved.with_format(format);
                let suggestion = self.changed(format!("dtype={format}"), label, &change);
                (suggestion.total_bytes < now).then_some(suggestion)
            },
        )
    }

    /// The fewest layers that have to leave the device, with their cache; the CPU has a runtime and buffers of its own.
    fn offload(&self, available: u64) -> Option<Suggestion> {
        let shares = self.shares();
        let layers = shares.len() - 2;
        let mut here = (self.need)(self.resolved).0;
        let mut there =
            self.resolved.overhead_of(Backend::Cpu).saturating_add(self.layer_buffers(Backend::Cpu));
        // With every layer gone it is no load on this device any more.
        (1..layers).find_map(|count| {
            let share = shares[layers + 1 - count];
            (here, there) = (here.saturating_sub(share), there.saturating_add(share));
            let label = format!("keep {count} of {layers} layers on the CPU");
            let spread = || self.spread(format!("offload_layers={count}"), label, here, there, available);
            (Verdict::of(here, available) < self.now).then(spread)
        })
    }

    /// Two such devices, split after a layer where the fuller holds least.
    fn second_gpu(&self, available: u64) -> Option<Suggestion> {
        let shares = self.shares();
        let all = shares.iter().fold(0u64, |sum, bytes| sum.saturating_add(*bytes));
        // Activations and the runtime are on both, but for the buffers of the head.
        let last = (self.need)(self.resolved).0.saturating_sub(all);
        let [first_buffers, buffers] = [self.layer_buffers(self.resolved.backend), self.buffers()];
        let first = last.saturating_sub(buffers.saturating_sub(first_buffers));
        let mut before = 0u64;
        let splits = shares[..shares.len() - 1].iter().map(|bytes| {
            before = before.saturating_add(*bytes);
            [before.saturating_add(first), all.saturating_sub(before).saturating_add(last)]
        });
        let [one, other] = splits.skip(1).min_by_key(|[one, other]| *one.max(other))?;
        let label = "split the layers over two such devices".to_owned();
        let spread = || self.spread("devices=2".to_owned(), label, one.max(other), one.min(other), available);
        (shares.len() > 3).then(spread)
    }

    /// A change that leaves so many bytes on the device and takes so many to another.
    fn spread(&self, change: String, label: String, here: u64, there: u64, available: u64) -> Suggestion {
        let (total, verdict) = (here.saturating_add(there), Verdict::of(here, available));
        let told = Suggestion::new(self.decoder, change, label, total, verdict, self.spreads());
        Suggestion { device_bytes: Some(here), ..told }
    }

    fn buffers(&self) -> u64 {
        Workspace::on(self.resolved.backend, self.decoder, self.resolved).bytes()
    }

    /// Buffers of a device that has layers and not the head.
    fn layer_buffers(&self, backend: Backend) -> u64 {
        let [rest @ .., _head] = Workspace::on(backend, self.decoder, self.resolved).by_stage();
        rest.iter().fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }

    /// Weights and cache of what comes before the layers, of each layer, and of what comes after them.
    fn shares(&self) -> Vec<u64> {
        let Resolved { format, kv_dtype, kv_policy, batch, .. } = *self.resolved;
        let tokens = self.resolved.cache_tokens();
        let cache = |layer| LayerKv::new(layer).bytes(kv_dtype, kv_policy, tokens, batch);
        let cache = self.decoder.layers.iter().map(cache);
        let mut shares: Vec<u64> = std::iter::once(0).chain(cache).chain([0]).collect();
        let last = shares.len() - 1;
        let mut add = |place: usize, bytes| shares[place] = shares[place].saturating_add(bytes);
        match counted(self.decoder, self.stored, self.resolved) {
            Some((stored, dtype)) => {
                for (name, tensor) in stored {
                    let place = match tensors::layer_of(self.decoder, name) {
                        Some(layer) => layer + 1,
                        None if tensors::is_after_layers(self.decoder, name) => last,
                        None => 0,
                    };
                    add(place, tensor_bytes(name, tensor, dtype));
                }
            }
            None => {
                for part in tensors::parts(self.decoder) {
                    let place = match (part.layer, part.role) {
                        (Some(layer), _) => layer + 1,
                        (None, Role::FinalNorm | Role::LmHead) => last,
                        (None, _) => 0,
                    };
                    add(place, part_bytes(self.decoder, &part, format));
                }
                for (layer, sizes) in self.decoder.layers.iter().enumerate() {
                    add(layer + 1, correction_bytes(self.decoder, sizes));
                }
            }
        }
        add(0, self.resolved.other_bytes());
        shares
    }
}

fn in_words(format: Format, context: u64, alone: &str) -> String {
    format!("weights in {format} with a context of {} tokens{alone}", format_count(context))
}

/// Whether every engine of a backend computes with weights and cache held so: plain and common quantised weights, float
/// caches of the whole context, on CUDA also in blocks.
pub(super) fn computes(resolved: &Resolved) -> bool {
    let is_kept = match resolved.kv_policy {
        KvPolicy::Full => true,
        KvPolicy::Paged(_) => resolved.backend == Backend::Cuda,
        KvPolicy::Window => false,
    };
    resolved.kv_dtype.is_float() && is_kept && resolved.format.runs()
}
