//! Passes through a model: steps of batches, prompts in chunks, and the ids that come of them.

use super::Cuda;
use super::appended::Appended;
use super::driver::Ptr;
use super::kernels::{Format, Row, Rows};
use super::model::Segment;
use crate::engine::route::Place;
use crate::engine::{
    Engine as _, EngineError, HostPart, HostRows, Prompt, Sampled, Sampling, SequenceId, check_room,
};

/// Steps whose ids the host has room for; two are on their way at most.
pub(super) const RING: usize = 4;
/// Rows of a chunk from which on the last layer is worth skipping for all but the last of each sequence.
const SKIP_ROWS: usize = 64;
/// Rows of a chunk that passes over the host: as many as go through its layers at once.
const HOST_ROWS: usize = crate::estimate::cpu_workspace::CHUNK as usize;
/// What the device writes where a row's logits hold NaN.
const NO_ID: u32 = u32::MAX;

/// A step whose ids are on their way.
pub(super) struct Step {
    pub(super) ids: Vec<SequenceId>,
    slot: usize,
}

impl<H: HostPart> Cuda<H> {
    fn ring(&self) -> [usize; 2] {
        [RING, self.plan.batch]
    }

    fn row_bytes(&self) -> usize {
        self.plan.config.hidden_size * size_of::<f32>()
    }

    /// Queues the next step of a batch and reads what an earlier one sampled.
    pub(super) fn step(&mut self, ids: &[SequenceId]) -> Result<(), EngineError> {
        let lens: Vec<_> = ids.iter().filter_map(|id| Some((*id, self.sequences.get(id)?.len + 1))).collect();
        self.grow(lens.into_iter())?;
        let runs_ahead = self.route.is_alone()
            && ids
                .iter()
                .all(|id| self.sequences.get(id).is_some_and(|sequence| sequence.host_sampler.is_none()));
        if self.resident != ids || !runs_ahead {
            if self.settle(0)? {
                return self.step_anew(ids);
            }
            self.place(ids, 0)?;
        }
        let tail = (self.ids.ptr(), self.ring());
        let chooses = self.route.tail();
        let mut at = None;
        for index in 0..self.route.stretches.len() {
            let (place, stretch) = self.route.stretches[index].clone();
            self.go(&mut at, place, ids.len())?;
            match place {
                Place::Gpu(part) => {
                    let is_last = index + 1 == self.route.stretches.len();
                    let tail = Some(tail).filter(|_| is_last && chooses.is_some());
                    self.parts[part].enter()?;
                    self.parts[part].run(index, &stretch, ids.len(), tail)?;
                }
                Place::Host => {
                    let known = |id: &SequenceId| {
                        let sequence = self.sequences.get(id);
                        sequence.and_then(|s| Some((*s.known.get(s.len)?, s.len, s.long)))
                    };
                    let known: Option<Vec<_>> = ids.iter().map(known).collect();
                    let known = known.ok_or_else(|| EngineError::Backend("an id is not known".to_owned()))?;
                    let rows: Vec<HostRows> = (ids.iter().zip(&known))
                        .map(|(id, (_, start, long))| HostRows {
                            sequence: *id,
                            start: *start,
                            rows: 1,
                            long: *long,
                        })
                        .collect();
                    let tokens: Vec<u32> = known.iter().map(|(token, ..)| *token).collect();
                    self.on_host(stretch.embeds.then_some(&tokens[..]), stretch.layers, &rows)?;
                }
            }
        }
        for id in ids {
            if let Some(sequence) = self.sequences.get_mut(id) {
                sequence.len += 1;
                sequence.cached = sequence.len;
            }
        }
        if chooses.is_some() {
            self.sampling(ids)?;
            return self.settle(usize::from(runs_ahead)).map(|_widened| ());
        }
        self.go(&mut at, Place::Host, ids.len())?;
        let last = self.rows[..ids.len() * self.plan.config.hidden_size].to_vec();
        let result = self.logits_of_rows(last).and_then(|()| self.choose_on_host(ids));
        if result.is_err() {
            self.step_back(ids);
        }
        match result {
            Err(EngineError::NanLogits) if self.widen()? => self.step_anew(ids),
            result => result,
        }
    }

    /// The next step of a batch of which nothing stands in the caches any more.
    fn step_anew(&mut self, ids: &[SequenceId]) -> Result<(), EngineError> {
        let pending = self.pending(ids)?;
        self.extend(&pending, pending.len())
    }

    /// After a step that chose nothing: its tokens are not part of the sequences.
    fn step_back(&mut self, ids: &[SequenceId]) {
        for id in ids {
            if let Some(sequence) = self.sequences.get_mut(id) {
                sequence.len -= 1;
                sequence.cached = sequence.len;
            }
        }
    }

    /// Brings `rows` rows of the residual stream to where they are needed next; `at` is where they are, if anywhere.
    fn go(&mut self, at: &mut Option<Place>, to: Place, rows: usize) -> Result<(), EngineError> {
        let bytes = rows * self.row_bytes();
        let values = rows * self.plan.config.hidden_size;
        match (*at, to) {
            (Some(Place::Gpu(from)), Place::Gpu(to)) if from != to => {
                self.parts[to].take_from(&self.parts[from], bytes)?;
            }
            (Some(Place::Gpu(from)), Place::Host) => {
                self.rows.resize(values.max(self.rows.len()), 0.0);
                let part = &self.parts[from];
                part.enter()?;
                let rows = bytemuck::cast_slice_mut(&mut self.rows[..values]);
                part.model.stream.download(rows, part.model.space.residual.ptr())?;
            }
            (Some(Place::Host), Place::Gpu(to)) => {
                let part = &self.parts[to];
                part.enter()?;
                let rows = bytemuck::cast_slice(&self.rows[..values]);
                part.model.stream.upload(part.model.space.residual.ptr(), rows)?;
                // The copy reads rows that are about to be written anew.
                part.model.stream.synchronize()?;
            }
            _ => {}
        }
        *at = Some(to);
        Ok(())
    }

    /// A stretch on the host, over its rows of the residual stream; from ids where it embeds.
    fn on_host(
        &mut self,
        tokens: Option<&[u32]>,
        layers: std::ops::Range<usize>,
        rows: &[HostRows],
    ) -> Result<(), EngineError> {
        let count: usize = rows.iter().map(|part| part.rows).sum();
        let values = count * self.plan.config.hidden_size;
        self.rows.resize(values.max(self.rows.len()), 0.0);
        let host = self.host.as_mut().ok_or_else(no_host)?;
        let residual = &mut self.rows[..values];
        if let Some(tokens) = tokens {
            host.embed(tokens, residual)?;
        }
        if layers.is_empty() { Ok(()) } else { host.layers(layers, rows, residual) }
    }

    /// Writes the rows of a batch: `ahead` 0 where each sequence's sampled id is to be computed on next, 1 where its
    /// last id has been computed on and the next is about to be sampled.
    fn place(&mut self, ids: &[SequenceId], ahead: usize) -> Result<(), EngineError> {
        for (index, part) in self.parts.iter().enumerate() {
            if part.model.space.sizes.descriptions == 0 {
                continue;
            }
            let sequences = ids.iter().filter_map(|id| self.sequences.get(id));
            let lists = part.model.space.lists.ptr();
            let rows: Vec<Row> = sequences.map(|s| s.row(s.len - ahead, index, lists)).collect();
            part.enter()?;
            part.model.stream.upload(part.batch_rows(ids.len()).ptr, bytemuck::cast_slice(&rows))?;
        }
        self.resident = ids.to_vec();
        self.tick = 0;
        Ok(())
    }

    /// Notes that ids of these sequences are on their way to the host.
    fn sampling(&mut self, ids: &[SequenceId]) -> Result<(), EngineError> {
        let slot = self.tick % RING;
        self.tick += 1;
        let chooses = &self.parts[self.route.tail().unwrap_or(0)];
        chooses.enter()?;
        chooses.model.stream.record(&self.sampled[slot])?;
        self.logits_of = ids.to_vec();
        self.steps.push_back(Step { ids: ids.to_vec(), slot });
        Ok(())
    }

    /// Reads ids until no more than `left` steps are on their way.
    pub(super) fn collect(&mut self, left: usize) -> Result<(), EngineError> {
        while self.steps.len() > left {
            let Some(Step { ids, slot }) = self.steps.pop_front() else { break };
            self.sampled[slot].synchronize()?;
            let best: Vec<u32> =
                (0..ids.len()).map(|row| self.ids.word(slot * self.plan.batch + row)).collect();
            if best.contains(&NO_ID) {
                self.resident.clear();
                // It can be done again in a wider format.
                if self.wide.is_some() {
                    self.steps.push_front(Step { ids, slot });
                }
                return Err(EngineError::NanLogits);
            }
            let chosen = self.choose(&ids, best)?;
            self.note(&ids, chosen);
        }
        Ok(())
    }

    /// Notes the ids that were chosen.
    fn note(&mut self, ids: &[SequenceId], chosen: Vec<u32>) {
        for (id, token) in ids.iter().zip(chosen) {
            if let Some(sequence) = self.sequences.get_mut(id) {
                sequence.known.push(token);
                sequence.is_sampled = true;
                self.readable.push(Sampled { sequence: *id, id: token });
            }
        }
    }

    /// The ids of a step: those that the device chose, and where the host chooses, what it takes from the logits.
    fn choose(&mut self, ids: &[SequenceId], mut chosen: Vec<u32>) -> Result<Vec<u32>, EngineError> {
        for (row, id) in ids.iter().enumerate() {
            if self.sequences.get(id).is_none_or(|sequence| sequence.host_sampler.is_none()) {
                continue;
            }
            let logits = self.logits_row(row)?;
            let sampler = self.sequences.get_mut(id).and_then(|sequence| sequence.host_sampler.as_mut());
            if let Some(sampler) = sampler {
                chosen[row] = sampler.next(&logits).ok_or(EngineError::NanLogits)?;
            }
            // The device believes in its own.
            self.resident.clear();
        }
        Ok(chosen)
    }

    /// The ids of a step whose logits are on the host.
    fn choose_on_host(&mut self, ids: &[SequenceId]) -> Result<(), EngineError> {
        let vocab = self.plan.config.vocab_size;
        self.resident.clear();
        // All of them first: a sampler must not have drawn when the step fails.
        if self.host_logits[..ids.len() * vocab].iter().any(|logit| logit.is_nan()) {
            return Err(EngineError::NanLogits);
        }
        self.logits_of = ids.to_vec();
        let chosen = self.choose(ids, vec![0; ids.len()])?;
        self.note(ids, chosen);
        Ok(())
    }

    /// A row of the logits that were computed last.
    pub(super) fn logits_row(&self, row: usize) -> Result<Vec<f32>, EngineError> {
        let vocab = self.plan.config.vocab_size;
        match self.route.tail() {
            Some(part) => {
                self.parts[part].enter()?;
                self.parts[part].model.logits_row(row)
            }
            None => Ok(self.host_logits[row * vocab..(row + 1) * vocab].to_vec()),
        }
    }

    /// Appends ids to sequences, and samples the next of the first `samples` of them; on an error all of them stay as
    /// they were.
    pub(super) fn extend(&mut self, appended: &[Appended], samples: usize) -> Result<(), EngineError> {
        match self.try_extend(appended, samples) {
            Err(EngineError::NanLogits) if self.widen()? => self.try_extend(appended, samples),
            result => result,
        }
    }

    /// [`Cuda::extend`] in the formats that weights and cache are held in.
    pub(super) fn try_extend(&mut self, appended: &[Appended], samples: usize) -> Result<(), EngineError> {
        check_room(appended.iter().map(|one| (one.sequence, one.tokens.len())), |id| {
            self.sequences.get(&id).map(|sequence| (sequence.len, sequence.capacity))
        })?;
        let len = |one: &Appended| {
            let sequence = self.sequences.get(&one.sequence)?;
            Some((one.sequence, sequence.len + one.tokens.len()))
        };
        let lens: Vec<_> = appended.iter().filter_map(len).collect();
        self.grow(lens.into_iter())?;
        let read = self.readable.len();
        let mut before = Vec::with_capacity(appended.len());
        for Appended { sequence: id, tokens, is_prompt } in appended {
            if let Some(sequence) = self.sequences.get_mut(id) {
                let (sampled, host_sampler) =
                    (sequence.known.split_off(sequence.len), sequence.host_sampler.clone());
                before.push((*id, sequence.len, sampled, host_sampler));
                sequence.known.extend_from_slice(tokens);
                sequence.len = sequence.known.len();
                if let Some(sampler) = sequence.host_sampler.as_mut().filter(|_| *is_prompt) {
                    sampler.prompt(tokens);
                }
            }
        }
        let ids: Vec<_> = appended.iter().map(|one| one.sequence).collect();
        let most = self.parts[0].model.space.logit_rows();
        let result = ids.chunks(most).enumerate().try_for_each(|(index, ids)| {
            self.advance(ids, samples.saturating_sub(index * most).min(ids.len()))
        });
        if result.is_err() {
            self.resident.clear();
            // Those of this pass alone: others ended before it.
            self.steps.clear();
            self.readable.truncate(read);
            for (id, len, sampled, host_sampler) in before {
                if let Some(sequence) = self.sequences.get_mut(&id) {
                    sequence.truncate(len);
                    sequence.known.extend(sampled);
                    sequence.host_sampler = host_sampler;
                }
            }
        }
        result
    }

    /// Rows that go through the model at once.
    fn chunk_rows(&self) -> usize {
        let rows = self.parts[0].model.space.rows();
        if self.route.uses_host() { rows.min(HOST_ROWS) } else { rows }
    }

    /// Computes what sequences lack and samples the next id of the first `samples`.
    fn advance(&mut self, ids: &[SequenceId], samples: usize) -> Result<(), EngineError> {
        let hidden = self.plan.config.hidden_size;
        let mut work = Vec::with_capacity(ids.len());
        for (index, id) in ids.iter().enumerate() {
            if let Some(sequence) = self.sequences.get_mut(id) {
                let long = self.rope.is_long(sequence.len);
                work.push((index, *id, sequence.uncached(long)));
            }
        }
        let chooses = self.route.tail();
        // The last row of each sequence, where no device has both the last layer and what comes after.
        let mut last = vec![0f32; if chooses.is_none() { samples * hidden } else { 0 }];
        while !work.is_empty() {
            // As many rows as fit a chunk, of as many sequences as that takes.
            let (mut parts, mut ends, mut count) = (Vec::new(), Vec::new(), 0);
            for (index, id, positions) in &mut work {
                let take = positions.len().min(self.chunk_rows() - count);
                let Some(sequence) = self.sequences.get_mut(id).filter(|_| take > 0) else { continue };
                let (start, long) = (positions.start, sequence.long);
                parts.push(HostRows { sequence: *id, start, rows: take, long });
                count += take;
                positions.start += take;
                sequence.cached = positions.start;
                if positions.start == positions.end && *index < samples {
                    ends.push((*index, count - 1));
                }
            }
            work.retain(|(_, _, positions)| positions.start < positions.end);
            self.chunk(&parts, &ends, &mut last)?;
        }
        let ids = &ids[..samples];
        if ids.is_empty() {
            return Ok(());
        }
        let Some(part) = chooses else {
            return self.logits_of_rows(last).and_then(|()| self.choose_on_host(ids));
        };
        self.place(ids, 1)?;
        let (to, ring) = (self.ids.ptr(), self.ring());
        let part = &mut self.parts[part];
        part.enter()?;
        let rows = part.batch_rows(ids.len());
        part.model.logits(part.model.space.last.ptr(), rows)?;
        part.model.choose(rows, to, ring)?;
        self.sampling(ids)?;
        self.collect(0)
    }

    /// Rows of sequences through all layers. `ends` are the last rows of sequences: they are kept with the head, or
    /// where that is on another device than the last layer, in `last`.
    fn chunk(
        &mut self,
        parts: &[HostRows],
        ends: &[(usize, usize)],
        last: &mut [f32],
    ) -> Result<(), EngineError> {
        let (hidden, row_bytes) = (self.plan.config.hidden_size, self.row_bytes());
        let count: usize = parts.iter().map(|part| part.rows).sum();
        let mut segments = Vec::with_capacity(parts.len());
        let mut first = 0;
        for part in parts {
            segments.push(Segment { first, rows: part.rows });
            first += part.rows;
        }
        let mut described = Vec::new();
        // Of the last layer only keys and values of most rows are ever read.
        let last_layer = self.plan.config.num_hidden_layers - 1;
        let skips = count > SKIP_ROWS && self.route.end() != Place::Host;
        let ends = runs(ends);
        let mut at = None;
        for (place, stretch) in self.route.stretches.clone() {
            self.go(&mut at, place, count)?;
            let Place::Gpu(part) = place else {
                let tokens = stretch.embeds.then(|| self.tokens(parts));
                self.on_host(tokens.as_deref(), stretch.layers, parts)?;
                continue;
            };
            // Not before its turn: an upload waits for what the device still has to do, while others could begin.
            if !described.contains(&part) {
                described.push(part);
                self.describe(part, parts)?;
            }
            let part = &mut self.parts[part];
            part.enter()?;
            let place = part.model.space.descriptions.ptr();
            let (rows, residual) = (Rows { ptr: place, count }, part.model.space.residual.ptr());
            if stretch.embeds {
                part.model.embed(rows, residual)?;
            }
            for index in stretch.layers {
                if skips && index == last_layer {
                    part.model.append(index, residual, rows)?;
                    for Run { row, count, .. } in &ends {
                        let described = Rows { ptr: place.at(row * size_of::<Row>()), count: *count };
                        part.model.layer(index, residual.at(row * row_bytes), described, &[])?;
                    }
                } else {
                    part.model.layer(index, residual, rows, &segments)?;
                }
            }
        }
        for Run { index, row, count } in ends {
            let kept = index * hidden..(index + count) * hidden;
            match (self.route.end(), self.route.tail()) {
                (Place::Host, _) => {
                    last[kept].copy_from_slice(&self.rows[row * hidden..(row + count) * hidden]);
                }
                (Place::Gpu(part), tail) => {
                    let model = &self.parts[part].model;
                    let from = model.space.residual.ptr().at(row * row_bytes);
                    if tail.is_some() {
                        let to = model.space.last.ptr().at(index * row_bytes);
                        model.stream.copy(to, from, count * row_bytes)?;
                    } else {
                        model.stream.download(bytemuck::cast_slice_mut(&mut last[kept]), from)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Describes the rows of a chunk to a device.
    fn describe(&self, part: usize, parts: &[HostRows]) -> Result<(), EngineError> {
        let mut rows: Vec<Row> = Vec::new();
        for HostRows { sequence, start, rows: count, .. } in parts {
            let sequence = self.sequences.get(sequence).ok_or(EngineError::UnknownSequence(*sequence))?;
            let lists = self.parts[part].model.space.lists.ptr();
            rows.extend((*start..start + count).map(|position| sequence.row(position, part, lists)));
        }
        let part = &self.parts[part];
        part.enter()?;
        part.model.stream.upload(part.model.space.descriptions.ptr(), bytemuck::cast_slice(&rows))
    }

    /// The ids of rows.
    fn tokens(&self, parts: &[HostRows]) -> Vec<u32> {
        let of = |part: &HostRows| {
            let known = self.sequences.get(&part.sequence).map(|sequence| &sequence.known[..]);
            known.unwrap_or_default()[part.start..part.start + part.rows].to_vec()
        };
        parts.iter().flat_map(of).collect()
    }

    /// The last norm and the head, each where it is, of rows that are on the host: logits on the host.
    pub(super) fn logits_of_rows(&mut self, mut x: Vec<f32>) -> Result<(), EngineError> {
        let (hidden, vocab) = (self.plan.config.hidden_size, self.plan.config.vocab_size);
        let count = x.len() / hidden;
        self.host_logits.resize((count * vocab).max(self.host_logits.len()), 0.0);
        let logits = &mut self.host_logits[..count * vocab];
        if self.route.norm != self.route.head || self.route.norm == Place::Host {
            match self.route.norm {
                Place::Host => self.host.as_mut().ok_or_else(no_host)?.norm(&mut x)?,
                Place::Gpu(part) => {
                    let part = &self.parts[part];
                    part.enter()?;
                    let residual = part.model.space.residual.ptr();
                    part.model.stream.upload(residual, bytemuck::cast_slice(&x))?;
                    part.model.norm_alone(residual, count)?;
                    part.model.stream.download(bytemuck::cast_slice_mut(&mut x), residual)?;
                }
            }
        }
        let part = match self.route.head {
            Place::Host => return self.host.as_mut().ok_or_else(no_host)?.head(&x, logits),
            Place::Gpu(part) => &mut self.parts[part],
        };
        part.enter()?;
        let last = part.model.space.last.ptr();
        let rows = part.batch_rows(count);
        if self.route.norm == self.route.head {
            part.model.stream.upload(last, bytemuck::cast_slice(&x))?;
            part.model.logits(last, rows)?;
        } else {
            upload_activations(part, last, &x)?;
            part.model.head_alone(last, rows)?;
        }
        let from = part.model.space.logits.ptr();
        part.model.stream.download(bytemuck::cast_slice_mut(logits), from)
    }

    /// One prompt and one step on a sequence of its own: what is loaded or chosen at its first use is so now.
    pub(super) async fn warm_up(&mut self) -> Result<(), EngineError> {
        let id = SequenceId(u64::MAX);
        let capacity = self.plan.context.min(18);
        self.open(id, capacity, &Sampling::GREEDY).await?;
        let tokens = vec![0; capacity.saturating_sub(2).max(1)];
        let run = async {
            self.prefill(&[Prompt { sequence: id, tokens: &tokens }]).await?;
            if tokens.len() < capacity {
                self.decode(&[id]).await?;
            }
            self.drain().await
        };
        let result = run.await;
        self.release(id);
        match result {
            // Weights may well be NaN: that is for a validation to say.
            Ok(_) | Err(EngineError::NanLogits) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Rows of a chunk that are the last of sequences, neighbours in both.
struct Run {
    /// The first sequence's place.
    index: usize,
    /// Its row.
    row: usize,
    count: usize,
}

/// Last rows of sequences, each with its sequence's place, as few runs as there are.
fn runs(ends: &[(usize, usize)]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (index, row) in ends.iter().copied() {
        match runs.last_mut() {
            Some(run) if (run.index + run.count, run.row + run.count) == (index, row) => run.count += 1,
            _ => runs.push(Run { index, row, count: 1 }),
        }
    }
    runs
}

/// Values to a device in the format of its activations.
fn upload_activations(part: &super::Part, to: Ptr, values: &[f32]) -> Result<(), EngineError> {
    let stream = &part.model.stream;
    match part.model.activations() {
        Format::F32 => stream.upload(to, bytemuck::cast_slice(values))?,
        Format::F16 => {
            // An infinity could come out as the likeliest id; NaN is told.
            let narrowed = |value: &f32| match half::f16::from_f32(*value) {
                value if value.is_finite() => value,
                _ => half::f16::NAN,
            };
            let narrow: Vec<half::f16> = values.iter().map(narrowed).collect();
            stream.upload(to, bytemuck::cast_slice(&narrow))?;
        }
        _ => {
            let narrow: Vec<half::bf16> = values.iter().map(|value| half::bf16::from_f32(*value)).collect();
            stream.upload(to, bytemuck::cast_slice(&narrow))?;
        }
    }
    // The copy reads what is about to go.
    stream.synchronize()
}

fn no_host() -> EngineError {
    EngineError::Backend("nothing computes on the host".to_owned())
}
