//! Who joins when, on an engine that counts: the id after n is n + 1.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use phi3::api::PromptInput;
use phi3::dtype::DType;
use phi3::engine::{DeviceInfo, EngineInfo, LoadPlan, LoadProgress, Memory, Sampling};
use phi3::weights::{Checkpoint, WeightSource};

use super::*;

/// An id that no engine takes.
const REFUSED: u32 = 999;

#[derive(Default)]
struct Counting {
    joint_rows: usize,
    /// Sequences that there is memory for.
    room: usize,
    /// The last id of each open sequence.
    open: BTreeMap<SequenceId, u32>,
    /// Rows of each prompt of each call.
    prefilled: Vec<Vec<usize>>,
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

    async fn open(&mut self, id: SequenceId, capacity: usize, _: &Sampling) -> Result<(), EngineError> {
        if self.open.len() == self.room {
            let requested_bytes = capacity as u64;
            return Err(EngineError::OutOfMemory { phase: "kv_cache", requested_bytes, free_bytes: 0 });
        }
        self.open.insert(id, 0);
        Ok(())
    }

    async fn prefill(&mut self, prompts: &[Prompt<'_>]) -> Result<Vec<Sampled>, EngineError> {
        self.prefilled.push(prompts.iter().map(|prompt| prompt.tokens.len()).collect());
        let ids = prompts.iter().flat_map(|prompt| prompt.tokens);
        if ids.copied().any(|id| id == REFUSED) {
            return Err(EngineError::TokenOutOfRange { id: REFUSED, position: 0, vocab_size: 900 });
        }
        let mut sampled = Vec::new();
        for prompt in prompts {
            let id = prompt.tokens[prompt.tokens.len() - 1] + 1;
            self.open.insert(prompt.sequence, id);
            sampled.push(Sampled { sequence: prompt.sequence, id });
        }
        Ok(sampled)
    }

    async fn decode(&mut self, sequences: &[SequenceId]) -> Result<Vec<Sampled>, EngineError> {
        let mut next = |sequence: &SequenceId| {
            let id = self.open.get_mut(sequence).ok_or(EngineError::UnknownSequence(*sequence))?;
            *id += 1;
            Ok(Sampled { sequence: *sequence, id: *id })
        };
        sequences.iter().map(&mut next).collect()
    }

    fn joint_rows(&self) -> usize {
        self.joint_rows
    }

    async fn drain(&mut self) -> Result<Vec<Sampled>, EngineError> {
        Ok(Vec::new())
    }

    fn release(&mut self, sequence: SequenceId) {
        self.open.remove(&sequence);
    }
}

impl Diagnostics for Counting {
    async fn logits(&mut self, _: &[u32], _: &mut dyn FnMut(usize, &[f32])) -> Result<(), EngineError> {
        Ok(())
    }

    async fn non_finite(&mut self, _: &[u32]) -> Result<Vec<(u64, u64)>, EngineError> {
        Ok(Vec::new())
    }

    fn memory(&self) -> Memory {
        Memory::default()
    }
}

/// Streams of prompts with as many new tokens each, to their end: what each was given, or the code of its error.
fn run(
    engine: &mut Counting,
    most: usize,
    asked: &[(&[u32], usize)],
) -> BTreeMap<u64, Result<Vec<u32>, String>> {
    let (text, mut batch) = (Text::none(900), Batch::default());
    let mut told: BTreeMap<u64, Result<Vec<u32>, String>> = BTreeMap::new();
    for (id, (prompt, max_new_tokens)) in (0..).zip(asked) {
        let asked = Generate {
            id,
            prompt: PromptInput::Ids(prompt.to_vec()),
            max_new_tokens: Some(*max_new_tokens),
            sampling: Sampling::GREEDY,
            stop: Vec::new(),
            logprobs: None,
        };
        batch.add(&text, 800, asked).expect("is taken in");
    }
    let mut tell = |id: u64, event: StreamEvent| match event {
        StreamEvent::Started { .. } => {
            assert!(told.insert(id, Ok(Vec::new())).is_none(), "{id} begins once");
        }
        StreamEvent::Token { token, .. } => {
            let ids = told.get_mut(&id).and_then(|ids| ids.as_mut().ok());
            ids.expect("it has begun").push(token);
        }
        StreamEvent::Finished { .. } => {}
        StreamEvent::Failed { error } => {
            told.insert(id, Err(error.code));
        }
    };
    for _ in 0..1000 {
        if batch.is_idle() {
            return told;
        }
        batch.step(engine, &text, most, &mut tell);
    }
    panic!("it goes on and on: {told:?}");
}

#[test]
fn prompts_begin_together_as_far_as_that_is_worth_it() {
    for (joint_rows, most, expected) in [
        (1, 9, vec![vec![2], vec![3], vec![4], vec![1]]),
        (5, 9, vec![vec![2, 3], vec![4, 1]]),
        (100, 9, vec![vec![2, 3, 4, 1]]),
        // One that is longer than all of it goes alone.
        (3, 9, vec![vec![2], vec![3], vec![4], vec![1]]),
        // Two at a time; each pair ends together.
        (100, 2, vec![vec![2, 3], vec![4, 1]]),
    ] {
        let mut engine = Counting { joint_rows, room: 9, ..Counting::default() };
        let asked: [(&[u32], usize); 4] = [(&[1, 2], 3), (&[5, 6, 7], 3), (&[1, 1, 1, 10], 2), (&[20], 2)];
        let told = run(&mut engine, most, &asked);
        assert_eq!(engine.prefilled, expected, "{joint_rows} rows, {most} streams");
        let ids = [vec![3, 4, 5], vec![8, 9, 10], vec![11, 12], vec![21, 22]].map(Ok);
        assert_eq!(told.into_values().collect::<Vec<_>>(), ids);
        assert!(engine.open.is_empty());
    }
}

#[test]
fn who_waits_for_memory_begins_when_another_has_ended() {
    let mut engine = Counting { joint_rows: 100, room: 2, ..Counting::default() };
    let told = run(&mut engine, 9, &[(&[1], 4), (&[10], 2), (&[20], 2)]);
    assert_eq!(engine.prefilled, [vec![1, 1], vec![1]]);
    let ids = [vec![2, 3, 4, 5], vec![11, 12], vec![21, 22]].map(Ok);
    assert_eq!(told.into_values().collect::<Vec<_>>(), ids);
}

#[test]
fn one_that_is_refused_takes_nobody_along() {
    let mut engine = Counting { joint_rows: 100, room: 9, ..Counting::default() };
    let told = run(&mut engine, 9, &[(&[1], 2), (&[REFUSED], 2), (&[20], 2)]);
    assert_eq!(engine.prefilled, [vec![1, 1, 1], vec![1], vec![1], vec![1]]);
    let ids = [Ok(vec![2, 3]), Err("token_out_of_range".to_owned()), Ok(vec![21, 22])];
    assert_eq!(told.into_values().collect::<Vec<_>>(), ids);
    assert!(engine.open.is_empty());
}
