//! Memory of sequences: where it comes from when they are opened and when they grow, where it goes.

use std::collections::BTreeSet;

use super::Cuda;
use super::blocks::{Block, TOKENS};
use super::sequence::Sequence;
use crate::engine::{EngineError, HostPart, Sampling, SequenceId};

impl<H: HostPart> Cuda<H> {
    /// A sequence that is not in anybody's way: with all of its memory, or where that is shared, with none of it yet.
    pub(super) fn empty(&self, capacity: usize, sampling: &Sampling) -> Result<Sequence, EngineError> {
        let draws = self.route.tail().is_some();
        if self.pool.is_none() {
            let gpus = self.parts.iter().map(|part| (&part.gpu, part.model.weights.layers()));
            return Sequence::whole(gpus, &self.plan, self.kv, capacity, sampling, draws);
        }
        let bytes = self.plan.context.div_ceil(TOKENS) * size_of::<u64>();
        let taken: BTreeSet<usize> = self.sequences.values().filter_map(Sequence::list).collect();
        let list = (0..self.plan.batch).map(|place| place * bytes).find(|list| !taken.contains(list));
        let list = list.ok_or_else(|| EngineError::Backend("no list of blocks is free".to_owned()))?;
        Sequence::shared(&self.plan, self.kv, capacity, sampling, draws, list)
    }

    /// Sees to it that there is memory for so many tokens of each sequence.
    ///
    /// # Errors
    /// Out of memory; no sequence has got any then.
    pub(super) fn grow(
        &mut self,
        wanted: impl Iterator<Item = (SequenceId, usize)>,
    ) -> Result<(), EngineError> {
        let Some(pool) = &mut self.pool else { return Ok(()) };
        let lacks = |(id, tokens): (SequenceId, usize)| {
            let lacks = self.sequences.get(&id)?.lacks(tokens);
            (lacks > 0).then_some((id, lacks))
        };
        let lacking: Vec<_> = wanted.filter_map(lacks).collect();
        pool.make_room(lacking.iter().map(|(_, blocks)| blocks).sum())?;
        for (id, count) in lacking {
            let Some(sequence) = self.sequences.get_mut(&id) else { continue };
            let more: Vec<Block> = (0..count).map_while(|_| pool.take()).collect();
            let place = sequence.grow(&more);
            for (index, part) in self.parts.iter().enumerate() {
                if part.model.space.sizes.lists == 0 {
                    continue;
                }
                let addresses: Vec<u64> = more.iter().map(|block| pool.address(*block, index)).collect();
                part.enter()?;
                let list = part.model.space.lists.ptr().at(place);
                part.model.stream.upload(list, bytemuck::cast_slice(&addresses))?;
            }
        }
        Ok(())
    }

    /// Takes a sequence's blocks back, after whatever still reads them.
    pub(super) fn reclaim(&mut self, id: SequenceId) {
        if self.sequences.get(&id).is_some_and(|sequence| sequence.len > 0) {
            // A step on its way writes to the cache. What it sampled is read first.
            let _ = self.settle(0);
            self.resident.clear();
        }
        if let (Some(pool), Some(sequence)) = (&mut self.pool, self.sequences.get_mut(&id)) {
            pool.give(&sequence.shrink());
        }
    }
}
