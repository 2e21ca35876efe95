//! Looks inside the model: whole sequences layer by layer, without a cache of their own beyond one layer.

use super::Cuda;
use super::driver::{Buffer, Ptr};
use super::kernels::{ONE_BLOCK, Row, Rows};
use super::model::Segment;
use super::part::Part;
use super::sequence::layer_bytes;
use crate::engine::route::Place;
use crate::engine::{
    Diagnostics, EngineError, HostPart, Logprobs, Memory, SequenceId, Stretch, count_non_finite,
};
use crate::placement::DeviceId;

impl<H: HostPart> Diagnostics for Cuda<H> {
    async fn logits(
        &mut self,
        tokens: &[u32],
        rows: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), EngineError> {
        self.whole(tokens, None, rows)
    }

    async fn non_finite(
        &mut self,
        tokens: &[u32],
        rows: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<Vec<(u64, u64)>, EngineError> {
        let mut layers = vec![(0, 0); self.plan.config.num_hidden_layers];
        let mut head = (0, 0);
        self.whole(tokens, Some(&mut layers[..]), &mut |position, row| {
            count_non_finite(row, &mut head);
            rows(position, row);
        })?;
        layers.push(head);
        Ok(layers)
    }

    async fn logprobs(&mut self, sequence: SequenceId, id: u32, top: usize) -> Result<Logprobs, EngineError> {
        if !self.steps.is_empty() {
            return Err(EngineError::Unavailable {
                what: format!("logprobs of sequence {}", sequence.0),
                reason: "a later step is on its way; drain before the next step to see what one chose from"
                    .to_owned(),
            });
        }
        let row = self.logits_of.iter().position(|of| *of == sequence);
        let logits = self.logits_row(row.ok_or(EngineError::UnknownSequence(sequence))?)?;
        let vocab_size = self.plan.config.vocab_size;
        Logprobs::new(&logits, id, top).ok_or(EngineError::TokenOutOfRange { id, position: 0, vocab_size })
    }

    fn memory(&self) -> Memory {
        self.by_device().iter().fold(Memory::default(), |sum, (_, memory)| Memory {
            weights_bytes: sum.weights_bytes + memory.weights_bytes,
            kv_cache_bytes: sum.kv_cache_bytes + memory.kv_cache_bytes,
            activation_bytes: sum.activation_bytes + memory.activation_bytes,
            overhead_bytes: sum.overhead_bytes + memory.overhead_bytes,
            total_bytes: sum.total_bytes + memory.total_bytes,
        })
    }

    fn memory_by_device(&self) -> Vec<(DeviceId, Memory)> {
        if self.plan.split.is_some() { self.by_device() } else { Vec::new() }
    }
}

/// What a whole sequence takes on a device.
struct Whole {
    residual: Buffer,
    /// Keys and values of one layer: later ones overwrite them, since each needs only its own.
    cache: Buffer,
    descriptions: Buffer,
    /// NaN and infinite values.
    counts: Buffer,
    tokens: usize,
    row_bytes: usize,
}

impl Whole {
    fn rows(&self, first: usize, most: usize) -> (Ptr, Rows) {
        let ptr = self.descriptions.ptr().at(first * size_of::<Row>());
        let rows = Rows { ptr, count: most.min(self.tokens - first) };
        (self.residual.ptr().at(first * self.row_bytes), rows)
    }
}

impl<H: HostPart> Cuda<H> {
    fn by_device(&self) -> Vec<(DeviceId, Memory)> {
        let of = |(index, part): (usize, &Part)| {
            let caches: u64 = self.sequences.values().map(|sequence| sequence.cache_bytes(index)).sum();
            let shared = self.pool.as_ref().map_or(0, |pool| pool.bytes(index));
            (part.device.clone(), part.memory(caches + shared))
        };
        let host = self.host.iter().map(|host| (DeviceId::Cpu, host.memory()));
        self.parts.iter().enumerate().map(of).chain(host).collect()
    }

    /// Room for a whole sequence on a device, and its rows described there.
    fn room(&mut self, part: usize, tokens: &[u32]) -> Result<Whole, EngineError> {
        let long = self.rope.is_long(tokens.len());
        let part = &mut self.parts[part];
        part.write_rotary(&self.rope, tokens.len())?;
        part.enter()?;
        let count = tokens.len();
        let row_bytes = self.plan.config.hidden_size * size_of::<f32>();
        let alloc = |bytes: usize| part.gpu.alloc(bytes as u64, "activation");
        let whole = Whole {
            residual: alloc(count * row_bytes)?,
            cache: part.gpu.alloc(layer_bytes(&self.plan, self.kv, count), "activation")?,
            descriptions: alloc(count * size_of::<Row>())?,
            counts: alloc(2 * size_of::<u64>())?,
            tokens: count,
            row_bytes,
        };
        let Whole { residual, cache, descriptions, counts, .. } = &whole;
        let held: u64 = [residual, cache, descriptions, counts].iter().map(|buffer| buffer.bytes).sum();
        part.beside = part.beside.max(held);
        let describe = |(position, token): (usize, &u32)| Row {
            blocks: cache.ptr().0,
            layer_bytes: 0,
            stride: count as u32,
            position: position as u32,
            token: *token,
            is_long: u16::from(long),
            shift: ONE_BLOCK,
            ..Row::default()
        };
        let described: Vec<Row> = tokens.iter().enumerate().map(describe).collect();
        part.model.stream.upload(descriptions.ptr(), bytemuck::cast_slice(&described))?;
        part.model.stream.synchronize()?;
        Ok(whole)
    }

    /// One pass over a whole sequence: what each layer put out is counted into `counts`, then the logits are shown.
    fn whole(
        &mut self,
        tokens: &[u32],
        mut counts: Option<&mut [(u64, u64)]>,
        logits: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), EngineError> {
        self.plan.check_whole(tokens)?;
        self.logits_of.clear();
        let hidden = self.plan.config.hidden_size;
        let mut rooms: Vec<Option<Whole>> = self.parts.iter().map(|_| None).collect();
        // The residual stream, where it goes over the host.
        let mut x: Vec<f32> = Vec::new();
        let mut at = None;
        for (place, stretch) in self.route.stretches.clone() {
            if let Some(Place::Gpu(part)) = at {
                x.resize(tokens.len() * hidden, 0.0);
                self.fetch(part, &rooms, &mut x)?;
            }
            match place {
                Place::Gpu(part) => {
                    if rooms[part].is_none() {
                        rooms[part] = Some(self.room(part, tokens)?);
                    }
                    let Some(room) = &rooms[part] else { continue };
                    let part = &mut self.parts[part];
                    part.enter()?;
                    if at.is_some() {
                        part.model.stream.upload(room.residual.ptr(), bytemuck::cast_slice(&x))?;
                        part.model.stream.synchronize()?;
                    }
                    pass(part, room, &stretch, counts.as_deref_mut())?;
                }
                Place::Host => self.pass_on_host(tokens, &stretch, counts.as_deref_mut(), &mut x)?,
            }
            at = Some(place);
        }
        if self.wide.is_some() && self.is_broken(at, &rooms, &x)? && self.widen()? {
            drop(rooms);
            counts.iter_mut().for_each(|counts| counts.fill((0, 0)));
            return self.whole(tokens, counts, logits);
        }
        match (self.route.tail(), at) {
            (Some(part), _) => {
                let Some(room) = &rooms[part] else { return Ok(()) };
                let part = &mut self.parts[part];
                part.enter()?;
                shown(part, room, logits)
            }
            (None, at) => {
                if let Some(Place::Gpu(part)) = at {
                    x.resize(tokens.len() * hidden, 0.0);
                    self.fetch(part, &rooms, &mut x)?;
                }
                self.shown_from_host(&x, logits)
            }
        }
    }

    /// Whether the residual stream of a whole sequence holds NaN or infinite values behind the last layer.
    fn is_broken(&self, at: Option<Place>, rooms: &[Option<Whole>], x: &[f32]) -> Result<bool, EngineError> {
        let found = match at {
            Some(Place::Gpu(part)) => match &rooms[part] {
                Some(room) => counted(&self.parts[part], room)?,
                None => (0, 0),
            },
            _ => {
                let mut found = (0, 0);
                count_non_finite(x, &mut found);
                found
            }
        };
        Ok(found != (0, 0))
    }

    /// The residual stream of a whole sequence from a device to the host.
    fn fetch(&self, part: usize, rooms: &[Option<Whole>], x: &mut [f32]) -> Result<(), EngineError> {
        let Some(room) = &rooms[part] else { return Ok(()) };
        self.parts[part].enter()?;
        self.parts[part].model.stream.download(bytemuck::cast_slice_mut(x), room.residual.ptr())
    }

    fn pass_on_host(
        &mut self,
        tokens: &[u32],
        stretch: &Stretch,
        mut counts: Option<&mut [(u64, u64)]>,
        x: &mut Vec<f32>,
    ) -> Result<(), EngineError> {
        let long = self.rope.is_long(tokens.len());
        let host = self.host.as_mut();
        let host = host.ok_or_else(|| EngineError::Backend("nothing computes on the host".to_owned()))?;
        if stretch.embeds {
            x.resize(tokens.len() * self.plan.config.hidden_size, 0.0);
            host.embed(tokens, x)?;
        }
        for index in stretch.layers.clone() {
            host.whole(index, long, x)?;
            if let Some(counts) = counts.as_deref_mut() {
                count_non_finite(x, &mut counts[index]);
            }
        }
        Ok(())
    }

    fn shown_from_host(
        &mut self,
        x: &[f32],
        logits: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), EngineError> {
        let (hidden, vocab) = (self.plan.config.hidden_size, self.plan.config.vocab_size);
        let most = self.parts[0].model.space.logit_rows();
        for (block, x) in x.chunks(most * hidden).enumerate() {
            self.logits_of_rows(x.to_vec())?;
            let rows = self.host_logits.chunks_exact(vocab).take(x.len() / hidden);
            rows.enumerate().for_each(|(row, values)| logits(block * most + row, values));
        }
        Ok(())
    }
}

/// A stretch of a whole sequence on a device.
fn pass(
    part: &mut Part,
    room: &Whole,
    stretch: &Stretch,
    mut counts: Option<&mut [(u64, u64)]>,
) -> Result<(), EngineError> {
    let chunk = part.model.space.rows();
    // Each row of a grid is a token, and a grid has 65,535 of them.
    let firsts = || (0..room.tokens).step_by(chunk);
    if stretch.embeds {
        for first in firsts() {
            let (x, rows) = room.rows(first, chunk);
            part.model.embed(rows, x)?;
        }
    }
    for index in stretch.layers.clone() {
        for first in firsts() {
            let (x, rows) = room.rows(first, chunk);
            part.model.layer(index, x, rows, &[Segment { first: 0, rows: rows.count }])?;
        }
        if let Some(counts) = counts.as_deref_mut() {
            counts[index] = counted(part, room)?;
        }
    }
    Ok(())
}

/// NaN and infinite values of the residual stream of a whole sequence on a device.
fn counted(part: &Part, room: &Whole) -> Result<(u64, u64), EngineError> {
    part.enter()?;
    let (stream, found) = (&part.model.stream, room.counts.ptr());
    stream.zero(found, 2 * size_of::<u64>())?;
    let values = room.tokens * part.model.hidden;
    part.model.kernels.count_non_finite(stream, room.residual.ptr(), values, found)?;
    let mut words = [0u64; 2];
    stream.download(bytemuck::cast_slice_mut(&mut words), found)?;
    Ok(words.into())
}

/// The logits of a whole sequence on the device that has everything behind the last layer.
fn shown(part: &mut Part, room: &Whole, logits: &mut dyn FnMut(usize, &[f32])) -> Result<(), EngineError> {
    let (most, vocab) = (part.model.space.logit_rows(), part.model.vocab);
    let mut host = vec![0f32; most.min(room.tokens) * vocab];
    for first in (0..room.tokens).step_by(most) {
        let (x, rows) = room.rows(first, most);
        part.model.logits(x, rows)?;
        let values = &mut host[..rows.count * vocab];
        part.model.stream.download(bytemuck::cast_slice_mut(values), part.model.space.logits.ptr())?;
        for (row, values) in values.chunks_exact(vocab).enumerate() {
            logits(first + row, values);
        }
    }
    part.model.stream.synchronize()
}
