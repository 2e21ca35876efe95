//! What the host computes of a model whose other parts are on GPUs.

use std::ops::{ControlFlow, Range};

use super::{EngineError, LoadPlan, LoadProgress, Memory, SequenceId};
use crate::weights::{Checkpoint, WeightSource};

/// Neighbouring rows of one sequence in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostRows {
    /// An open sequence.
    pub sequence: SequenceId,
    /// Position of the first.
    pub start: usize,
    /// How many.
    pub rows: usize,
    /// Whether they are rotated by the long factors.
    pub long: bool,
}

/// The parts of a model that a plan's split puts on `cpu`. The engine of the GPUs asks for them in turn; rows come and
/// go as f32. Which parts are here, only the split tells: asking for another is an error.
#[expect(async_fn_in_trait, reason = "as for Engine")]
pub trait HostPart: Sized {
    /// Loads them from a checked checkpoint, of whose bytes `done_bytes` have been loaded elsewhere.
    ///
    /// # Errors
    /// As [`Engine::load`](super::Engine::load); a format that the host does not compute in.
    async fn load<S: WeightSource>(
        checkpoint: &Checkpoint<S>,
        plan: &LoadPlan,
        done_bytes: u64,
        progress: &mut dyn FnMut(LoadProgress) -> ControlFlow<()>,
    ) -> Result<Self, EngineError>;

    /// Whether it computes in the formats of a plan.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`], with the format.
    fn check(plan: &LoadPlan) -> Result<(), EngineError>;

    /// Makes room for the keys and values of a sequence.
    ///
    /// # Errors
    /// Out of memory.
    fn open(&mut self, sequence: SequenceId, capacity: usize) -> Result<(), EngineError>;

    /// Gives it back.
    fn release(&mut self, sequence: SequenceId);

    /// Rows `[tokens, hidden]` of the residual stream from token ids.
    ///
    /// # Errors
    /// The backend's own.
    fn embed(&mut self, tokens: &[u32], residual: &mut [f32]) -> Result<(), EngineError>;

    /// Decoder layers over rows `[rows, hidden]` of the residual stream, in place; their keys and values are kept.
    ///
    /// # Errors
    /// The backend's own.
    fn layers(
        &mut self,
        layers: Range<usize>,
        rows: &[HostRows],
        residual: &mut [f32],
    ) -> Result<(), EngineError>;

    /// One decoder layer over a whole sequence, whose keys and values are not kept.
    ///
    /// # Errors
    /// Out of memory.
    fn whole(&mut self, layer: usize, long: bool, residual: &mut [f32]) -> Result<(), EngineError>;

    /// The last norm over rows `[rows, hidden]`, in place.
    ///
    /// # Errors
    /// The backend's own.
    fn norm(&mut self, rows: &mut [f32]) -> Result<(), EngineError>;

    /// Logits `[rows, vocab]` of normed rows `[rows, hidden]`.
    ///
    /// # Errors
    /// The backend's own.
    fn head(&mut self, normed: &[f32], logits: &mut [f32]) -> Result<(), EngineError>;

    /// Bytes that it holds now.
    fn memory(&self) -> Memory;
}

/// In a build that computes on GPUs alone.
#[derive(Debug)]
pub enum NoHost {}

impl HostPart for NoHost {
    async fn load<S: WeightSource>(
        _: &Checkpoint<S>,
        plan: &LoadPlan,
        _: u64,
        _: &mut dyn FnMut(LoadProgress) -> ControlFlow<()>,
    ) -> Result<Self, EngineError> {
        Self::check(plan).and(Err(EngineError::Backend("nothing computes on the host".to_owned())))
    }

    fn check(_: &LoadPlan) -> Result<(), EngineError> {
        Err(EngineError::Unavailable {
            what: "cpu beside GPUs".to_owned(),
            reason: "this build computes on GPUs alone; put every module on one".to_owned(),
        })
    }

    fn open(&mut self, _: SequenceId, _: usize) -> Result<(), EngineError> {
        match *self {}
    }

    fn release(&mut self, _: SequenceId) {
        match *self {}
    }

    fn embed(&mut self, _: &[u32], _: &mut [f32]) -> Result<(), EngineError> {
        match *self {}
    }

    fn layers(&mut self, _: Range<usize>, _: &[HostRows], _: &mut [f32]) -> Result<(), EngineError> {
        match *self {}
    }

    fn whole(&mut self, _: usize, _: bool, _: &mut [f32]) -> Result<(), EngineError> {
        match *self {}
    }

    fn norm(&mut self, _: &mut [f32]) -> Result<(), EngineError> {
        match *self {}
    }

    fn head(&mut self, _: &[f32], _: &mut [f32]) -> Result<(), EngineError> {
        match *self {}
    }

    fn memory(&self) -> Memory {
        match *self {}
    }
}
