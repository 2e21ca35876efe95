//! The WGSL engine against Hugging Face's own logits, on the first GPU that the host has: software (lavapipe) where
//! there is no other. Without any Vulkan driver these tests say so and are over; `./dev test` installs one.

#![expect(clippy::print_stdout, reason = "tests say where they ran and what they found")]

use std::sync::OnceLock;

use phi3::candle_engine::CandleEngine;
use phi3::dtype::DType;
use phi3::engine::{Attention, Engine as _, LoadPlan};
use phi3::placement::DeviceId;
use phi3::wgpu_engine::WgpuEngine;
use pollster::block_on;

use crate::parity::{Case, F32_BOUND, cases};
use crate::support::model::{checkpoint, full_logits, greedy, largest_difference, load_on, plan};
use crate::tiny;

/// Whether there is a GPU; said where there is none.
fn is_there() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| match block_on(WgpuEngine::devices()) {
        Ok(devices) => {
            println!("on {} ({:?})", devices[0].name, devices[0].driver);
            true
        }
        Err(error) if std::env::var_os("PREFLIGHT_REQUIRE_GPU").is_none() => {
            println!("LEFT OUT: {error}");
            false
        }
        Err(error) => panic!("{error}"),
    })
}

fn device() -> DeviceId {
    "wgpu:0".parse().expect("a device")
}

fn load(case: &Case, plan: &LoadPlan) -> WgpuEngine {
    load_on(&case.checkpoint, plan).unwrap_or_else(|error| panic!("{}: {error}", case.name))
}

/// A quarter of the cases, with scores written out or on the chip in turn. Each compiles its shaders anew.
fn quarter(at: usize) -> impl Iterator<Item = (Case, Attention)> {
    let ways = [Attention::Fused, Attention::Eager].into_iter().cycle();
    cases().into_iter().zip(ways).skip(at).step_by(4)
}

/// Every case in f32, scores written out or not in turn; in quarters that run side by side.
fn logits_of(at: usize) {
    if !is_there() {
        return;
    }
    let mut worst = 0.0f64;
    for (case, attention) in quarter(at) {
        let context = case.ids("/tokens").len();
        let plan = LoadPlan { attention, device: device(), ..plan(&case.config, DType::F32, context) };
        let relative = case.difference_of(&mut load(&case, &plan)) / case.number("/max_abs_logit");
        assert!(relative <= F32_BOUND, "{} {attention:?}: {relative:e} of the largest logit", case.name);
        worst = worst.max(relative);
    }
    println!("f32: largest difference {worst:.1e} of the largest logit");
}

#[test]
fn logits_of_every_case_1() {
    logits_of(0);
}

#[test]
fn logits_of_every_case_2() {
    logits_of(1);
}

#[test]
fn logits_of_every_case_3() {
    logits_of(2);
}

#[test]
fn logits_of_every_case_4() {
    logits_of(3);
}

/// Prefill, cache, window, the switch of rotary factors, ids that stay on the device: every fifth case.
#[test]
fn greedy_ids_of_some_cases() {
    if !is_there() {
        return;
    }
    for case in cases().into_iter().step_by(5) {
        let (prompt, expected) = (case.ids("/greedy/prompt"), case.ids("/greedy/ids"));
        let new = case.number("/greedy/max_new") as usize;
        let stop =
            if case.json["greedy"]["stop"] == "eos" { case.config.eos_token_ids.clone() } else { Vec::new() };
        let plan = LoadPlan {
            attention: Attention::Fused,
            device: device(),
            ..plan(&case.config, DType::F32, prompt.len() + new)
        };
        let found = greedy(&mut load(&case, &plan), &prompt, new, &stop);
        assert_eq!(found.ids, expected, "{}", case.name);
    }
}

fn tiny(dtype: DType, kv_dtype: DType) -> WgpuEngine {
    let plan = LoadPlan {
        attention: Attention::Fused,
        kv_dtype,
        device: device(),
        ..plan(&tiny::config(), dtype, 300)
    };
    load_on(&checkpoint(&tiny::folder()), &plan).expect("loads")
}

/// Weights in 16 bits are the stored ones, and sums are f32: as near as in f32. Quantised weights are other weights:
/// their bounds are about twice what was seen, so that a kernel that misreads them is found.
#[test]
fn the_tiny_model_in_every_format() {
    if !is_there() {
        return;
    }
    let (json, goldens) = tiny::golden();
    for (dtype, kv_dtype, bound) in [
        (DType::F32, DType::F32, tiny::F32_BOUND),
        (DType::Bf16, DType::F32, tiny::F32_BOUND),
        (DType::F16, DType::F16, 5e-3),
        (DType::Bf16, DType::Bf16, 3e-2),
        (DType::Q8_0, DType::F16, 5e-2),
        (DType::Q4_0, DType::F16, 5e-1),
    ] {
        let mut tokens = tiny::fed(&json, "short");
        if dtype != DType::F32 {
            // Past the window, which is 128.
            tokens.truncate(136);
        }
        let found = full_logits(&mut tiny(dtype, kv_dtype), &tokens);
        let relative = tiny::difference(&json, &goldens, "short", &found);
        println!("{dtype}, cache in {kv_dtype}: largest difference {relative:.1e} of the largest logit");
        assert!(relative <= bound, "{dtype}, {kv_dtype}: {relative:e}");
    }
}

/// Past the window and past the original length; the same ids until the reference itself is in two minds.
#[test]
fn two_hundred_greedy_ids_of_the_tiny_model() {
    if !is_there() {
        return;
    }
    let (json, goldens) = tiny::golden();
    let (prompt, expected) = (tiny::ids(&json["prompt"]["ids"]), tiny::ids(&json["greedy"]["ids"]));
    let peak = json["runs"]["short"]["max_abs_logit"].as_f64().expect("a number");
    let sure = |gap: &f32| f64::from(*gap) >= tiny::F32_BOUND * peak;
    let certain = goldens["gaps"].1.iter().take_while(|gap| sure(gap)).count();
    assert!(certain > 150, "{certain}");
    let found = greedy(&mut tiny(DType::Bf16, DType::F32), &prompt, 200, &[]).ids;
    assert_eq!(found[..certain], expected[..certain]);
}

/// Rows that meet quantised weights as int8 blocks lose more than the order of sums does: of the largest logit, about twice
/// what was seen.
const INT8_BOUND: f64 = 4e-2;

/// The bound of rows in int8, against the CPU engine on the same weights, whose activations keep 16 bits: every logit of
/// a text, and the likeliest id wherever the reference is not in two minds, as a prompt and step by step.
#[test]
fn int8_rows_of_the_tiny_model() {
    if !is_there() {
        return;
    }
    let (json, _) = tiny::golden();
    let prompt = tiny::ids(&json["prompt"]["ids"]);
    for dtype in [DType::Q8_0, DType::Q4_0] {
        let mut cpu: CandleEngine =
            load_on(&checkpoint(&tiny::folder()), &plan(&tiny::config(), dtype, 300)).expect("loads");
        let ids = greedy(&mut cpu, &prompt, 120, &[]).ids;
        let fed = [&prompt[..], &ids].concat();
        let expected = full_logits(&mut cpu, &fed);
        let peak = expected.iter().flatten().fold(0.0f32, |peak, logit| peak.max(logit.abs()));
        let mut gpu = tiny(dtype, DType::F32);
        let found = full_logits(&mut gpu, &fed);
        let worst = found.iter().zip(&expected).map(|(a, b)| largest_difference(a, b)).fold(0.0, f64::max);
        let share = worst / f64::from(peak);
        let gap = |row: &Vec<f32>| {
            let mut best = [f32::NEG_INFINITY; 2];
            for logit in row {
                best = [best[0].max(*logit), best[1].max(logit.min(best[0]))];
            }
            f64::from(best[0] - best[1])
        };
        let certain = |row: &Vec<f32>| gap(row) > 2.0 * INT8_BOUND * f64::from(peak);
        let likeliest =
            |row: &Vec<f32>| (0..row.len()).fold(0, |best, id| if row[id] > row[best] { id } else { best });
        let rows = || expected.iter().zip(&found).filter(|(row, _)| certain(row));
        let followed = greedy(&mut gpu, &prompt, 120, &[]).ids;
        let same = followed.iter().zip(&ids).take_while(|(a, b)| a == b).count();
        println!(
            "{dtype}: {share:.1e} of the largest logit; {} rows certain; {same} ids the same",
            rows().count()
        );
        assert!(rows().count() > 20, "hardly a row is certain");
        assert!(
            rows().all(|(row, found)| likeliest(row) == likeliest(found)),
            "{dtype}: a certain id is another"
        );
        assert!(
            same == ids.len() || !certain(&expected[prompt.len() - 1 + same]),
            "{dtype}: they part at {same}"
        );
        assert!(share <= INT8_BOUND, "{dtype}: {share:e}");
        assert!(share > tiny::F32_BOUND, "{dtype}: rows are no int8 blocks");
    }
}

#[test]
fn a_device_that_is_not_there_is_refused() {
    if !is_there() {
        return;
    }
    let device = "wgpu:99".parse().expect("a device");
    let plan = LoadPlan { device, ..plan(&tiny::config(), DType::F32, 64) };
    let refused = load_on::<WgpuEngine>(&checkpoint(&tiny::folder()), &plan).err();
    assert_eq!(refused.map(|error| error.code()), Some("unavailable"));
}
