//! Memory that the caches of sequences share: blocks of as many tokens each, handed out as sequences grow.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::driver::{Buffer, Gpu, Ptr};
use super::kernels::Format;
use super::sequence::layer_bytes;
use crate::engine::{EngineError, LoadPlan};
use crate::estimate::PAGE_TOKENS;

/// Tokens of a block: a power of two, of which the kernels take the logarithm.
pub(super) const TOKENS: usize = PAGE_TOKENS as usize;

/// Bytes of a device that are taken at once where there are too few blocks: not so few that streams wait for the driver.
const GROWTH_BYTES: u64 = 256 << 20;

/// A block, by where it is. The first slab stays, others go when they are empty: blocks of the first are used first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Block {
    slab: usize,
    index: usize,
}

/// Blocks that were allocated together.
struct Slab {
    /// On each device.
    buffers: Vec<Buffer>,
    blocks: usize,
    taken: usize,
}

/// Blocks on all devices of a model: a block has a place on each of them, for its layers.
pub(super) struct Pool {
    slabs: Vec<Option<Slab>>,
    free: BTreeSet<Block>,
    /// Each device, and the bytes of a block there.
    devices: Vec<(Arc<Gpu>, u64)>,
}

impl Pool {
    /// `blocks` blocks on devices, each with the number of its layers.
    ///
    /// # Errors
    /// Out of memory.
    pub(super) fn new<'a>(
        gpus: impl Iterator<Item = (&'a Arc<Gpu>, usize)>,
        plan: &LoadPlan,
        kv: Format,
        blocks: usize,
    ) -> Result<Self, EngineError> {
        let layer = layer_bytes(plan, kv, TOKENS);
        let devices = gpus.map(|(gpu, layers)| (Arc::clone(gpu), layer * layers as u64)).collect();
        let mut pool = Self { slabs: Vec::new(), free: BTreeSet::new(), devices };
        pool.add(blocks.max(1))?;
        Ok(pool)
    }

    /// Allocates as many blocks more.
    fn add(&mut self, blocks: usize) -> Result<(), EngineError> {
        let buffers = self.devices.iter().map(|(gpu, bytes)| gpu.alloc(bytes * blocks as u64, "kv_cache"));
        let slab = Slab { buffers: buffers.collect::<Result<_, _>>()?, blocks, taken: 0 };
        let place = self.slabs.iter().position(Option::is_none).unwrap_or(self.slabs.len());
        if place == self.slabs.len() {
            self.slabs.push(None);
        }
        self.free.extend((0..blocks).map(|index| Block { slab: place, index }));
        self.slabs[place] = Some(slab);
        Ok(())
    }

    /// Sees to it that as many blocks are free.
    ///
    /// # Errors
    /// Out of memory; nothing has changed then.
    pub(super) fn make_room(&mut self, blocks: usize) -> Result<(), EngineError> {
        let missing = blocks.saturating_sub(self.free.len());
        if missing == 0 {
            return Ok(());
        }
        let largest = self.devices.iter().map(|(_, bytes)| *bytes).max().unwrap_or(1).max(1);
        let usual = usize::try_from(GROWTH_BYTES / largest).unwrap_or(usize::MAX);
        match self.add(usual.max(missing)) {
            Err(EngineError::OutOfMemory { .. }) if usual > missing => self.add(missing),
            result => result,
        }
    }

    /// A free block, if there is one.
    pub(super) fn take(&mut self) -> Option<Block> {
        let block = self.free.pop_first()?;
        if let Some(slab) = self.slabs.get_mut(block.slab).and_then(Option::as_mut) {
            slab.taken += 1;
        }
        Some(block)
    }

    /// Takes blocks back that nothing reads any more.
    pub(super) fn give(&mut self, blocks: &[Block]) {
        for block in blocks {
            let Some(slab) = self.slabs.get_mut(block.slab).and_then(Option::as_mut) else { continue };
            slab.taken -= 1;
            self.free.insert(*block);
            if slab.taken == 0 && block.slab > 0 {
                let indices = 0..slab.blocks;
                indices.for_each(|index| {
                    self.free.remove(&Block { slab: block.slab, index });
                });
                self.slabs[block.slab] = None;
            }
        }
    }

    /// Where a block is on a device.
    pub(super) fn address(&self, block: Block, device: usize) -> u64 {
        let Some(slab) = &self.slabs[block.slab] else { return Ptr::NULL.0 };
        slab.buffers[device].ptr().0 + self.devices[device].1 * block.index as u64
    }

    /// Bytes of all blocks on a device.
    pub(super) fn bytes(&self, device: usize) -> u64 {
        self.slabs.iter().flatten().map(|slab| slab.buffers[device].bytes).sum()
    }
}
