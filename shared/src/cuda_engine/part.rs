//! One GPU of a model: what lies on it, what it computes in, and its work as graphs.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::driver::{Event, Gpu, Graph, Ptr, Stream};
use super::gemm::{Gemm, Handle};
use super::kernels::{Format, Heads, Kernels, Matrix, Row, Rows};
use super::load;
use super::model::Model;
use super::weights::Weights;
use super::workspace::{Roles, Workspace};
use crate::config::ModelConfig;
use crate::engine::route::ordinal;
use crate::engine::{EngineError, LoadPlan, LoadProgress, Memory, Stretch};
use crate::placement::DeviceId;
use crate::rope::Rope;
use crate::weights::{Checkpoint, WeightSource};

/// A device with its share of a model.
pub(super) struct Part {
    // Fields are dropped in order: what uses the context before the context.
    /// By stretch and number of rows.
    graphs: BTreeMap<(usize, usize), Graph>,
    pub(super) model: Model,
    /// Its residual stream stands.
    ready: Event,
    /// Another's residual stream has been copied to it.
    taken: Event,
    /// Positions whose rotary table is here: with the short factors, with the long ones.
    rotary: [usize; 2],
    pub(super) device: DeviceId,
    /// Device memory that was free before the engine came.
    free_before: u64,
    /// Most bytes that diagnostics held beside the workspace.
    pub(super) beside: u64,
    pub(super) gpu: Arc<Gpu>,
}

/// A part whose weights are not there yet.
pub(super) struct Begun {
    handle: JoinHandle<Result<Handle, EngineError>>,
    kernels: Kernels,
    space: Workspace,
    weights: Weights,
    free_before: u64,
    device: DeviceId,
    gpu: Arc<Gpu>,
}

impl Begun {
    /// All memory of a part but for caches.
    pub(super) fn new(
        device: &DeviceId,
        plan: &LoadPlan,
        [format, kv]: [Format; 2],
    ) -> Result<Self, EngineError> {
        let gpu = Gpu::open(ordinal(device)?)?;
        let free_before = gpu.memory().0;
        // The library is large: it is opened while weights arrive.
        let handle = {
            let gpu = Arc::clone(&gpu);
            std::thread::spawn(move || gpu.make_current().and_then(|()| Handle::new()))
        };
        let kernels = Kernels::load(&gpu, format, kv, plan.config.head_dim, plan.kv_blocks.is_some())?;
        // Before the weights: a workspace that does not fit should not cost a load.
        let space = Workspace::new(&gpu, plan, Roles::of(&plan.places(), device))?;
        let weights = Weights::new(&gpu, device, plan, format)?;
        Ok(Self { handle, kernels, space, weights, free_before, device: device.clone(), gpu })
    }

    /// Bytes of its weights.
    pub(super) fn weights_bytes(&self) -> u64 {
        self.weights.bytes
    }

    /// Its device, and how many layers are on it.
    pub(super) fn layers_on(&self) -> (&Arc<Gpu>, usize) {
        (&self.gpu, self.weights.layers())
    }

    /// Reads its weights; of the model's `total_bytes`, `before` are loaded already. Whether they fit how they are held.
    pub(super) async fn fill<S: WeightSource>(
        &self,
        checkpoint: &Checkpoint<S>,
        [before, total_bytes]: [u64; 2],
        progress: &mut dyn FnMut(LoadProgress) -> ControlFlow<()>,
    ) -> Result<bool, EngineError> {
        let Self { gpu, kernels, weights, .. } = self;
        load::fill(gpu, kernels, weights, checkpoint, [before, total_bytes], progress).await
    }

    pub(super) fn finish(self, plan: &LoadPlan, kv: Format, rope: &Rope) -> Result<Part, EngineError> {
        let Self { handle, kernels, space, weights, free_before, device, gpu } = self;
        let handle =
            handle.join().map_err(|_panic| EngineError::Backend("cuBLASLt did not start".to_owned()))??;
        gpu.make_current()?;
        let model = Model {
            stream: Stream::new()?,
            kernels,
            gemm: Gemm::new(handle, &gpu, space.sizes.gemm)?,
            weights,
            heads: heads(&plan.config, plan.context, &space, rope, kv),
            space,
            attention: plan.attention,
            context: plan.context,
            hidden: plan.config.hidden_size,
            intermediate: plan.config.intermediate_size,
            vocab: plan.config.vocab_size,
        };
        let [ready, taken] = [Event::new()?, Event::new()?];
        Ok(Part {
            graphs: BTreeMap::new(),
            model,
            ready,
            taken,
            rotary: [0, 0],
            device,
            free_before,
            beside: 0,
            gpu,
        })
    }
}

impl Part {
    /// Makes its context that of this thread: before anything is queued on it.
    pub(super) fn enter(&self) -> Result<(), EngineError> {
        self.gpu.make_current()
    }

    /// What [`Part::widen`] goes on with.
    pub(super) fn wider(&self, plan: &LoadPlan, kv: Format) -> Result<Kernels, EngineError> {
        self.enter()?;
        Kernels::load(&self.gpu, Format::Bf16, kv, plan.config.head_dim, plan.kv_blocks.is_some())
    }

    /// From bf16 in f16 to bf16, with a cache in `kv`; what stood in caches is lost.
    pub(super) fn widen(&mut self, plan: &LoadPlan, kv: Format, wider: Kernels) -> Result<(), EngineError> {
        self.enter()?;
        let Model { stream, kernels, weights, heads, .. } = &mut self.model;
        for (_, matrix) in weights.tensors.iter().filter(|(_, matrix)| matrix.format == Format::F16) {
            let count = matrix.rows as usize * matrix.columns as usize;
            let to = Matrix { format: Format::Bf16, ..*matrix };
            // Where they stand: both take two bytes.
            kernels.convert(stream, (matrix.values, Format::F16), &to, 0, count)?;
        }
        stream.synchronize()?;
        self.graphs.clear();
        weights.are_bf16(&self.device, plan);
        heads.kv_format = kv;
        *kernels = wider;
        Ok(())
    }

    /// Rows of a batch on the device.
    pub(super) fn batch_rows(&self, count: usize) -> Rows {
        let chunk = self.model.space.rows() * size_of::<Row>();
        Rows { ptr: self.model.space.descriptions.ptr().at(chunk), count }
    }

    /// Queues a stretch, and where `tail` says where ids go, the choice of the next ones.
    pub(super) fn run(
        &mut self,
        index: usize,
        stretch: &Stretch,
        count: usize,
        tail: Option<(Ptr, [usize; 2])>,
    ) -> Result<(), EngineError> {
        let rows = self.batch_rows(count);
        if !self.graphs.contains_key(&(index, count)) {
            let graph = self.model.capture(stretch, rows, tail)?;
            self.graphs.insert((index, count), graph);
        }
        self.model.stream.run(&self.graphs[&(index, count)])
    }

    /// Queues the way of the first bytes of the residual stream from another device to this one. Neither is overwritten
    /// before it is done with.
    pub(super) fn take_from(&self, other: &Self, bytes: usize) -> Result<(), EngineError> {
        let [to, from] = [self, other].map(|part| part.model.space.residual.ptr());
        other.enter()?;
        other.model.stream.record(&other.ready)?;
        self.enter()?;
        self.model.stream.wait(&other.ready)?;
        self.model.stream.copy_between((to, &self.gpu), (from, &other.gpu), bytes)?;
        self.model.stream.record(&self.taken)?;
        other.enter()?;
        other.model.stream.wait(&self.taken)
    }

    /// Sees to it that the rotary tables of a sequence of `tokens` are here, if layers are.
    pub(super) fn write_rotary(&mut self, rope: &Rope, tokens: usize) -> Result<(), EngineError> {
        if self.model.space.sizes.rotary == 0 {
            return Ok(());
        }
        self.enter()?;
        let width = rope.rotary_dim();
        for (long, start) in [(false, self.model.heads.rope_short), (true, self.model.heads.rope_long)] {
            let from = self.rotary[usize::from(long)];
            if from >= tokens || (long && !rope.is_long(tokens)) {
                continue;
            }
            let mut table = vec![0f32; (tokens - from) * width];
            for (row, position) in table.chunks_exact_mut(width).zip(from..tokens) {
                rope.write_row(long, position, row);
            }
            let place = start.at(from * width * size_of::<f32>());
            self.model.stream.upload(place, bytemuck::cast_slice(&table))?;
            // The copy reads `table`, which is about to go.
            self.model.stream.synchronize()?;
            self.rotary[usize::from(long)] = tokens;
        }
        Ok(())
    }

    /// Bytes on the device, of which caches hold `kv_cache_bytes`.
    pub(super) fn memory(&self, kv_cache_bytes: u64) -> Memory {
        let weights_bytes = self.model.weights.bytes;
        let activation_bytes = self.model.space.bytes() + self.model.gemm.bytes() + self.beside;
        let counted = weights_bytes + kv_cache_bytes + activation_bytes;
        // What the process holds beyond that: context, kernels, graphs, gaps. Where nobody says, what the device has
        // less than before the engine came; the context came earlier.
        let taken = self.gpu.held_by_process();
        let taken = taken.unwrap_or_else(|| self.free_before.saturating_sub(self.gpu.memory().0));
        let overhead_bytes =
            taken.saturating_sub(counted - self.beside).max(self.model.weights.padding_bytes());
        Memory {
            weights_bytes,
            kv_cache_bytes,
            activation_bytes,
            overhead_bytes,
            total_bytes: counted + overhead_bytes,
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // For what is about to be freed. A context that failed frees nothing more: the process is about to end.
        let _ = self.enter();
    }
}

fn heads(config: &ModelConfig, context: usize, space: &Workspace, rope: &Rope, kv: Format) -> Heads {
    let table = space.rotary.ptr();
    Heads {
        rope_short: table,
        rope_long: table.at(context * rope.rotary_dim() * size_of::<f32>()),
        query: config.num_attention_heads as i32,
        key_value: config.num_key_value_heads as i32,
        dim: config.head_dim as i32,
        half: (rope.rotary_dim() / 2) as i32,
        window: config.sliding_window.map_or(0, |window| i32::try_from(window).unwrap_or(i32::MAX)),
        kv_format: kv,
    }
}
