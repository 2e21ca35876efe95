//! Who joins when, on an engine that counts: the id after n is n + 1.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use phi3::api::PromptInput;
use phi3::dtype::DType;
use phi3::engine::{DeviceInfo, EngineInfo, LoadPlan, LoadProgress, Memory, PromptPart, Sampling};
use phi3::weights::{Checkpoint, WeightSource};

use super::*;

/// An id that no engine takes.
const REFUSED: u32 = 999;

#[derive(Default)]
struct Counting {
    /// Sequences that there is memory for.
    room: usize,
    /// The last id of each open sequence.
    open: BTreeMap<SequenceId, u32>,
    /// Rows of each prompt of each call.
    prefilled: Vec<Vec<usize>>,
    /// Rows of prompts beside a step; 0 mixes nothing.
    part_rows: usize,
    /// Of each mixed step: rows of each part, and how many sequences took a step.
    mixed: Vec<(Vec<usize>, usize)>,
    /// Tokens that all sequences share memory for, if they do.
    shared: Option<usize>,
    /// Tokens of each sequence: computed, and that it has memory for.
    lens: BTreeMap<SequenceId, [usize; 2]>,
    parked: usize,
}

impl Counting {
    /// Memory for all of them or for none.
    fn take(&mut self, wanted: &[(SequenceId, usize)]) -> Result<(), EngineError> {
        let Some(shared) = self.shared else { return Ok(()) };
        let mut held = self.lens.clone();
        for (sequence, tokens) in wanted {
            let [_, room] = held.entry(*sequence).or_default();
            *room = (*room).max(*tokens);
        }
        let requested_bytes = held.values().map(|[_, room]| *room).sum::<usize>();
        if requested_bytes > shared {
            let requested_bytes = requested_bytes as u64;
            return Err(EngineError::OutOfMemory { phase: "kv_cache", requested_bytes, free_bytes: 0 });
        }
        self.lens = held;
        Ok(())
    }

    /// One id more of each, of which those that were parked are computed anew.
    fn step(&mut self, sequences: &[SequenceId]) -> Result<Vec<Sampled>, EngineError> {
        let wanted = sequences.iter().map(|id| (*id, self.lens.get(id).map_or(1, |[len, _]| len + 1)));
        let wanted: Vec<_> = wanted.collect();
        self.take(&wanted)?;
        let mut next = |sequence: &SequenceId| {
            let id = self.open.get_mut(sequence).ok_or(EngineError::UnknownSequence(*sequence))?;
            *id += 1;
            self.lens.entry(*sequence).or_default()[0] += 1;
            Ok(Sampled { sequence: *sequence, id: *id })
        };
        sequences.iter().map(&mut next).collect()
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
            self.lens.entry(prompt.sequence).or_default()[0] += prompt.tokens.len();
            sampled.push(Sampled { sequence: prompt.sequence, id });
        }
        Ok(sampled)
    }

    async fn decode(&mut self, sequences: &[SequenceId]) -> Result<Vec<Sampled>, EngineError> {
        self.step(sequences)
    }

    fn part_rows(&self, running: usize) -> usize {
        if self.part_rows == 0 { 0 } else { self.part_rows.saturating_sub(running).max(1) }
    }

    async fn mixed(
        &mut self,
        parts: &[PromptPart<'_>],
        sequences: &[SequenceId],
    ) -> Result<Vec<Sampled>, EngineError> {
        if parts.iter().any(|part| part.tokens.contains(&REFUSED)) {
            return Err(EngineError::TokenOutOfRange { id: REFUSED, position: 0, vocab_size: 900 });
        }
        let mut sampled = self.step(sequences)?;
        self.mixed.push((parts.iter().map(|part| part.tokens.len()).collect(), sequences.len()));
        for part in parts {
            self.lens.entry(part.sequence).or_default()[0] += part.tokens.len();
            if part.is_last {
                let id = part.tokens[part.tokens.len() - 1] + 1;
                self.open.insert(part.sequence, id);
                sampled.push(Sampled { sequence: part.sequence, id });
            }
        }
        Ok(sampled)
    }

    fn reserve(&mut self, sequence: SequenceId, tokens: usize) -> Result<(), EngineError> {
        self.take(&[(sequence, tokens)])
    }

    fn park(&mut self, sequence: SequenceId) {
        self.parked += 1;
        self.lens.entry(sequence).or_default()[1] = 0;
    }

    async fn drain(&mut self) -> Result<Vec<Sampled>, EngineError> {
        Ok(Vec::new())
    }

    fn release(&mut self, sequence: SequenceId) {
        self.open.remove(&sequence);
        self.lens.remove(&sequence);
    }
}

impl Diagnostics for Counting {
    async fn logits(&mut self, _: &[u32], _: &mut dyn FnMut(usize, &[f32])) -> Result<(), EngineError> {
        Ok(())
    }

    async fn non_finite(
        &mut self,
        _: &[u32],
        _: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<Vec<(u64, u64)>, EngineError> {
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
    let (text, mut batch) = (Text::none(1000), Batch::default());
    let mut told: BTreeMap<u64, Result<Vec<u32>, String>> = BTreeMap::new();
    for (id, (prompt, max_new_tokens)) in (0..).zip(asked) {
        let asked = Generate {
            id,
            // Three choices of one request, then others.
            request: id.max(2),
            prompt: PromptInput::Ids(prompt.to_vec()),
            max_new_tokens: Some(*max_new_tokens),
            sampling: Sampling::GREEDY,
            stop: Vec::new(),
            logprobs: None,
        };
        batch.add(&text, 800, asked).expect("is taken in");
    }
    let mut tell = |id: u64, event: StreamEvent| match event {
        StreamEvent::Taken => panic!("{id}: told by whoever adds it"),
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
fn streams_join_and_leave_one_by_one() {
    for (part_rows, most) in [(0, 9), (0, 2), (100, 9), (100, 2), (3, 9)] {
        let mut engine = Counting { part_rows, room: 9, ..Counting::default() };
        let asked: [(&[u32], usize); 4] = [(&[1, 2], 3), (&[5, 6, 7], 3), (&[1, 1, 1, 10], 2), (&[20], 2)];
        let told = run(&mut engine, most, &asked);
        let ids = [vec![3, 4, 5], vec![8, 9, 10], vec![11, 12], vec![21, 22]].map(Ok);
        assert_eq!(told.into_values().collect::<Vec<_>>(), ids, "{part_rows} rows, {most} streams");
        assert!(engine.open.is_empty());
    }
}

#[test]
fn requests_take_turns() {
    let mut engine = Counting { room: 1, ..Counting::default() };
    let asked: [(&[u32], usize); 5] = [(&[1], 1), (&[1, 2], 1), (&[1, 2, 3], 1), (&[1; 4], 1), (&[1; 5], 1)];
    run(&mut engine, 1, &asked);
    let order = [1, 4, 5, 2, 3].map(|rows| vec![rows]);
    assert_eq!(engine.prefilled, order, "those who came later wait for one choice, not for all of them");
}

/// Others that keep coming do not keep a request of several choices from its end.
#[test]
fn who_comes_later_does_not_go_first_for_ever() {
    let (text, mut batch) = (Text::none(1000), Batch::default());
    let mut engine = Counting { room: 1, ..Counting::default() };
    let add = |batch: &mut Batch, id: u64, request: u64| {
        let prompt = PromptInput::Ids(vec![1]);
        let asked = Generate {
            id,
            request,
            prompt,
            max_new_tokens: Some(1),
            sampling: Sampling::GREEDY,
            stop: Vec::new(),
            logprobs: None,
        };
        batch.add(&text, 800, asked).expect("is taken in");
    };
    for id in 0..4 {
        add(&mut batch, id, 0);
    }
    let mut begun = Vec::new();
    for id in 10..30 {
        add(&mut batch, 2 * id, 2 * id);
        add(&mut batch, 2 * id + 1, 2 * id + 1);
        let mut tell = |id: u64, event: StreamEvent| {
            begun.extend(matches!(event, StreamEvent::Started { .. }).then_some(id));
        };
        for _ in 0..2 {
            batch.step(&mut engine, &text, 1, &mut tell);
        }
    }
    let last = begun.iter().position(|id| *id == 3).expect("the last choice has begun");
    assert!(last < 16, "{begun:?}");
}

#[test]
fn who_waits_for_memory_begins_when_another_has_ended() {
    let mut engine = Counting { room: 2, ..Counting::default() };
    let told = run(&mut engine, 9, &[(&[1], 4), (&[10], 2), (&[20], 2)]);
    assert_eq!(engine.prefilled, [vec![1], vec![1], vec![1]]);
    let ids = [vec![2, 3, 4, 5], vec![11, 12], vec![21, 22]].map(Ok);
    assert_eq!(told.into_values().collect::<Vec<_>>(), ids);
}

#[test]
fn one_that_is_refused_takes_nobody_along() {
    for part_rows in [0, 100] {
        let mut engine = Counting { part_rows, room: 9, ..Counting::default() };
        let told = run(&mut engine, 9, &[(&[1], 3), (&[7, REFUSED], 2), (&[20], 2)]);
        let ids = [Ok(vec![2, 3, 4]), Err("token_out_of_range".to_owned()), Ok(vec![21, 22])];
        assert_eq!(told.into_values().collect::<Vec<_>>(), ids);
        assert!(engine.open.is_empty());
    }
}

#[test]
fn prompts_ride_along_bit_by_bit() {
    let mut engine = Counting { part_rows: 4, room: 9, ..Counting::default() };
    let told = run(&mut engine, 9, &[(&[1, 2], 6), (&[5, 6, 7, 8, 9, 10, 11], 2), (&[20], 2)]);
    // Who came first is first; those that run take a step each time, and leave that much less room beside them.
    assert_eq!(engine.mixed, [(vec![2, 2], 0), (vec![3], 1), (vec![2, 1], 1)]);
    let ids = [vec![3, 4, 5, 6, 7, 8], vec![12, 13], vec![21, 22]].map(Ok);
    assert_eq!(told.into_values().collect::<Vec<_>>(), ids);
    assert!(engine.open.is_empty() && engine.prefilled.is_empty());
}

#[test]
fn streams_that_outgrow_their_memory_take_turns() {
    // Each of them comes to 8 tokens, and all of them begin.
    for (shared, parked) in [(24, false), (12, true), (8, true)] {
        for part_rows in [0, 100] {
            let shared = Some(shared);
            let mut engine = Counting { part_rows, room: 9, shared, ..Counting::default() };
            let told = run(&mut engine, 9, &[(&[1, 2], 7), (&[10, 11], 7), (&[20, 21], 7)]);
            let ids = [3, 12, 22].map(|first| Ok((first..first + 7).collect::<Vec<u32>>()));
            assert_eq!(told.into_values().collect::<Vec<_>>(), ids, "{shared:?}, {part_rows}");
            assert_eq!(engine.parked > 0, parked, "{shared:?}, {part_rows}");
            assert!(engine.open.is_empty() && engine.lens.is_empty());
        }
    }
    // One that is too long for all of it will never have enough.
    let mut engine = Counting { part_rows: 100, room: 9, shared: Some(5), ..Counting::default() };
    let told = run(&mut engine, 9, &[(&[1, 2], 7), (&[10, 11], 3)]);
    assert_eq!(told.into_values().collect::<Vec<_>>(), [Err("oom".to_owned()), Ok(vec![12, 13, 14])]);
}
