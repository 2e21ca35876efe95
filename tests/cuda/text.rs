//! The converted SmolLM2-135M on real texts: which id comes next, beside the CPU engine in f32.
//!
//! The checkpoint is in f32. Beside how often an engine agrees with f32 on the checkpoint stands how often it does with
//! f32 on the weights that it holds: the rest of what is lost is lost in activations.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use phi3::candle_engine::CandleEngine;
use phi3::config::ModelConfig;
use phi3::dtype::DType;
use phi3::engine::Attention;
use phi3::tokenize::{Tokenizer, TokenizerFiles};

use crate::quantized::f16;
use crate::support::{Bytes, cuda, folder, from_f32, full, has_gpu, load, plan, tensors_of, tests_dir};

/// Positions that are compared.
const POSITIONS: usize = 256;
/// One that any model knows by heart, and one that none has read.
const TEXTS: [&str; 2] = ["LICENSE", "ARCHITECTURE.md"];

/// The converted model: in `$PREFLIGHT_SMOLLM2`, else where `./dev model` puts it.
fn model() -> Option<PathBuf> {
    let folder = std::env::var_os("PREFLIGHT_SMOLLM2")
        .map_or_else(|| tests_dir().join("../models/smollm2-135m-phi3"), PathBuf::from);
    if folder.join("config.json").exists() {
        return Some(folder);
    }
    let reason = format!("{} is not there: run ./dev model", folder.display());
    assert!(std::env::var_os("PREFLIGHT_REQUIRE_MODEL").is_none(), "{reason}");
    eprintln!("not run: {reason}");
    None
}

fn likeliest(rows: &[Vec<f32>]) -> Vec<usize> {
    let best =
        |row: &Vec<f32>| (0..row.len()).fold(0, |best, id| if row[id] > row[best] { id } else { best });
    rows.iter().map(best).collect()
}

/// The checkpoint with every value as a format holds it, in f32.
fn rounded(model: &Path, dtype: DType) -> Bytes {
    let round = |value: f32| match dtype {
        // The nearest, the even one of two.
        DType::Bf16 => {
            let bits = value.to_bits();
            f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
        }
        DType::F16 => f16(value),
        _ => value,
    };
    let mut tensors = BTreeMap::new();
    for entry in std::fs::read_dir(model).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            tensors.extend(tensors_of(&path));
        }
    }
    let bytes = tensors.into_iter().map(|(name, (shape, values))| {
        let bytes: Vec<u8> = values.into_iter().flat_map(|value| round(value).to_le_bytes()).collect();
        (name, shape, bytes)
    });
    from_f32(bytes.collect())
}

#[test]
fn likeliest_ids_of_a_text() {
    if !has_gpu() {
        return;
    }
    let Some(model) = model() else { return };
    let read = |name: &str| std::fs::read(model.join(name)).ok();
    let [json, tokenizer_config] = ["tokenizer.json", "tokenizer_config.json"].map(read);
    let json = json.expect("a tokenizer");
    let tokenizer = Tokenizer::load(&TokenizerFiles {
        tokenizer: &json,
        tokenizer_config: tokenizer_config.as_deref(),
        ..TokenizerFiles::default()
    })
    .expect("a tokenizer");
    let config =
        ModelConfig::parse(&std::fs::read(model.join("config.json")).expect("a config")).expect("phi3");
    let stored = folder(&model);
    let reference = plan(&config, DType::F32, Attention::Eager, POSITIONS);
    let mut cpu = load::<CandleEngine>(&stored, &reference);
    let texts = TEXTS.map(|file| {
        let text = std::fs::read_to_string(tests_dir().join("..").join(file)).expect("a text");
        let mut tokens = tokenizer.encode(&text).expect("ids");
        tokens.truncate(POSITIONS);
        assert_eq!(tokens.len(), POSITIONS);
        tokens
    });
    let of_checkpoint = texts.each_ref().map(|tokens| likeliest(&full(&mut cpu, tokens)));
    drop(cpu);
    let mut failures = Vec::new();
    // The goal in bf16 is 99 %: 98.0 to 99.2 were measured.
    for (dtype, least) in [(DType::F32, 1.0), (DType::Bf16, 0.975), (DType::F16, 0.99)] {
        let mut cpu = load::<CandleEngine>(&rounded(&model, dtype), &reference);
        let of_rounded = texts.each_ref().map(|tokens| likeliest(&full(&mut cpu, tokens)));
        for attention in [Attention::Eager, Attention::Fused] {
            let mut engine = cuda(&stored, &plan(&config, dtype, attention, POSITIONS));
            for (index, tokens) in texts.iter().enumerate() {
                let found = likeliest(&full(&mut engine, tokens));
                let agreed = |ids: &[usize]| found.iter().zip(ids).filter(|(found, id)| found == id).count();
                let (same, whole) = (agreed(&of_rounded[index]), agreed(&of_checkpoint[index]));
                let line = format!(
                    "{}, {dtype}, {attention:?}: {whole} of {POSITIONS} agree, {same} with f32 on the same weights",
                    TEXTS[index]
                );
                println!("{line}");
                if (whole as f64) < least * POSITIONS as f64 {
                    failures.push(line);
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
