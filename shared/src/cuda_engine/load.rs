//! Weights from a checkpoint to the device: several threads read pieces into pinned memory, from where they are copied
//! while the next are read. What is stored in another format than it is held in is converted on the device.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::driver::{Buffer, Event, Gpu, Pinned, Ptr, Stream};
use super::held::Peaks;
use super::kernels::{Format, Kernels, Matrix};
use super::weights::Weights;
use crate::engine::{EngineError, LoadProgress, LoadStage};
use crate::estimate::cuda_workspace;
use crate::weights::{Checkpoint, ConcurrentRead, WeightSource, WeightsError};

const PIECE_BYTES: usize = cuda_workspace::LOAD_PIECE_BYTES as usize;
const SLOTS: usize = cuda_workspace::LOAD_SLOTS as usize;
const MOST_THREADS: usize = cuda_workspace::LOAD_THREADS as usize;
/// Time between two looks at how far the threads are.
const LOOK: Duration = Duration::from_millis(2);

/// A part of a tensor in whole rows.
struct Piece<'a> {
    name: &'a str,
    file: usize,
    /// First byte in the file, and within the tensor.
    offset: u64,
    within: u64,
    bytes: usize,
    stored: Format,
    to: &'a Matrix,
    /// First value of the tensor, and how many.
    first: usize,
    count: usize,
    /// The words of its tensor's magnitudes, where values of bf16 are held in f16.
    peaks: Option<Ptr>,
}

impl Piece<'_> {
    /// Whether it is held as it is stored.
    fn is_plain(&self) -> bool {
        self.stored == self.to.format && self.peaks.is_none()
    }

    /// Whether it is converted where it is held.
    fn is_in_place(&self) -> bool {
        self.stored == Format::Bf16 && self.peaks.is_some()
    }

    fn is_staged(&self) -> bool {
        !self.is_plain() && !self.is_in_place()
    }
}

/// Where pieces pass through on their way to the device; one for each thread.
struct Feeder {
    stream: Stream,
    slots: Vec<Slot>,
    next: usize,
}

struct Slot {
    host: Pinned,
    /// Only where pieces are converted.
    device: Option<Buffer>,
    done: Event,
}

impl Feeder {
    fn new(gpu: &Arc<Gpu>, piece_bytes: usize, converts: bool) -> Result<Self, EngineError> {
        let slot = |_| {
            let device = converts.then(|| gpu.alloc(piece_bytes as u64, "weights")).transpose()?;
            Ok(Slot { host: Pinned::new(piece_bytes)?, device, done: Event::new()? })
        };
        Ok(Self {
            stream: Stream::new()?,
            slots: (0..SLOTS).map(slot).collect::<Result<_, EngineError>>()?,
            next: 0,
        })
    }

    /// The host memory of the next piece, free to be written.
    fn buffer(&mut self, bytes: usize) -> Result<&mut [u8], EngineError> {
        let slot = &mut self.slots[self.next];
        slot.done.synchronize()?;
        Ok(&mut slot.host.bytes_mut()[..bytes])
    }

    /// Sends what was written there on its way.
    fn send(&mut self, kernels: &Kernels, piece: &Piece<'_>) -> Result<(), EngineError> {
        let slot = &mut self.slots[self.next];
        let bytes = &slot.host.bytes_mut()[..piece.bytes];
        let held = piece.to.values.at(piece.stored.bytes(piece.first));
        let from = match &slot.device {
            Some(device) if piece.is_staged() => device.ptr(),
            _ => held,
        };
        self.stream.upload(from, bytes)?;
        if let Some(peaks) = piece.peaks {
            let rows = [piece.first, piece.count].map(|values| values / piece.to.columns as usize);
            kernels.convert_in_f16(&self.stream, (from, piece.stored), piece.to, rows, peaks)?;
        } else if !piece.is_plain() {
            kernels.convert(&self.stream, (from, piece.stored), piece.to, piece.first, piece.count)?;
        }
        self.stream.record(&slot.done)?;
        self.next = (self.next + 1) % SLOTS;
        Ok(())
    }
}

/// Fills the arena. On return all of it is on the device; whether it fits how it is held. Of the model's `total_bytes`,
/// `before` are loaded already.
pub(super) async fn fill<S: WeightSource>(
    gpu: &Arc<Gpu>,
    kernels: &Kernels,
    weights: &Weights,
    checkpoint: &Checkpoint<S>,
    [before, total_bytes]: [u64; 2],
    progress: &mut dyn FnMut(LoadProgress) -> ControlFlow<()>,
) -> Result<bool, EngineError> {
    gpu.make_current()?;
    let peaks = weights.in_f16.then(|| Peaks::new(gpu, weights.tensors.len())).transpose()?;
    let peaks_of = |tensor: usize, to: &Matrix| {
        peaks.as_ref().filter(|_| to.format == Format::F16).map(|peaks| peaks.of(tensor))
    };
    let mut pieces = Vec::new();
    // Formats that the device does not convert are widened on the host.
    let mut widened = Vec::new();
    let mut ends = Vec::new();
    for (tensor, (spec, to)) in weights.tensors.iter().enumerate() {
        let (rows, columns) = (to.rows as usize, to.columns as usize);
        let held = (to.format.bytes(rows * columns) + to.format.scale_bytes(rows, columns)) as u64;
        ends.push(ends.last().copied().unwrap_or(0) + held);
        let stored = checkpoint.tensors().get(&spec.name);
        let plain = stored.and_then(|stored| {
            let format = Format::of(stored.dtype).filter(|format| format.block() == 1)?;
            Some((stored, format))
        });
        let Some((stored, format)) = plain else {
            widened.push((spec.name.as_str(), to, peaks_of(tensor, to)));
            continue;
        };
        let row_bytes = format.bytes(columns);
        let step = (PIECE_BYTES / row_bytes).max(1);
        for row in (0..rows).step_by(step) {
            let count = step.min(rows - row) * columns;
            let within = (row * row_bytes) as u64;
            pieces.push(Piece {
                name: &spec.name,
                file: stored.file,
                offset: stored.offset + within,
                within,
                bytes: format.bytes(count),
                stored: format,
                to,
                first: row * columns,
                count,
                peaks: peaks_of(tensor, to),
            });
        }
    }
    let here_bytes = weights.bytes;
    let mut told = 0;
    let mut tell = |stored_done: u64, stored_total: u64| {
        // Stored bytes to held ones; every tensor is told once at least.
        let done =
            (u128::from(stored_done) * u128::from(here_bytes) / u128::from(stored_total.max(1))) as u64;
        while told < ends.len() && ends[told] <= done {
            let done_bytes = before + ends[told];
            let report = LoadProgress { stage: LoadStage::Weights, done_bytes, total_bytes };
            told += 1;
            if progress(report).is_break() {
                return Err(EngineError::Cancelled);
            }
        }
        let report = LoadProgress { stage: LoadStage::Weights, done_bytes: done, total_bytes };
        if progress(report).is_break() { Err(EngineError::Cancelled) } else { Ok(()) }
    };
    let wide: u64 = widened.iter().map(|(_, to, _)| 4 * to.rows as u64 * to.columns as u64).sum();
    let stored_total = pieces.iter().map(|piece| piece.bytes as u64).sum::<u64>() + wide;
    let files: Option<Vec<_>> =
        (0..checkpoint.file_names().count()).map(|file| checkpoint.concurrent(file)).collect();
    let mut done = 0;
    match files {
        Some(files) => {
            done += in_parallel(gpu, kernels, &files, &pieces, &mut |done| tell(done, stored_total))?
        }
        None => {
            let mut feeder = feeder(gpu, &pieces)?;
            for piece in &pieces {
                let buffer = feeder.buffer(piece.bytes)?;
                checkpoint.read_part(piece.name, piece.within, buffer).await?;
                feeder.send(kernels, piece)?;
                done += piece.bytes as u64;
                tell(done, stored_total)?;
            }
            feeder.stream.synchronize()?;
        }
    }
    for (name, to, peaks) in widened {
        done += from_f32(gpu, kernels, &checkpoint.read_as_f32(name).await?, name, to, peaks)?;
        tell(done, stored_total)?;
    }
    gpu.synchronize()?;
    peaks.map_or(Ok(true), |peaks| peaks.fit(&weights.tensors))
}

fn feeder(gpu: &Arc<Gpu>, pieces: &[Piece<'_>]) -> Result<Feeder, EngineError> {
    let bytes = pieces.iter().map(|piece| piece.bytes).max().unwrap_or(1);
    Feeder::new(gpu, bytes, pieces.iter().any(Piece::is_staged))
}

/// All threads take pieces in turn; returns the bytes read.
fn in_parallel(
    gpu: &Arc<Gpu>,
    kernels: &Kernels,
    files: &[(&str, &dyn ConcurrentRead)],
    pieces: &[Piece<'_>],
    tell: &mut dyn FnMut(u64) -> Result<(), EngineError>,
) -> Result<u64, EngineError> {
    let threads = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(MOST_THREADS)
        .min(pieces.len().max(1));
    let (next, done, running) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicUsize::new(threads));
    let stop = AtomicBool::new(false);
    let failure: Mutex<Option<EngineError>> = Mutex::new(None);
    let work = || -> Result<(), EngineError> {
        gpu.make_current()?;
        let mut feeder = feeder(gpu, pieces)?;
        while !stop.load(Ordering::Relaxed) {
            let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
            let (name, file) = files[piece.file];
            let buffer = feeder.buffer(piece.bytes)?;
            file.read_at(piece.offset, buffer).map_err(|error| WeightsError::new(name, error))?;
            feeder.send(kernels, piece)?;
            done.fetch_add(piece.bytes as u64, Ordering::Relaxed);
        }
        feeder.stream.synchronize()
    };
    let told = std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                if let Err(error) = work() {
                    stop.store(true, Ordering::Relaxed);
                    failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(error);
                }
                running.fetch_sub(1, Ordering::Release);
            });
        }
        let mut told = Ok(());
        while running.load(Ordering::Acquire) > 0 {
            std::thread::sleep(LOOK);
            if told.is_ok() {
                told = tell(done.load(Ordering::Relaxed));
                stop.fetch_or(told.is_err(), Ordering::Relaxed);
            }
        }
        told
    });
    told?;
    if let Some(error) = failure.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        return Err(error);
    }
    tell(done.load(Ordering::Relaxed))?;
    Ok(done.into_inner())
}

/// A tensor that the host has widened to f32.
fn from_f32(
    gpu: &Arc<Gpu>,
    kernels: &Kernels,
    values: &[f32],
    name: &str,
    to: &Matrix,
    peaks: Option<Ptr>,
) -> Result<u64, EngineError> {
    let columns = to.columns as usize;
    let step = (PIECE_BYTES / (4 * columns)).max(1) * columns;
    let piece = |first: usize, count: usize| Piece {
        name,
        file: 0,
        offset: 0,
        within: 0,
        bytes: 4 * count,
        stored: Format::F32,
        to,
        first,
        count,
        peaks,
    };
    let mut feeder = Feeder::new(gpu, 4 * step.min(values.len()), piece(0, 0).is_staged())?;
    for (index, part) in values.chunks(step).enumerate() {
        let bytes = bytemuck::cast_slice(part);
        feeder.buffer(bytes.len())?.copy_from_slice(bytes);
        feeder.send(kernels, &piece(index * step, part.len()))?;
    }
    feeder.stream.synchronize()?;
    Ok(4 * values.len() as u64)
}
