//! The run over a scripted engine: what it measures, where it fails.

use super::*;
use crate::engine::{DeviceInfo, EngineInfo, LoadPlan, LoadProgress, Prompt, Sampled};
use crate::weights::{Checkpoint, WeightSource};

const VOCAB: u32 = 50;

/// Counts upwards: the id after `n` is `n + 1`, whatever stood before.
#[derive(Default)]
struct Counting {
    last: u32,
    tokens: usize,
    open: usize,
    /// Length from which the cache gives another id than one pass.
    wrong_from: Option<usize>,
    /// Layer that puts out a NaN.
    nan_layer: Option<usize>,
    /// Length from which the cache gives NaN, and one pass does not.
    nan_from: Option<usize>,
    /// The longest sequence seen.
    longest: usize,
}

impl Counting {
    fn sample(&mut self, tokens: usize, last: u32) -> Result<Vec<Sampled>, EngineError> {
        self.tokens += tokens;
        self.longest = self.longest.max(self.tokens);
        if self.nan_layer.is_some() || self.nan_from.is_some_and(|from| self.tokens >= from) {
            return Err(EngineError::NanLogits);
        }
        let wrong = self.wrong_from.is_some_and(|from| self.tokens >= from);
        self.last = (last + if wrong { 2 } else { 1 }) % VOCAB;
        Ok(vec![Sampled { sequence: SEQUENCE, id: self.last }])
    }
}

impl Engine for Counting {
    async fn devices() -> Result<Vec<DeviceInfo>, EngineError> {
        Ok(Vec::new())
    }

    async fn load<S: WeightSource>(
        _: &Checkpoint<S>,
        _: &LoadPlan,
        _: &mut dyn FnMut(LoadProgress) -> ControlFlow<()>,
    ) -> Result<Self, EngineError> {
        Ok(Self::default())
    }

    fn info(&self) -> EngineInfo {
        EngineInfo { engine: "counting".to_owned(), device: "cpu".to_owned(), dtype: DType::F32, threads: 1 }
    }

    async fn open(&mut self, _: SequenceId, capacity: usize, _: &Sampling) -> Result<(), EngineError> {
        (self.open, self.tokens) = (capacity, 0);
        Ok(())
    }

    async fn prefill(&mut self, prompts: &[Prompt<'_>]) -> Result<Vec<Sampled>, EngineError> {
        let tokens = prompts[0].tokens;
        self.sample(tokens.len(), tokens[tokens.len() - 1])
    }

    async fn decode(&mut self, _: &[SequenceId]) -> Result<Vec<Sampled>, EngineError> {
        assert!(self.tokens < self.open, "grew out of its capacity");
        self.sample(1, self.last)
    }

    async fn drain(&mut self) -> Result<Vec<Sampled>, EngineError> {
        Ok(Vec::new())
    }

    fn release(&mut self, _: SequenceId) {
        self.open = 0;
    }
}

impl Diagnostics for Counting {
    async fn logits(
        &mut self,
        tokens: &[u32],
        rows: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), EngineError> {
        for (position, token) in tokens.iter().enumerate() {
            let mut row = [0.0; VOCAB as usize];
            row[((token + 1) % VOCAB) as usize] = 1.0;
            rows(position, &row);
        }
        Ok(())
    }

    async fn non_finite(
        &mut self,
        tokens: &[u32],
        rows: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<Vec<(u64, u64)>, EngineError> {
        self.logits(tokens, rows).await?;
        Ok((0..3).map(|layer| (u64::from(self.nan_layer == Some(layer)), 0)).collect())
    }

    fn memory(&self) -> Memory {
        Memory { kv_cache_bytes: self.open as u64, ..Memory::default() }
    }
}

fn config(json: &str) -> ModelConfig {
    let sizes = r#""model_type":"phi3","hidden_size":64,"num_attention_heads":4,"num_key_value_heads":4,
        "num_hidden_layers":2,"intermediate_size":64,"vocab_size":50,"pad_token_id":0,"bos_token_id":1,
        "eos_token_id":2,"max_position_embeddings":256"#;
    ModelConfig::parse(format!("{{{sizes}{json}}}").as_bytes()).expect("a valid config")
}

fn validate(engine: &mut Counting, config: &ModelConfig, probes: ProbeSet) -> Report {
    let spec = Run {
        prompt: &[5, 6, 7],
        max_new_tokens: 4,
        stop_ids: &[10],
        probes,
        filler: &[20, 21],
        load_ms: 1.5,
        predicted: Memory::default(),
    };
    let mut seen = Vec::new();
    let mut on_token = |id| {
        seen.push(id);
        ControlFlow::Continue(())
    };
    let mut measure = |engine: Memory| Memory { overhead_bytes: 7, ..engine };
    let mut rows = 0;
    let mut on_logits = |position: usize, _: &[f32]| {
        assert_eq!(position, rows);
        rows += 1;
    };
    let report = run(engine, config, &spec, &mut on_token, &mut measure, &mut on_logits);
    let report = pollster::block_on(report).expect("the engine never fails");
    assert_eq!(seen, report.generated_tokens);
    assert_eq!(rows, report.computed_on().len());
    assert_eq!(report.stop_reason == Report::BROKE_OFF, engine.nan_layer.or(engine.nan_from).is_some());
    // One id follows each, and the last of the prompt is 7.
    assert_eq!(report.top_logits[0].token, 8);
    report
}

#[test]
fn a_sound_model_passes() {
    let report = validate(&mut Counting::default(), &config(""), ProbeSet::All);
    assert_eq!(report.generated_tokens, [8, 9, 10]);
    assert_eq!((report.stop_reason.as_str(), report.verdict), ("stop", Verdict::Pass));
    // Room for prompt and new tokens but the last, measured while the sequence was open.
    assert_eq!((report.memory.measured.kv_cache_bytes, report.memory.measured.overhead_bytes), (6, 7));
    assert_eq!(report.load_ms, 1.5);
    for probe in &report.probes {
        assert_eq!((probe.tokens, probe.verdict), (0, Verdict::Unverified), "{}", probe.detail);
    }
    assert_eq!(report.probes.len(), 2);
}

/// What came before is kept, and the id that it broke off on is looked at.
#[test]
fn nan_in_the_middle_of_a_run_fails_it() {
    let mut engine = Counting { nan_from: Some(5), ..Counting::default() };
    let report = validate(&mut engine, &config(""), ProbeSet::None);
    assert_eq!((report.verdict, report.nan_count), (Verdict::Fail, 0));
    assert_eq!((report.generated_tokens.as_slice(), report.computed_on().len()), (&[8, 9][..], 5));
    assert!(report.reason.contains("NaN logits after 5 tokens"), "{}", report.reason);
}

#[test]
fn nan_fails_and_names_the_layer() {
    for (layer, place) in [(1, "layer 1"), (2, "the logits")] {
        let mut engine = Counting { nan_layer: Some(layer), ..Counting::default() };
        let report = validate(&mut engine, &config(""), ProbeSet::None);
        assert_eq!((report.verdict, report.nan_count), (Verdict::Fail, 1));
        assert!(report.reason.contains(place), "{}", report.reason);
    }
}

#[test]
fn probes_cross_their_boundary() {
    let config = config(
        r#","sliding_window":40,"original_max_position_embeddings":128,"rope_scaling":{"type":"longrope",
        "short_factor":[1,1,1,1,1,1,1,1],"long_factor":[2,2,2,2,2,2,2,2]}"#,
    );
    let mut engine = Counting::default();
    let report = validate(&mut engine, &config, ProbeSet::All);
    assert_eq!(report.verdict, Verdict::Pass, "{}", report.reason);
    let tokens: Vec<_> = report.probes.iter().map(|probe| probe.tokens).collect();
    assert_eq!(tokens, [47, 135]);
    // The cache of the longest of the runs, which is what the model is loaded for.
    assert_eq!(report.memory.measured.kv_cache_bytes, 135);
    assert!(engine.longest > 128);
    assert_eq!(context(&config, 3, 4, ProbeSet::All), 135);
    assert_eq!(context(&config, 3, 4, ProbeSet::Window), 47);
    assert_eq!(context(&config, 3, 4, ProbeSet::None), 6);

    // NaN that only a probe meets is told as such.
    let mut engine = Counting { nan_from: Some(41), ..Counting::default() };
    let report = pollster::block_on(run(
        &mut engine,
        &config,
        &Run {
            prompt: &[5, 6, 7],
            max_new_tokens: 4,
            stop_ids: &[],
            probes: ProbeSet::Window,
            filler: &[20],
            load_ms: 0.0,
            predicted: Memory::default(),
        },
        &mut |_| ControlFlow::Continue(()),
        &mut |memory| memory,
        &mut |_, _| (),
    ));
    let report = report.expect("the engine never fails");
    assert_eq!((report.verdict, report.nan_count, report.probes[0].non_finite), (Verdict::Fail, 0, 1));

    // A cache that forgets the window, or the switch, gives other ids than one pass.
    for (kind, boundary) in [(ProbeSet::Window, 40), (ProbeSet::Long, 128)] {
        let mut engine = Counting { wrong_from: Some(boundary + 1), ..Counting::default() };
        let report = validate(&mut engine, &config, kind);
        assert_eq!(report.verdict, Verdict::Fail);
        assert!(report.reason.contains(&format!("after {} tokens", boundary + 1)), "{}", report.reason);
    }
}

#[test]
fn breaking_cancels() {
    let spec = Run {
        prompt: &[5],
        max_new_tokens: 4,
        stop_ids: &[],
        probes: ProbeSet::None,
        filler: &[1],
        load_ms: 0.0,
        predicted: Memory::default(),
    };
    let mut engine = Counting::default();
    let mut stop = |_| ControlFlow::Break(());
    let (config, mut measure, mut on_logits) = (config(""), |memory| memory, |_: usize, _: &[f32]| {});
    let result = run(&mut engine, &config, &spec, &mut stop, &mut measure, &mut on_logits);
    let result = pollster::block_on(result);
    assert!(matches!(result, Err(EngineError::Cancelled)));
}
