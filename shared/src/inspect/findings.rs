//! Contradictions, traps and things worth knowing about a phi3 config and what lies beside it.

use serde_json::Value;

use super::keys::{self, Key};
use super::{Finding, Known, Severity, Subject, scaling};
use crate::config::{Fields, RopeScaling};
use crate::decoder::{Attention, Decoder, FAMILIES, Family, Oracle};
use crate::dtype::DType;
use crate::estimate;
use crate::units::{format_bytes, format_count, one_line};

/// Unknown keys that a finding names; the fields have all of them.
const MOST_KEYS: usize = 50;

/// All findings, the gravest first.
pub(super) fn findings(subject: Subject<'_>, known: Known<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    weights(subject, known.decoder, &mut found);
    stop_ids(subject, known, &mut found);
    positions(subject, known, &mut found);
    spellings(subject, known, &mut found);
    cache(known.decoder, &mut found);
    parts(subject, known.decoder, &mut found);
    found.extend(contradicting_class(subject.fields, known.decoder));
    found.sort_by_key(|finding| finding.severity);
    found
}

/// Why a tokenizer that knows `ids` ids is not that of an embedding with `rows` rows, if it is not.
#[must_use]
pub fn ids_beyond(ids: usize, rows: usize) -> Option<String> {
    let told = || {
        format!(
            "the tokenizer knows {} ids, the embedding has {} rows: ids beyond would fail",
            format_count(ids as u64),
            format_count(rows as u64)
        )
    };
    (ids > rows).then(told)
}

fn weights(subject: Subject<'_>, decoder: &Decoder, found: &mut Vec<Finding>) {
    if let Some(stored) = subject.stored {
        let (header, formula) =
            (estimate::params_total(decoder, Some(stored)), estimate::params(decoder).total);
        if header != formula {
            let message = format!(
                "the checkpoint holds {} parameters, its config implies {}: {} too {}",
                format_count(header),
                format_count(formula),
                format_count(header.abs_diff(formula)),
                if header > formula { "many" } else { "few" }
            );
            found.push(Finding::new("params_mismatch", Severity::Error, message));
        }
    }
    if let Some(tokenizer) = subject.tokenizer_vocab {
        let vocab = decoder.vocab_size;
        if let Some(message) = ids_beyond(tokenizer, vocab) {
            found.push(Finding::new("tokenizer_larger_than_vocab", Severity::Error, message));
        } else if tokenizer < vocab {
            let message = format!(
                "{} rows of the embedding are padding: the tokenizer knows {} of {} ids",
                format_count((vocab - tokenizer) as u64),
                format_count(tokenizer as u64),
                format_count(vocab as u64)
            );
            found.push(Finding::new("vocab_padding", Severity::Info, message));
        }
    }
}

fn stop_ids(subject: Subject<'_>, known: Known<'_>, found: &mut Vec<Finding>) {
    let listed = subject.fields.token_ids("eos_token_id").unwrap_or_default();
    let eos = known.config.map_or(listed.as_slice(), |config| config.eos_token_ids.as_slice());
    let missing: Vec<String> = subject
        .generation
        .map(|generation| generation.eos_token_ids.as_slice())
        .unwrap_or_default()
        .iter()
        .filter(|id| !eos.contains(id))
        .map(u32::to_string)
        .collect();
    if !missing.is_empty() {
        let message = format!(
            "generation_config.json also stops at {}: config.json alone would run past the end of a turn",
            missing.join(", ")
        );
        found.push(Finding::new("stop_ids_missing_in_config", Severity::Warning, message));
    }
    let vocab = known.decoder.vocab_size;
    if let Some(id) = eos.iter().find(|id| **id as usize >= vocab) {
        let message = format!("eos_token_id {id} is outside the vocabulary of {vocab}: it can never come");
        found.push(Finding::new("eos_out_of_vocab", Severity::Warning, message));
    }
}

fn positions(subject: Subject<'_>, known: Known<'_>, found: &mut Vec<Finding>) {
    let decoder = known.decoder;
    let max = decoder.max_position_embeddings;
    if let Some(window) = decoder.effective_window(max as u64) {
        let windowed = decoder.layers.iter().filter(|layer| layer.window.is_some()).count();
        let layers = match windowed == decoder.layers.len() {
            true => String::new(),
            false => format!(" in {windowed} of {} layers", decoder.layers.len()),
        };
        let (window, max) = (format_count(window as u64), format_count(max as u64));
        let message = format!(
            "sliding_window {window} is shorter than {max} positions: beyond {window} tokens the oldest are hidden{layers}, which a ten-token prompt cannot show"
        );
        found.push(Finding::new("window_below_context", Severity::Warning, message));
    }
    let ignored = subject.fields.get("sliding_window").filter(|value| value.is_number());
    let has_none = decoder.layers.iter().all(|layer| layer.window.is_none());
    if has_none
        && ignored.is_some()
        && subject.fields.get("use_sliding_window").is_some_and(|on| *on == false)
    {
        let message = "sliding_window has a value, but use_sliding_window is false: no layer has a window";
        found.push(Finding::new("window_switched_off", Severity::Info, message));
    }
    // Phi-3-vision was published so, and stayed so.
    if known.decoder.family.runs() && scaling::kinds(subject.fields).any(|kind| kind == "su") {
        let message = "`su` is the spelling of April 2024; the longrope files of July 2024 came with other factors and other weights: check that config and weights are of one revision";
        found.push(Finding::new("su_revision", Severity::Warning, message));
    }
    if let Some((key, parameter)) = scaling::nameless(subject.fields) {
        let message = format!(
            "{key} has a {parameter} but names no rope_type: it is read as `default`, and positions stay as trained"
        );
        found.push(Finding::new("scaling_without_type", Severity::Warning, message));
    }
    let Some(config) = known.config else { return };
    match &config.rope_scaling {
        RopeScaling::LongRope { short_factor, long_factor, .. } => {
            let original = config.original_max_position_embeddings;
            let message = format!(
                "past {} tokens the long factors take over for the whole sequence and cached keys are computed anew: one slow step",
                format_count(original as u64)
            );
            found.push(Finding::new("longrope_switch", Severity::Info, message));
            if short_factor == long_factor {
                let message = "short_factor and long_factor are the same list: the switch changes nothing";
                found.push(Finding::new("longrope_equal_factors", Severity::Info, message));
            }
        }
        RopeScaling::None if max > 4096 && config.rope_theta <= 10_000.0 => {
            let message = format!(
                "{} positions without rope scaling and with the base of a 4k model: long prompts may degrade",
                format_count(max as u64)
            );
            found.push(Finding::new("positions_unscaled", Severity::Warning, message));
        }
        _ => {}
    }
    let original = "original_max_position_embeddings";
    let inside = subject.fields.get("rope_parameters").and_then(|rope| rope.get(original));
    if inside.is_some_and(|length| *length != config.original_max_position_embeddings) {
        let message = format!(
            "{original} inside rope_parameters is not read for phi3: {} holds; write it beside rope_parameters",
            config.original_max_position_embeddings
        );
        found.push(Finding::new("original_length_not_read", Severity::Warning, message));
    }
}

fn spellings(subject: Subject<'_>, known: Known<'_>, found: &mut Vec<Finding>) {
    let fields = subject.fields;
    if fields.get("auto_map").is_some() {
        let (code, message) = match known.decoder.family.runs() {
            true => (
                "remote_code_not_needed",
                "auto_map names repository code; phi3 is native, so trust_remote_code is not needed and nothing of it is run",
            ),
            false => (
                "remote_code_not_run",
                "auto_map names repository code; it is never run, and nothing here needs it to size the model",
            ),
        };
        found.push(Finding::new(code, Severity::Info, message));
    }
    for (taken, left) in [("dtype", "torch_dtype"), ("rope_scaling", "rope_parameters")] {
        if let (Some(a), Some(b)) = (fields.get(taken), fields.get(left))
            && a != b
        {
            let message = format!("both `{taken}` and `{left}` are set and differ; `{taken}` is taken");
            found.push(Finding::new("two_spellings", Severity::Warning, message));
        }
    }
    let family = known.decoder.family;
    let every = keys::every(fields, family);
    let unknown = every.iter().filter(|(_, name, _)| Key::find(family, name).is_none());
    let mut named: Vec<String> =
        unknown.clone().take(MOST_KEYS).map(|(path, ..)| format!("`{}`", one_line(path))).collect();
    let more = unknown.count() - named.len();
    if more > 0 {
        named.push(format!("and {} more", format_count(more as u64)));
    }
    if !named.is_empty() {
        let message = format!("not keys of {}, without effect here: {}", family.name(), named.join(", "));
        found.push(Finding::new("unknown_keys", Severity::Warning, message));
    }
    if !known.decoder.defaulted.is_empty() {
        let keys: Vec<&str> = known.decoder.defaulted.iter().map(|key| key.0).collect();
        let message = format!("absent, so Hugging Face's defaults are taken: {}", keys.join(", "));
        found.push(Finding::new("defaults_taken", Severity::Warning, message));
    }
    if known.decoder.dtype.is_none() && subject.stored.is_none() {
        let message = "the config names no dtype: bf16 is assumed where no weights tell";
        found.push(Finding::new("dtype_absent", Severity::Info, message));
    }
}

fn cache(decoder: &Decoder, found: &mut Vec<Finding>) {
    let weights = estimate::weights_bytes(decoder, DType::Bf16);
    let per_token = estimate::bytes_per_token(decoder, DType::Bf16);
    let tokens = weights / per_token.max(1) + 1;
    let is_ungrouped = |attention| match attention {
        Attention::Heads { heads, kv_heads, .. } => heads == kv_heads && heads > 1,
        Attention::Latent { .. } | Attention::Linear { .. } => false,
    };
    if decoder.layers.iter().all(|layer| is_ungrouped(layer.attention)) {
        let message = format!(
            "no grouped-query attention: {} of KV cache a token in 16 bit; from {} tokens on the cache outweighs the weights",
            format_bytes(per_token),
            format_count(tokens)
        );
        found.push(Finding::new("no_gqa", Severity::Info, message));
    }
    let layers = decoder.layers.len();
    let keep_state = decoder.layers.iter().filter(|layer| layer.attention.is_linear()).count();
    if keep_state > 0 {
        let message = format!(
            "{keep_state} of {layers} layers keep a state instead of keys and values: {} a sequence whatever its length; the others {} a token in 16 bit",
            format_bytes(estimate::state_bytes(decoder, DType::Bf16)),
            format_bytes(per_token)
        );
        found.push(Finding::new("linear_layers", Severity::Info, message));
    }
    let sharing = decoder.layers.iter().filter(|layer| layer.cache_of.is_some()).count();
    if sharing > 0 {
        let message = format!(
            "{sharing} of {layers} layers read the cache of earlier ones: only {} keep one, {} a token in 16 bit",
            layers - sharing,
            format_bytes(per_token)
        );
        found.push(Finding::new("shared_cache", Severity::Info, message));
    }
}

/// A class of another family than `model_type` names. Classes that no family here is called after say nothing.
fn contradicting_class(fields: &Fields, decoder: &Decoder) -> Option<Finding> {
    let class = super::architecture(fields)?;
    let stem = class.split("For").next()?.to_ascii_lowercase();
    // `gemma3_text` is a class of Gemma3's.
    let is_of = |family: &Family| {
        let stems = family.model_types.iter().map(|it| it.trim_end_matches("_text").replace('_', ""));
        stems.into_iter().any(|it| it == stem)
    };
    let contradicts = FAMILIES.iter().any(is_of) && !is_of(decoder.family);
    let message = format!(
        "architectures names {class}, model_type {}: this build goes by model_type, as transformers does; vLLM goes by architectures",
        decoder.family.name()
    );
    contradicts.then(|| Finding::new("architectures_contradict", Severity::Warning, message))
}

fn parts(subject: Subject<'_>, decoder: &Decoder, found: &mut Vec<Finding>) {
    if decoder.family.oracle == Oracle::Computed {
        let message = format!(
            "{}: counted from the authors' code, not held against a class of Hugging Face's",
            decoder.family.name()
        );
        found.push(Finding::new("computed_family", Severity::Info, message));
    }
    for part in &decoder.apart {
        // What a checkpoint holds of it is a term of its own.
        let counted = if subject.stored.is_some() { "not among its parameters" } else { "not counted" };
        let message = format!("{} (`{}`): beside the language model, {counted}", part.name, part.key);
        found.push(Finding::new("part_apart", Severity::Warning, message));
    }
    if !decoder.predictors.is_empty() {
        let message = format!(
            "num_nextn_predict_layers {}: what predicts tokens further ahead (MTP) has {} parameters, is not loaded for generation and not in the total",
            decoder.predictors.len(),
            format_count(estimate::predictor_params(decoder))
        );
        found.push(Finding::new("predictors_apart", Severity::Info, message));
    }
    if let Some(method) = &decoder.unknown_quantization {
        let message = format!(
            "weights quantised by {method}, whose layout is not known here: without a checkpoint they are sized in {}",
            estimate::stored_format(decoder)
        );
        found.push(Finding::new("quantization_unknown", Severity::Warning, message));
    }
    if !decoder.is_packed() && matches!(subject.fields.get("quantization_config"), Some(Value::Object(_))) {
        let message = "quantization_config says that the weights are quantised, and all of them are stored as plain floats: \
                       a load here takes them as they are, other tools go by the config";
        found.push(Finding::new("quantization_not_stored", Severity::Warning, message));
    }
    if decoder.family.runs() && decoder.is_packed() {
        let message = "weights that somebody quantised are sized here, not run: take the model in bf16, f16 or f32; \
                       q8_0 and q4_0 are made while it is loaded";
        found.push(Finding::new("quantized_weights", Severity::Warning, message));
    }
}

#[cfg(test)]
#[path = "findings_tests.rs"]
mod tests;
