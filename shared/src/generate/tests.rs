//! The loop on an engine that counts: the ids of a sequence are its length, and become readable late.

use std::collections::VecDeque;

use super::*;
use crate::dtype::DType;
use crate::engine::{DeviceInfo, EngineInfo, LoadPlan, LoadProgress};
use crate::weights::{Checkpoint, WeightSource};

#[derive(Default)]
struct Counting {
    lag: usize,
    steps: usize,
    tokens: usize,
    open: Vec<SequenceId>,
    flying: VecDeque<Sampled>,
}

impl Counting {
    fn step(&mut self, sequence: SequenceId, appended: usize) -> Vec<Sampled> {
        self.steps += 1;
        self.tokens += appended;
        self.flying.push_back(Sampled { sequence, id: self.tokens as u32 });
        let ready = self.flying.len().saturating_sub(self.lag);
        self.flying.drain(..ready).collect()
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
        if capacity > 100 {
            return Err(EngineError::SequenceFull { tokens: capacity, capacity: 100 });
        }
        self.open.push(id);
        Ok(())
    }

    async fn prefill(&mut self, prompts: &[Prompt<'_>]) -> Result<Vec<Sampled>, EngineError> {
        if prompts[0].tokens.is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        Ok(self.step(prompts[0].sequence, prompts[0].tokens.len()))
    }

    async fn decode(&mut self, sequences: &[SequenceId]) -> Result<Vec<Sampled>, EngineError> {
        Ok(self.step(sequences[0], 1))
    }

    async fn drain(&mut self) -> Result<Vec<Sampled>, EngineError> {
        Ok(self.flying.drain(..).collect())
    }

    fn release(&mut self, sequence: SequenceId) {
        self.open.retain(|open| *open != sequence);
    }
}

fn request(max_new_tokens: usize, stop_ids: &[u32]) -> Request<'_> {
    Request { prompt: &[5, 6, 7], max_new_tokens, stop_ids, sampling: Sampling::GREEDY }
}

fn run_on(engine: &mut Counting, request: &Request<'_>, cancel_at: u32) -> Result<Generation, EngineError> {
    pollster::block_on(generate(engine, SequenceId(9), request, &mut |id| {
        if id == cancel_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }))
}

#[test]
fn ends_for_each_reason_whatever_the_lag() {
    for lag in [0, 1, 3, 50] {
        for (max_new_tokens, stop_ids, cancel_at, ids, reason) in [
            (4, &[][..], 0, &[3, 4, 5, 6][..], StopReason::Length),
            (1, &[], 0, &[3], StopReason::Length),
            (0, &[], 0, &[], StopReason::Length),
            (9, &[77, 5], 0, &[3, 4, 5], StopReason::Stop),
            (9, &[3], 0, &[3], StopReason::Stop),
            (9, &[], 4, &[3, 4], StopReason::Cancelled),
            (9, &[4], 4, &[3, 4], StopReason::Stop),
        ] {
            let mut engine = Counting { lag, ..Counting::default() };
            let found = run_on(&mut engine, &request(max_new_tokens, stop_ids), cancel_at).expect("counts");
            assert_eq!((found.ids.as_slice(), found.stop_reason), (ids, reason), "lag {lag}");
            assert!(engine.steps <= max_new_tokens);
            assert!(engine.open.is_empty() && engine.flying.is_empty());
            assert_eq!(found.timings.ttft_ms.is_some(), !ids.is_empty());
        }
    }
}

#[test]
fn errors_release_the_sequence() {
    let mut engine = Counting::default();
    let empty = Request { prompt: &[], ..request(3, &[]) };
    assert!(matches!(run_on(&mut engine, &empty, 0), Err(EngineError::EmptyPrompt)));
    assert!(engine.open.is_empty());
    let full = run_on(&mut engine, &request(99, &[]), 0);
    assert!(matches!(full, Err(EngineError::SequenceFull { tokens: 101, capacity: 100 })));
}
