//! Every shader that the engine can ask for, in every format and both ways of reducing, is valid WGSL.

use std::collections::BTreeSet;

use wgpu::naga::front::wgsl;
use wgpu::naga::valid::{Capabilities, ValidationFlags, Validator};

use crate::config::ModelConfig;
use crate::dtype::DType;
use crate::wgpu_engine::kernels::{self, Gemv, Heads, Into, Mixed};
use crate::wgpu_engine::template::Shader;
use crate::wgpu_engine::{DTYPES, KV_DTYPES};

fn problem(text: &str) -> Option<String> {
    let module = match wgsl::parse_str(text) {
        Ok(module) => module,
        Err(error) => return Some(error.emit_to_string(text)),
    };
    let mut validator = Validator::new(
        ValidationFlags::all(),
        Capabilities::SUBGROUP | Capabilities::SHADER_FLOAT16_IN_FLOAT32,
    );
    validator.validate(&module).err().map(|error| error.emit_to_string(text))
}

fn heads(window: Option<usize>, kv_dtype: DType) -> Heads {
    let mut config =
        ModelConfig::parse(br#"{"model_type":"phi3","partial_rotary_factor":0.75}"#).expect("a good config");
    config.sliding_window = window;
    Heads::new(&config, kv_dtype, 4096).expect("heads that fit")
}

fn all() -> Vec<Shader> {
    let mut all = vec![
        kernels::argmax(32064),
        kernels::count(3072, 3072),
        kernels::quantize(3072),
        Shader::new("lanes").number("LANES", 32).number("THREADS", 128),
    ];
    for lanes in [None, Some(4), Some(32), Some(64)] {
        for dtype in DTYPES {
            let of_one = Gemv::of(lanes, 10_000, Into::SiluQ8);
            all.push(kernels::gemv(dtype, 3072, Into::SiluQ8, 3072, of_one));
            for into in [Into::Store, Into::Add, Into::Silu] {
                for rows in [100, 10_000] {
                    all.push(kernels::gemv(dtype, 3072, into, 3072, Gemv::of(lanes, rows, into)));
                }
                all.push(kernels::few(dtype, 3072, into, 3072, Gemv::of_few(lanes)));
                all.push(kernels::gemm(dtype, 3072, into, 3072));
            }
        }
        for (to_q8, from_head_row) in [(false, false), (true, false), (false, true), (true, true)] {
            all.extend(DTYPES.map(|dtype| kernels::norm(dtype, 3072, 1e-5, to_q8, from_head_row, lanes)));
        }
        for (window, kv_dtype) in [None, Some(2047)].into_iter().zip(KV_DTYPES.into_iter().cycle().skip(1)) {
            let heads = heads(window, kv_dtype);
            all.extend([heads.attention(lanes), heads.softmax(lanes)]);
            all.extend([Mixed::F32, Mixed::Q8, Mixed::Parts].map(|to| heads.attention_of_one(to, lanes)));
        }
    }
    all.extend(DTYPES.map(|dtype| kernels::embed(dtype, 3072)));
    for kv_dtype in KV_DTYPES {
        let heads = heads(Some(7), kv_dtype);
        all.extend([
            heads.rope(),
            heads.combine(Mixed::F32),
            heads.combine(Mixed::Q8),
            heads.scores(),
            heads.mix(),
        ]);
    }
    all
}

#[test]
fn every_shader_is_valid() {
    let shaders = all();
    let complaints: Vec<_> = shaders
        .iter()
        .filter_map(|shader| problem(&shader.text(false)).map(|why| format!("{shader:?}: {why}")))
        .collect();
    assert!(complaints.is_empty(), "{} of {}:\n{}", complaints.len(), shaders.len(), complaints[0]);

    let seen: BTreeSet<_> = shaders.iter().map(Shader::name).collect();
    let included = [
        "block", "cache", "column", "dot", "epilogue", "q8", "reduce", "rotate", "step", "tile", "visible",
        "weight",
    ];
    let files: BTreeSet<_> = Shader::files().filter(|file| !included.contains(file)).collect();
    assert_eq!(seen, files, "every template is written out here");
}

#[test]
fn what_is_wrong_is_found() {
    let text = kernels::argmax(100).text(false);
    assert_eq!(problem(&text), None);
    assert!(problem(&text.replace("u32(", "f32(").replace("var best = 0u", "var best = 0.0")).is_some());
    assert!(problem(&text.replace("best_rank: array", "best_rnk: array")).is_some());
}
