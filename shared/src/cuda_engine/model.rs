//! Phi-3 as kernels: a few rows by products that read each weight at the speed of memory, many by cuBLASLt.

use super::driver::{Graph, Ptr, Stream};
use super::gemm::Gemm;
use super::kernels::{Format, Heads, Kernels, Matrix, Norm, Product, Row, Rows, Use};
use super::weights::{Layer, Weights};
use super::workspace::Workspace;
use crate::engine::{Attention, EngineError, Stretch};

/// Rows of one sequence in a step: `first` in the step, and how many.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    pub(super) first: usize,
    pub(super) rows: usize,
}

/// How rows go through the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    /// Each reads every weight.
    Each,
    /// Every weight is read once, by our own kernels.
    Few,
    /// By cuBLASLt.
    Many,
}

/// Fewest rows of a segment that fill a tile of the tensor cores well enough.
const FLASH_ROWS: usize = 16;

/// What a device has of a model, and what it computes in.
pub(super) struct Model {
    pub(super) stream: Stream,
    pub(super) kernels: Kernels,
    pub(super) gemm: Gemm,
    pub(super) weights: Weights,
    pub(super) space: Workspace,
    pub(super) heads: Heads,
    pub(super) attention: Attention,
    pub(super) context: usize,
    pub(super) hidden: usize,
    pub(super) intermediate: usize,
    pub(super) vocab: usize,
}

impl Model {
    /// The format of activations.
    pub(super) fn activations(&self) -> Format {
        self.weights.format.activations()
    }

    /// Widths of the rows that products take.
    fn widths(&self) -> [usize; 3] {
        [self.hidden, self.intermediate, self.heads.query_width()]
    }

    /// How as many rows go through the model.
    fn path(&self, rows: usize) -> Path {
        match self.weights.format {
            _ if rows == 1 => Path::Each,
            _ if self.kernels.takes_few(rows, self.widths()) => Path::Few,
            // Widening a quantised weight for a product costs what reading it several times does.
            Format::Q8_0 | Format::Q4_0 | Format::Fp8 if rows <= 4 => Path::Each,
            _ => Path::Many,
        }
    }

    /// Rows of the residual stream from token ids.
    pub(super) fn embed(&self, rows: Rows, residual: Ptr) -> Result<(), EngineError> {
        self.kernels.embed(&self.stream, &self.weights.embedding()?, rows, residual)
    }

    /// One decoder layer over rows of the residual stream; `segments` covers them.
    pub(super) fn layer(
        &mut self,
        index: usize,
        residual: Ptr,
        rows: Rows,
        segments: &[Segment],
    ) -> Result<(), EngineError> {
        let layer = self.weights.layer(index)?;
        match self.path(rows.count) {
            Path::Many => self.many(&layer, residual, rows, segments),
            path => self.few(&layer, residual, rows, segments, path == Path::Each),
        }
    }

    /// Rows for which the weights are what takes time: each read once (`is_each`: once for each row).
    fn few(
        &self,
        layer: &Layer,
        residual: Ptr,
        rows: Rows,
        segments: &[Segment],
        is_each: bool,
    ) -> Result<(), EngineError> {
        let (projected, mixed) = (self.space.projected.ptr(), self.space.mixed.ptr());
        let product = |purpose, weight, x, norm, out| {
            self.product_of_few(purpose, weight, x, norm, out, rows, layer.cache, is_each)
        };
        product(Use::Qkv, &layer.qkv, residual, Some(layer.input_norm), projected)?;
        self.attend(layer.cache, rows, segments)?;
        product(Use::Add, &layer.o, mixed, None, residual)?;
        product(Use::Gated, &layer.gate_up, residual, Some(layer.post_attention_norm), mixed)?;
        product(Use::Add, &layer.down, mixed, None, residual)
    }

    #[expect(clippy::too_many_arguments, reason = "a product, its rows and which kernel")]
    fn product_of_few(
        &self,
        purpose: Use,
        weight: &Matrix,
        x: Ptr,
        norm: Option<Norm>,
        out: Ptr,
        rows: Rows,
        layer: usize,
        is_each: bool,
    ) -> Result<(), EngineError> {
        let product = Product { purpose, weight, x, norm, out, rows, heads: &self.heads, layer };
        if is_each {
            return self.kernels.gemv(&self.stream, &product);
        }
        let Some(norm) = norm else { return self.kernels.few(&self.stream, &product) };
        // All blocks of a product read its rows: they are normed once, not by each.
        let normed = self.space.on_the_way();
        self.norm(x, norm, normed, rows.count)?;
        self.kernels.few(&self.stream, &Product { x: normed, norm: None, ..product })
    }

    fn many(
        &mut self,
        layer: &Layer,
        residual: Ptr,
        rows: Rows,
        segments: &[Segment],
    ) -> Result<(), EngineError> {
        let (normed, projected, mixed) =
            (self.space.normed.ptr(), self.space.projected.ptr(), self.space.mixed.ptr());
        let (act, count) = (self.activations(), rows.count);
        self.norm(residual, layer.input_norm, normed, count)?;
        self.product(&layer.qkv, normed, projected, count, act, false)?;
        self.kernels.rotate_append(&self.stream, projected, act, rows, layer.cache, &self.heads)?;
        self.attend(layer.cache, rows, segments)?;
        self.product(&layer.o, mixed, residual, count, Format::F32, true)?;
        self.norm(residual, layer.post_attention_norm, normed, count)?;
        self.product(&layer.gate_up, normed, projected, count, act, false)?;
        self.kernels.silu_mul(&self.stream, projected, mixed, [count, self.intermediate])?;
        self.product(&layer.down, mixed, residual, count, Format::F32, true)
    }

    /// The keys and values of a layer alone, of rows of the residual stream.
    pub(super) fn append(&mut self, index: usize, residual: Ptr, rows: Rows) -> Result<(), EngineError> {
        let layer = self.weights.layer(index)?;
        let (normed, projected, act) =
            (self.space.normed.ptr(), self.space.projected.ptr(), self.activations());
        self.norm(residual, layer.input_norm, normed, rows.count)?;
        self.product(&layer.qkv, normed, projected, rows.count, act, false)?;
        self.kernels.rotate_append(&self.stream, projected, act, rows, layer.cache, &self.heads)
    }

    fn norm(&self, x: Ptr, norm: Norm, out: Ptr, rows: usize) -> Result<(), EngineError> {
        self.kernels.rms_norm(&self.stream, x, norm, out, self.activations(), [rows, self.hidden])
    }

    fn product(
        &mut self,
        weight: &Matrix,
        x: Ptr,
        out: Ptr,
        rows: usize,
        out_format: Format,
        adds: bool,
    ) -> Result<(), EngineError> {
        let act = self.activations();
        let values = if weight.format == act {
            weight.values
        } else {
            self.kernels.widen(&self.stream, weight, self.space.panel.ptr())?;
            self.space.panel.ptr()
        };
        let shape = [rows, weight.columns as usize, weight.rows as usize];
        self.gemm.multiply(&self.stream, values, x, out, shape, act, out_format, adds)
    }

    /// From queries in `projected` and the caches to `mixed`.
    fn attend(&self, layer: usize, rows: Rows, segments: &[Segment]) -> Result<(), EngineError> {
        let Self { stream, kernels, heads, space, .. } = self;
        let act = self.activations();
        let qkv = |row: usize| space.projected.ptr().at(act.bytes(row * heads.qkv_width()));
        let out = |row: usize| space.mixed.ptr().at(act.bytes(row * heads.query_width()));
        let part = |first: usize, count: usize| Rows { ptr: rows.ptr.at(first * size_of::<Row>()), count };
        if self.attention == Attention::Eager {
            let step = space.sizes.score_rows as usize;
            for first in (0..rows.count).step_by(step) {
                let rows = part(first, step.min(rows.count - first));
                let scores = space.scores.ptr();
                kernels.attend_eager(
                    stream,
                    qkv(first),
                    act,
                    out(first),
                    rows,
                    layer,
                    heads,
                    scores,
                    self.context,
                )?;
            }
            return Ok(());
        }
        if !kernels.has_flash() || segments.iter().all(|segment| segment.rows < FLASH_ROWS) {
            return kernels.attend(stream, qkv(0), act, out(0), rows, layer, heads);
        }
        // Rows of short segments that follow one another go together.
        let few = |first: usize, end: usize| match end - first {
            0 => Ok(()),
            count => kernels.attend(stream, qkv(first), act, out(first), part(first, count), layer, heads),
        };
        let mut done = 0;
        for Segment { first, rows } in segments.iter().filter(|segment| segment.rows >= FLASH_ROWS) {
            few(done, *first)?;
            kernels.flash(stream, qkv(*first), out(*first), part(*first, *rows), layer, heads)?;
            done = first + rows;
        }
        few(done, rows.count)
    }

    /// The final norm and the head: `rows` rows of the residual stream at `x` to `logits`.
    pub(super) fn logits(&mut self, x: Ptr, rows: Rows) -> Result<(), EngineError> {
        let (head, norm, logits) = (self.weights.head()?, self.weights.norm()?, self.space.logits.ptr());
        let path = self.path(rows.count);
        if path != Path::Many {
            let is_each = path == Path::Each;
            return self.product_of_few(Use::Logits, &head, x, Some(norm), logits, rows, 0, is_each);
        }
        let normed = self.space.on_the_way();
        self.norm(x, norm, normed, rows.count)?;
        self.product(&head, normed, logits, rows.count, Format::F32, false)
    }

    /// The final norm alone, in place and in f32: the head is on another device.
    pub(super) fn norm_alone(&self, x: Ptr, rows: usize) -> Result<(), EngineError> {
        let shape = [rows, self.hidden];
        self.kernels.rms_norm(&self.stream, x, self.weights.norm()?, x, Format::F32, shape)
    }

    /// The head alone: rows of activations at `x` to `logits`.
    pub(super) fn head_alone(&mut self, x: Ptr, rows: Rows) -> Result<(), EngineError> {
        let (head, logits) = (self.weights.head()?, self.space.logits.ptr());
        if self.kernels.takes_few(rows.count, self.widths()) {
            return self.product_of_few(Use::Logits, &head, x, None, logits, rows, 0, false);
        }
        self.product(&head, x, logits, rows.count, Format::F32, false)
    }

    /// A row of logits on the host.
    pub(super) fn logits_row(&self, row: usize) -> Result<Vec<f32>, EngineError> {
        let mut logits = vec![0f32; self.vocab];
        let from = self.space.logits.ptr().at(row * self.vocab * size_of::<f32>());
        self.stream.download(bytemuck::cast_slice_mut(&mut logits), from)?;
        Ok(logits)
    }

    /// A stretch of a step of a batch whose rows are on the device, and where `tail` says where ids go, the next id of
    /// each.
    fn stretch(
        &mut self,
        stretch: &Stretch,
        rows: Rows,
        tail: Option<(Ptr, [usize; 2])>,
    ) -> Result<(), EngineError> {
        let residual = self.space.residual.ptr();
        if stretch.embeds {
            self.embed(rows, residual)?;
        }
        for index in stretch.layers.clone() {
            self.layer(index, residual, rows, &[])?;
        }
        if let Some((ids, ring)) = tail {
            self.logits(residual, rows)?;
            self.choose(rows, ids, ring)?;
        }
        Ok(())
    }

    /// [`Model::stretch`] as a graph.
    pub(super) fn capture(
        &mut self,
        stretch: &Stretch,
        rows: Rows,
        tail: Option<(Ptr, [usize; 2])>,
    ) -> Result<Graph, EngineError> {
        self.stream.begin_capture()?;
        let queued = self.stretch(stretch, rows, tail);
        let graph = self.stream.end_capture();
        queued?;
        graph
    }

    pub(super) fn choose(&self, rows: Rows, ids: Ptr, ring: [usize; 2]) -> Result<(), EngineError> {
        self.kernels.choose(&self.stream, self.space.logits.ptr(), self.vocab, rows, ids, ring)
    }
}
