//! Ladders run on paper: a closure plays the machine.

use super::*;
use crate::config::{Fields, Preset};
use crate::dtype::DType;
use crate::engine::{Attention, DeviceInfo};
use crate::estimate::Options;
use crate::load_config::{OutcomeClass, Subject};

const GIB: u64 = 1 << 30;

fn parse(text: &str) -> Result<Profile, String> {
    let profile: Profile = toml::from_str(text).map_err(|error| error.to_string())?;
    profile.check().map_err(|error| error.to_string())?;
    Ok(profile)
}

fn device(name: &str, free_bytes: u64, dtypes: &[DType]) -> DeviceInfo {
    DeviceInfo {
        device: name.parse().expect("a device"),
        name: format!("the {name}"),
        driver: None,
        total_bytes: Some(free_bytes),
        free_bytes: Some(free_bytes),
        dtypes: dtypes.to_vec(),
        attention: vec![Attention::Eager],
        is_software: false,
    }
}

fn cpu() -> DeviceInfo {
    device("cpu", 64 * GIB, &[DType::F32, DType::Bf16, DType::F16])
}

fn gpu(free_bytes: u64) -> DeviceInfo {
    device("cuda:0", free_bytes, &[DType::F32, DType::Bf16, DType::F16])
}

/// Runs a profile for Phi-3-mini; `machine` says how each rung that is run ends.
fn climb(
    profile: &Profile,
    devices: &[DeviceInfo],
    past: &[Past],
    mut machine: impl FnMut(&Rung) -> (Status, OutcomeClass),
) -> Vec<Outcome> {
    let preset = Preset::find("phi-3-mini-4k-instruct").expect("a preset");
    let fields = Fields::parse(preset.config.as_bytes()).expect("JSON");
    let options = Options::default();
    let facts =
        Facts { subject: Subject { fields: &fields, stored: None, options: &options }, devices, past };
    let mut done = Vec::new();
    loop {
        // Asked twice, it says the same: a restart changes nothing.
        assert_eq!(next(profile, &facts, &done), next(profile, &facts, &done));
        match next(profile, &facts, &done) {
            Next::Done => return done,
            Next::Skip(outcome) => done.push(*outcome),
            Next::Run(rung) => {
                assert!(!rung.action.loads() || rung.predicted.is_some(), "bytes come first: {rung:?}");
                assert!(rung.branch || rung.parent.is_none() || rung.changes.len() <= 1, "{rung:?}");
                let (status, class) = machine(&rung);
                done.push(rung.outcome(status, Some(class), format!("{} ran", rung.step)));
            }
        }
    }
}

fn passes(_: &Rung) -> (Status, OutcomeClass) {
    (Status::Passed, OutcomeClass::Passed)
}

/// `1p 2p 3s …`: each step with the first letter of its status.
fn line(done: &[Outcome]) -> String {
    let letter = |status| match status {
        Status::Passed => 'p',
        Status::Failed => 'f',
        Status::Skipped => 's',
    };
    done.iter()
        .map(|outcome| format!("{}{}", outcome.step, letter(outcome.status)))
        .collect::<Vec<_>>()
        .join(" ")
}

fn of<'a>(done: &'a [Outcome], step: &str) -> &'a Outcome {
    done.iter().find(|outcome| outcome.step == step).expect("a step")
}

#[test]
fn where_all_goes_well_nothing_is_mended() {
    let done =
        climb(&parse(Profile::STANDARD).expect("the product's own"), &[gpu(24 * GIB), cpu()], &[], passes);
    assert_eq!(line(&done), "1p 2p 3p 4s 5as 5bs 6p 7p");
    assert_eq!(of(&done, "6").device.as_deref(), Some("cuda:0"));
    assert_eq!(of(&done, "6").load_config, of(&done, "3").load_config);
    assert_eq!(of(&done, "7").load_config, of(&done, "3").load_config);
    assert!(of(&done, "4").reason.contains("step 3 loaded"), "{}", of(&done, "4").reason);
    assert!(conclude(&parse(Profile::STANDARD).expect("the product's own"), &done).0);
}

#[test]
fn without_a_gpu_the_cpu_is_validated_and_the_reason_is_told() {
    let done = climb(&parse(Profile::STANDARD).expect("the product's own"), &[cpu()], &[], passes);
    assert_eq!(line(&done), "1p 2p 3s 4s 5as 5bs 6p 7p");
    let third = of(&done, "3");
    assert_eq!(third.class, Some(OutcomeClass::DeviceAbsent));
    assert_eq!(third.reason, "no GPU here: this machine computes on cpu (the cpu)");
    assert_eq!(of(&done, "6").device.as_deref(), Some("cpu"));
    let software = DeviceInfo { is_software: true, ..device("wgpu:0", GIB, &[DType::F32]) };
    let done = climb(&parse(Profile::STANDARD).expect("the product's own"), &[software, cpu()], &[], passes);
    assert_eq!(of(&done, "3").status, Status::Skipped);
    assert!(of(&done, "3").reason.contains("played by the processor"), "{}", of(&done, "3").reason);
}

#[test]
fn bf16_refused_or_failed_leads_to_f16() {
    // Refused: known before it runs.
    let old = device("cuda:0", 24 * GIB, &[DType::F32, DType::F16]);
    let done = climb(&parse(Profile::STANDARD).expect("the product's own"), &[old, cpu()], &[], passes);
    assert_eq!(line(&done), "1p 2p 3s 4p 5as 5bs 6p 7p");
    assert_eq!(of(&done, "3").class, Some(OutcomeClass::DtypeUnsupported));
    // Failed: known after.
    let done =
        climb(&parse(Profile::STANDARD).expect("the product's own"), &[gpu(24 * GIB), cpu()], &[], |rung| {
            match rung.step.as_str() {
                "3" => (Status::Failed, OutcomeClass::NanInf),
                _ => passes(rung),
            }
        });
    assert_eq!(line(&done), "1p 2p 3f 4p 5as 5bs 6p 7p");
    let fourth = of(&done, "4");
    assert_eq!(
        fourth.changes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["dtype: bfloat16 → float16"]
    );
    assert_eq!(of(&done, "6").load_config, fourth.load_config);
    assert!(
        conclude(&parse(Profile::STANDARD).expect("the product's own"), &done).0,
        "what failed was mended"
    );
}

#[test]
fn what_cannot_fit_is_not_tried() {
    let done =
        climb(&parse(Profile::STANDARD).expect("the product's own"), &[gpu(6 * GIB), cpu()], &[], passes);
    let third = of(&done, "3");
    assert_eq!((third.status, third.class), (Status::Skipped, Some(OutcomeClass::OomDeviceWeights)));
    assert!(
        third.reason.starts_with("it does not fit: needs ")
            && third.reason.contains("6.00 GiB free on cuda:0")
    );
    assert!(third.predicted.is_some_and(|memory| memory.total_bytes > 6 * GIB));
    // The host streams by default: nothing would change.
    assert!(of(&done, "5a").reason.contains("changes nothing"), "{}", of(&done, "5a").reason);
    let fifth = of(&done, "5b");
    assert_eq!(fifth.changes.len(), 1, "{fifth:?}");
    assert!(fifth.changes[0].path.starts_with("max_memory"), "{fifth:?}");
}

#[test]
fn what_is_expected_not_to_fit_needs_no_run_to_show_it() {
    let profile = parse(
        r#"
        name = "too large"
        [[steps]]
        id = "a"
        action = "load"
        device = "gpu"
        expectations = { fits = false }
        [[steps]]
        id = "b"
        action = "validate"
        "#,
    )
    .expect("a profile");
    let done = climb(&profile, &[gpu(6 * GIB), cpu()], &[], passes);
    let first = of(&done, "a");
    assert_eq!((first.status, first.class), (Status::Passed, Some(OutcomeClass::OomDeviceWeights)));
    assert!(first.reason.starts_with("does not fit, as expected: needs "), "{}", first.reason);
    // It is no load that anything could go on with.
    assert_eq!(of(&done, "b").status, Status::Skipped, "{}", of(&done, "b").reason);
    assert!(conclude(&profile, &done).0);
}

#[test]
fn a_budget_that_rules_a_load_out_is_what_was_expected() {
    let profile = parse(
        r#"
        name = "budget"
        overrides = { max_memory = { 0 = 1073741824 } }
        [[steps]]
        id = "a"
        action = "load"
        device = "gpu"
        expectations = { fits = false }
        "#,
    )
    .expect("a profile");
    let done = climb(&profile, &[gpu(24 * GIB), cpu()], &[], passes);
    let first = of(&done, "a");
    assert_eq!(
        (first.status, first.class),
        (Status::Passed, Some(OutcomeClass::OomDeviceWeights)),
        "{first:?}"
    );
    assert!(first.reason.starts_with("does not fit, as expected: "), "{}", first.reason);
}

#[test]
fn what_mends_goes_on_from_what_failed() {
    let done =
        climb(&parse(Profile::STANDARD).expect("the product's own"), &[gpu(24 * GIB), cpu()], &[], |rung| {
            match rung.step.as_str() {
                "3" => (Status::Failed, OutcomeClass::OomDeviceWeights),
                _ => passes(rung),
            }
        });
    assert_eq!(line(&done), "1p 2p 3f 4s 5as 5bp 6p 7p");
    let of_fifth = of(&done, "5b").load_config.clone().expect("a load config");
    // Step 4 stands between them and was not called for: it changes nothing.
    for (key, value) in of(&done, "3").load_config.as_ref().expect("a load config") {
        assert_eq!(of_fifth.get(key), Some(value), "{key}");
    }
    assert_eq!(of(&done, "5b").device.as_deref(), Some("cuda:0"));
}

#[test]
fn a_file_that_cannot_be_read_ends_it() {
    let done =
        climb(&parse(Profile::STANDARD).expect("the product's own"), &[gpu(24 * GIB), cpu()], &[], |rung| {
            assert_eq!(rung.action, Action::Inspect, "nothing is run on a broken file");
            (Status::Failed, OutcomeClass::DownloadCorrupt)
        });
    assert_eq!(line(&done), "1f 2s 3s 4s 5as 5bs 6s 7s");
    let (passed, reason) = conclude(&parse(Profile::STANDARD).expect("the product's own"), &done);
    assert!(!passed && reason.contains("step 1 failed"), "{reason}");
}

#[test]
fn a_failure_that_is_certain_is_not_repeated() {
    let text = r#"
        name = "again"
        [[steps]]
        id = "a"
        action = "load"
        device = "cpu"
        overrides = { dtype = "bfloat16" }
        [[steps]]
        id = "b"
        action = "load"
        branch = true
        device = "cpu"
        overrides = { torch_dtype = "bf16" }
    "#;
    let profile = parse(text).expect("a profile");
    let fail = |class| move |_: &Rung| (Status::Failed, class);
    assert_eq!(line(&climb(&profile, &[cpu()], &[], fail(OutcomeClass::NanInf))), "af bs");
    // What may be the machine's fault may be tried again.
    assert_eq!(line(&climb(&profile, &[cpu()], &[], fail(OutcomeClass::WorkerLost))), "af bf");

    let config = serde_json::json!({"dtype": "bfloat16"}).as_object().expect("an object").clone();
    let past =
        Past { attempt: 17, load_config: config, device: "cpu".to_owned(), class: OutcomeClass::NanInf };
    let done = climb(&profile, &[cpu()], &[past], passes);
    assert_eq!(line(&done), "as bs");
    assert!(done[0].reason.contains("attempt 17 ended in nan_inf"), "{}", done[0].reason);
}

#[test]
fn an_expectation_that_is_not_met_fails_for_good() {
    let text = r#"
        name = "speed"
        [[prompts]]
        name = "capital"
        chat = "What is the capital of France?"
        max_new_tokens = 8
        [[steps]]
        id = "load"
        action = "load"
        [[steps]]
        id = "ask"
        action = "infer"
        prompts = ["capital"]
        expectations = { min_decode_tokens_per_s = 50.0 }
        [[steps]]
        id = "end"
        action = "unload"
    "#;
    let profile = parse(text).expect("a profile");
    let done = climb(&profile, &[cpu()], &[], |rung| {
        if rung.step == "ask" {
            assert_eq!(rung.prompts[0].max_new_tokens, Some(8));
            assert_eq!(rung.parent.as_deref(), Some("load"));
            return (Status::Failed, OutcomeClass::Passed);
        }
        passes(rung)
    });
    assert_eq!(line(&done), "loadp askf endp");
    assert!(!conclude(&profile, &done).0);
}

#[test]
fn mistakes_in_a_profile_are_told_with_their_place() {
    let step = "[[steps]]\nid = \"a\"\naction = \"load\"\n";
    for (text, says) in [
        ("name = \"x\"\nsteps = []", "steps: has 0, expected 1 to 100"),
        (
            &format!("name = \"x\"\n{step}prompts = [\"p\"]"),
            "steps[0] (a): no prompt is called `p`; there is none at all",
        ),
        (&format!("name = \"x\"\n{step}probe = \"all\""), "`probe` belongs to validate, not to load"),
        (&format!("name = \"x\"\n{step}overrides = {{ dtyp = \"f16\" }}"), "did you mean `dtype`"),
        (&format!("name = \"x\"\n{step}{step}"), "steps[1] (a): the id stands twice"),
        (
            &format!(
                "name = \"x\"\n{step}[[steps]]\nid = \"b\"\naction = \"load\"\noverrides = {{ dtype = \"float16\", sliding_window = 7 }}"
            ),
            "steps[1] (b): changes more than one thing against step a",
        ),
        (&format!("name = \"x\"\n{step}propose = \"speed\""), "`speed` is no knob"),
        (&format!("name = \"x\"\n{step}expectations = {{ min_decode_tokens_per_s = -1.0 }}"), "from 0 up"),
        (
            &format!("name = \"x\"\n[[prompts]]\nname = \"p\"\n{step}"),
            "prompts[0] (p): give it either a text or a chat",
        ),
    ] {
        let error = parse(text).expect_err(text);
        assert!(error.contains(says) && !error.contains('\n'), "{text}\n{error}");
    }
}

#[test]
fn expectations_decide_what_a_run_was_worth() {
    let expected = Expectations { fits: Some(true), min_decode_tokens_per_s: Some(5.0), no_nan: Some(true) };
    let oom = Run::Failed { class: OutcomeClass::OomLoadHost, message: "out of memory" };
    assert_eq!(judge(&expected, &oom).0, Status::Failed);
    let not = Expectations { fits: Some(false), ..expected };
    assert_eq!(judge(&not, &oom).0, Status::Passed);
    let loaded = Run::Done { measured: None, reports: &[] };
    assert_eq!(judge(&expected, &loaded).0, Status::Passed);
    for (rate, least, why) in [
        (Some(9.214), 100_000.0, "decodes 9.21 tokens/s, expected at least 100,000 tokens/s"),
        (None, 0.5, "generated no second token, which would tell the speed, expected at least 0.5 tokens/s"),
    ] {
        assert_eq!(judge::too_slow(rate, least), why);
    }
    assert_eq!(judge(&not, &loaded).0, Status::Failed);
}
