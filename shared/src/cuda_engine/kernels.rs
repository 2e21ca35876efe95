//! Our kernels: what they are called, what they are given, how they are launched.

use std::ffi::c_void;
use std::sync::Arc;

use super::across::Across;
use super::driver::{Gpu, Ptr, Shape, Stream};
pub(super) use super::format::Format;
use super::module::{Kernel, Module};
use crate::engine::EngineError;

const ROWS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/rows.fatbin"));
const GEMV: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/gemv.fatbin"));
const ACROSS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/across.fatbin"));
const FEW: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/few.fatbin"));
const ATTENTION: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/attention.fatbin"));
const FLASH: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/flash.fatbin"));

/// Most shared memory of a block on compute capability 9.0, and what a kernel of `gemv.cu` takes of it for itself.
const SHARED_BYTES: usize = 227 << 10;
const STATIC_BYTES: usize = 4 << 10;
/// Most rows that a product of `few.cu` takes, and what its rows must be a multiple of.
const FEW_ROWS: usize = 32;
const FEW_COLUMNS: usize = 32;
/// Most blocks that share a head of a row, and their threads; `MOST_SHARES` and `WARPS` in attention.cu.
const MOST_SHARES: usize = 8;
const ATTEND_THREADS: usize = 256;
/// Rows from which on `attend_many` is better.
const MANY_ROWS: usize = 4;
/// Most tiles of a block of `gemv.cu`.
const MOST_TILES: usize = 32;
/// Rows of a block of `flash.cu`, and keys of its tiles.
const FLASH_ROWS: usize = 128;
const FLASH_KEYS: usize = 64;
/// Widest head of the kernels that take any.
pub(super) const WIDEST_HEAD: usize = 256;
/// Longest row of a weight: it is held in shared memory as f32.
pub(super) const LONGEST_ROW: usize = (SHARED_BYTES - STATIC_BYTES) / 4;

/// [`Row::shift`] of a cache that is one block.
pub(super) const ONE_BLOCK: u16 = 31;

/// A token of a step; `Row` in common.cuh.
#[derive(Debug, Clone, Copy, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(super) struct Row {
    /// Where the addresses of its cache's blocks are, each `[layers][2][kv heads][stride][head_dim]`; of one block, its
    /// address itself.
    pub(super) blocks: u64,
    /// Bytes of a layer of a block.
    pub(super) layer_bytes: u64,
    /// Tokens that a block has room for.
    pub(super) stride: u32,
    pub(super) position: u32,
    pub(super) token: u32,
    pub(super) is_long: u16,
    /// Logarithm of `stride`, or [`ONE_BLOCK`].
    pub(super) shift: u16,
    /// Steps sampled since it was uploaded.
    pub(super) tick: u32,
    /// 0 takes the likeliest id, else one is drawn on the device.
    pub(super) inverse_temperature: f32,
    /// Of its draws.
    pub(super) seed: u64,
}

/// The heads of a model, its rotary tables and its cache; `Heads` in common.cuh.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct Heads {
    pub(super) rope_short: Ptr,
    pub(super) rope_long: Ptr,
    pub(super) query: i32,
    pub(super) key_value: i32,
    pub(super) dim: i32,
    pub(super) half: i32,
    pub(super) window: i32,
    pub(super) kv_format: Format,
}

impl Heads {
    pub(super) fn qkv_width(&self) -> usize {
        ((self.query + 2 * self.key_value) * self.dim) as usize
    }

    pub(super) fn query_width(&self) -> usize {
        (self.query * self.dim) as usize
    }
}

/// A weight of `[rows, columns]`; `Matrix` in rows.cu.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct Matrix {
    pub(super) values: Ptr,
    pub(super) scales: Ptr,
    pub(super) format: Format,
    pub(super) rows: i32,
    pub(super) columns: i32,
}

/// What a product with a few rows is for; `Use` in gemv.cu.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Qkv,
    Add,
    Gated,
    Logits,
}

impl Use {
    const ALL: [Self; 4] = [Self::Qkv, Self::Add, Self::Gated, Self::Logits];

    /// What kernels are called for it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Qkv => "qkv",
            Self::Add => "add",
            Self::Gated => "gated",
            Self::Logits => "logits",
        }
    }

    /// Rows of a weight that a block of `gemv.cu` takes at a time.
    fn tile(self, weights: Format) -> usize {
        match (self, weights) {
            (Self::Add, Format::Fp8 | Format::Q8_0 | Format::Q4_0) => 12,
            (Self::Qkv | Self::Add, _) => 18,
            (Self::Gated | Self::Logits, _) => 16,
        }
    }
}

/// `GemvArgs` in product.cuh.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct GemvArgs {
    weight: Ptr,
    scales: Ptr,
    x: Ptr,
    norm: Ptr,
    out: Ptr,
    batch: Ptr,
    heads: Heads,
    rows: i32,
    columns: i32,
    layer: i32,
    eps: f32,
}

/// The RMSNorm before a product.
#[derive(Debug, Clone, Copy)]
pub(super) struct Norm {
    pub(super) weight: Ptr,
    pub(super) format: Format,
    pub(super) eps: f32,
}

/// A product of a weight with a few rows, and what comes before and after it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Product<'a> {
    pub(super) purpose: Use,
    pub(super) weight: &'a Matrix,
    pub(super) x: Ptr,
    pub(super) norm: Option<Norm>,
    pub(super) out: Ptr,
    pub(super) rows: Rows,
    pub(super) heads: &'a Heads,
    pub(super) layer: usize,
}

impl Product<'_> {
    fn args(&self) -> GemvArgs {
        let Self { weight, norm, .. } = *self;
        GemvArgs {
            weight: weight.values,
            scales: weight.scales,
            x: self.x,
            norm: norm.map_or(Ptr::NULL, |norm| norm.weight),
            out: self.out,
            batch: self.rows.ptr,
            heads: *self.heads,
            rows: weight.rows,
            columns: weight.columns,
            layer: self.layer as i32,
            eps: norm.map_or(0.0, |norm| norm.eps),
        }
    }

    /// Tiles of `tile` rows of the weight; `weight_row` in product.cuh deals them.
    fn tiles(&self, tile: usize) -> usize {
        let rows = self.weight.rows as usize;
        let pairs = ((self.heads.query + self.heads.key_value) * self.heads.half) as usize;
        match self.purpose {
            Use::Qkv => pairs.div_ceil(tile / 2) + (rows - 2 * pairs).div_ceil(tile),
            Use::Gated => (rows / 2).div_ceil(tile / 2),
            Use::Add | Use::Logits => rows.div_ceil(tile),
        }
    }
}

/// Rows of a step and where they lie on the device.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows {
    pub(super) ptr: Ptr,
    pub(super) count: usize,
}

/// Every kernel of a format of weights and cache.
pub(super) struct Kernels {
    /// Multiprocessors of the device.
    processors: usize,
    activations: Format,
    embed: Kernel,
    rms_norm: Kernel,
    rotate_append: Kernel,
    silu_mul: Kernel,
    count_non_finite: Kernel,
    choose: Kernel,
    widen: Kernel,
    convert_plain: Kernel,
    convert_in_f16: Kernel,
    convert_fp8: Kernel,
    convert_blocks: Kernel,
    gemv: Vec<Kernel>,
    across: Vec<Across>,
    /// By use, for up to 8, 16 and 32 rows; only beside activations in 16 bits.
    few: Option<[[Kernel; 3]; 4]>,
    attend: Kernel,
    /// For rows that fill the device by themselves, where another is better for them.
    attend_many: Option<Kernel>,
    attend_eager: Kernel,
    flash: Option<Kernel>,
    /// What the kernels stand in.
    _modules: Vec<Module>,
}

macro_rules! args {
    ($($value:expr),* $(,)?) => { &[$((&raw const $value).cast::<c_void>()),*] };
}

impl Kernels {
    pub(super) fn load(
        gpu: &Arc<Gpu>,
        weights: Format,
        kv: Format,
        head_dim: usize,
        is_paged: bool,
    ) -> Result<Self, EngineError> {
        if ROWS.is_empty() {
            return Err(EngineError::Unavailable {
                what: "CUDA".to_owned(),
                reason: "this program was built without its kernels (PREFLIGHT_WITHOUT_NVCC)".to_owned(),
            });
        }
        let [rows, gemv, across, attention] =
            [ROWS, GEMV, ACROSS, ATTENTION].map(|code| Module::load(gpu, code));
        let [rows, gemv, across, attention] = [rows?, gemv?, across?, attention?];
        let mut modules = Vec::new();
        let plain = |name: &str| rows.kernel(name, 0);
        let act = weights.activations();
        let typed = [64, 96, 128].contains(&head_dim);
        let shape = if typed { format!("{}_{head_dim}", kv.word()) } else { "any".to_owned() };
        let paged = if is_paged && typed { "paged_" } else { "" };
        // Wide heads leave room for fewer blocks of threads, which then have more to wait for at a time.
        let many = typed && (is_paged || head_dim == 128);
        let flash = if typed && act == kv && act != Format::F32 {
            let name = format!("flash_{paged}{}_{head_dim}", act.word());
            let module = Module::load(gpu, FLASH)?;
            let kernel = module.kernel(&name, flash_shared_bytes(head_dim))?;
            modules.push(module);
            Some(kernel)
        } else {
            None
        };
        let few = if act != Format::F32 {
            let module = Module::load(gpu, FEW)?;
            let sizes = |suffix: &str| -> Result<[Kernel; 3], EngineError> {
                let kernel =
                    |most: usize| module.kernel(&format!("few_{}_{suffix}_{most}", weights.word()), 0);
                Ok([kernel(8)?, kernel(16)?, kernel(32)?])
            };
            let few = [sizes("qkv")?, sizes("add")?, sizes("gated")?, sizes("logits")?];
            modules.push(module);
            Some(few)
        } else {
            None
        };
        let of_gemv = |purpose: Use| {
            let name = format!("gemv_{}_{}", weights.word(), purpose.word());
            gemv.kernel(&name, SHARED_BYTES - STATIC_BYTES)
        };
        let of_across = |purpose: Use| Across::load(&across, purpose, weights);
        Ok(Self {
            processors: gpu.processors,
            activations: act,
            embed: plain("embed")?,
            rms_norm: plain("rms_norm")?,
            rotate_append: plain("rotate_append")?,
            silu_mul: plain(&format!("silu_mul_{}", act.word()))?,
            count_non_finite: plain("count_non_finite")?,
            choose: plain("choose")?,
            widen: plain("widen")?,
            convert_plain: plain("convert_plain")?,
            convert_in_f16: plain("convert_in_f16")?,
            convert_fp8: plain("convert_fp8")?,
            convert_blocks: plain("convert_blocks")?,
            gemv: Use::ALL.map(of_gemv).into_iter().collect::<Result<_, _>>()?,
            across: Use::ALL.map(of_across).into_iter().collect::<Result<_, _>>()?,
            few,
            attend: attention.kernel(&format!("attend_{paged}{shape}"), 0)?,
            attend_many: many.then(|| attention.kernel(&format!("attend_many_{shape}"), 0)).transpose()?,
            attend_eager: attention.kernel(&format!("eager_{shape}"), 0)?,
            flash,
            _modules: {
                modules.extend([rows, gemv, across, attention]);
                modules
            },
        })
    }

    pub(super) fn has_flash(&self) -> bool {
        self.flash.is_some()
    }

    /// `out[row] = table[token of row]`, f32.
    pub(super) fn embed(
        &self,
        stream: &Stream,
        table: &Matrix,
        rows: Rows,
        out: Ptr,
    ) -> Result<(), EngineError> {
        let grid = [(table.columns as usize).div_ceil(256), rows.count, 1];
        let shape = Shape { grid, block: 256, ..Shape::OVERLAPPING };
        stream.launch(self.embed, shape, args![*table, rows.ptr, out])
    }

    /// RMSNorm of f32 rows into `format`.
    pub(super) fn rms_norm(
        &self,
        stream: &Stream,
        x: Ptr,
        norm: Norm,
        out: Ptr,
        format: Format,
        [rows, width]: [usize; 2],
    ) -> Result<(), EngineError> {
        let shape = Shape { grid: [rows, 1, 1], block: 256, ..Shape::OVERLAPPING };
        let width = width as i32;
        stream.launch(self.rms_norm, shape, args![x, norm.weight, norm.format, out, format, width, norm.eps])
    }

    /// Rotates queries in place, appends keys and values.
    pub(super) fn rotate_append(
        &self,
        stream: &Stream,
        qkv: Ptr,
        format: Format,
        rows: Rows,
        layer: usize,
        heads: &Heads,
    ) -> Result<(), EngineError> {
        let shape = Shape { grid: [rows.count, 1, 1], block: 256, ..Shape::PLAIN };
        let layer = layer as i32;
        stream.launch(self.rotate_append, shape, args![qkv, format, rows.ptr, layer, *heads])
    }

    /// `out = silu(gate) · up` of rows `[gate | up]` of `2 · width` values.
    pub(super) fn silu_mul(
        &self,
        stream: &Stream,
        gate_up: Ptr,
        out: Ptr,
        [rows, width]: [usize; 2],
    ) -> Result<(), EngineError> {
        let blocks = width.div_ceil(256 * 16 / self.activations.bytes(1));
        let shape = Shape { grid: [blocks, rows, 1], block: 256, ..Shape::PLAIN };
        let width = width as i32;
        stream.launch(self.silu_mul, shape, args![gate_up, out, width])
    }

    /// Adds NaN and infinite values of `len` f32 to `counts[2]`.
    pub(super) fn count_non_finite(
        &self,
        stream: &Stream,
        x: Ptr,
        len: usize,
        counts: Ptr,
    ) -> Result<(), EngineError> {
        let grid = [len.div_ceil(256).clamp(1, 1024), 1, 1];
        stream.launch(
            self.count_non_finite,
            Shape { grid, block: 256, ..Shape::PLAIN },
            args![x, len, counts],
        )
    }

    /// The next id of each row, the likeliest or a drawn one, into the row's token and into `ids[tick % ring][row]` on the
    /// host.
    pub(super) fn choose(
        &self,
        stream: &Stream,
        logits: Ptr,
        vocab: usize,
        rows: Rows,
        ids: Ptr,
        [ring, batch]: [usize; 2],
    ) -> Result<(), EngineError> {
        let shape = Shape { grid: [8, rows.count, 1], block: 512, cluster: 8, ..Shape::OVERLAPPING };
        let [vocab, ring, batch] = [vocab, ring, batch].map(|n| n as i32);
        let advance = 1i32;
        stream.launch(self.choose, shape, args![logits, vocab, rows.ptr, ids, ring, batch, advance])
    }

    /// A quantised matrix to bf16.
    pub(super) fn widen(&self, stream: &Stream, matrix: &Matrix, out: Ptr) -> Result<(), EngineError> {
        let grid = [(matrix.columns as usize).div_ceil(1024), matrix.rows as usize, 1];
        stream.launch(self.widen, Shape { grid, block: 256, ..Shape::PLAIN }, args![*matrix, out])
    }

    /// `count` values that begin at value `first` of a tensor, from how they are stored to how they are held.
    pub(super) fn convert(
        &self,
        stream: &Stream,
        from: (Ptr, Format),
        to: &Matrix,
        first: usize,
        count: usize,
    ) -> Result<(), EngineError> {
        let (ptr, format) = from;
        let shape = |blocks: usize| Shape { grid: [blocks, 1, 1], block: 256, ..Shape::PLAIN };
        match to.format {
            Format::Fp8 => {
                let columns = to.columns as usize;
                let (first_row, rows) = (first / columns, count / columns);
                stream.launch(
                    self.convert_fp8,
                    shape(rows),
                    args![ptr, format, to.values, to.scales, first_row, to.columns],
                )
            }
            Format::Q8_0 | Format::Q4_0 => stream.launch(
                self.convert_blocks,
                shape(count.div_ceil(256)),
                args![ptr, format, to.values, to.scales, to.format, first, count],
            ),
            _ => stream.launch(
                self.convert_plain,
                shape(count.div_ceil(1024).min(4096)),
                args![ptr, format, to.values, to.format, first, count],
            ),
        }
    }

    /// Whole rows as bf16 has them, held in f16, from where they are stored or stand already; `peaks` as `rows.cu` says.
    pub(super) fn convert_in_f16(
        &self,
        stream: &Stream,
        (ptr, format): (Ptr, Format),
        to: &Matrix,
        [first_row, rows]: [usize; 2],
        peaks: Ptr,
    ) -> Result<(), EngineError> {
        let shape = Shape { grid: [rows, 1, 1], block: 256, ..Shape::PLAIN };
        let args = args![ptr, format, to.values, first_row, to.columns, peaks];
        stream.launch(self.convert_in_f16, shape, args)
    }

    /// A product that reads the weight once for each row; see across.cu and gemv.cu.
    pub(super) fn gemv(&self, stream: &Stream, product: &Product<'_>) -> Result<(), EngineError> {
        let (args, weight) = (product.args(), product.weight);
        if let Some((kernel, block, tile)) = self.across[product.purpose as usize].choose(weight) {
            let grid = [product.tiles(tile), product.rows.count, 1];
            return stream.launch(kernel, Shape { grid, block, ..Shape::OVERLAPPING }, args![args]);
        }
        let columns = weight.columns as usize;
        let shared_bytes = match weight.format {
            Format::Q8_0 | Format::Q4_0 => columns * 2 + columns / 4,
            _ => columns.next_multiple_of(4) * 4,
        };
        let tile = product.purpose.tile(weight.format);
        let tiles = product.tiles(tile);
        // Beside quantised weights a block takes several tiles, so that all blocks run at once: two a processor.
        let blocks = match weight.format {
            Format::Fp8 | Format::Q8_0 | Format::Q4_0 => {
                tiles.min(2 * self.processors).max(tiles.div_ceil(MOST_TILES))
            }
            _ => tiles,
        };
        let grid = [blocks, product.rows.count, 1];
        let shape = Shape { grid, block: 32 * tile, shared_bytes, ..Shape::OVERLAPPING };
        stream.launch(self.gemv[product.purpose as usize], shape, args![args])
    }

    /// Whether [`Kernels::few`] takes as many rows of a model with rows of these widths.
    pub(super) fn takes_few(&self, rows: usize, widths: [usize; 3]) -> bool {
        self.few.is_some() && rows <= FEW_ROWS && widths.iter().all(|width| width.is_multiple_of(FEW_COLUMNS))
    }

    /// A product that reads the weight once for up to 32 rows, which are activations; see few.cu.
    pub(super) fn few(&self, stream: &Stream, product: &Product<'_>) -> Result<(), EngineError> {
        let Some(few) = self.few else {
            return Err(EngineError::Backend("no product of a few rows in this format".to_owned()));
        };
        let (size, tiles, columns) = match product.rows.count {
            0..=8 => (0, 1, 1),
            9..=16 => (1, 1, 2),
            _ => (2, 2, 4),
        };
        let shared_bytes = 8 * tiles * 16 * (columns * 8 + 1) * size_of::<f32>();
        let grid = [product.tiles(16).div_ceil(tiles), 1, 1];
        let shape = Shape { grid, block: 256, shared_bytes, ..Shape::OVERLAPPING };
        let (args, count) = (product.args(), product.rows.count as i32);
        stream.launch(few[product.purpose as usize][size], shape, args![args, count])
    }

    /// Attention of a few rows; the scores stay on the chip.
    #[expect(clippy::too_many_arguments, reason = "what attention reads and writes, and of which layer")]
    pub(super) fn attend(
        &self,
        stream: &Stream,
        qkv: Ptr,
        format: Format,
        out: Ptr,
        rows: Rows,
        layer: usize,
        heads: &Heads,
    ) -> Result<(), EngineError> {
        let kernel = self.attend_many.filter(|_| rows.count >= MANY_ROWS).unwrap_or(self.attend);
        let layer = layer as i32;
        stream.launch(kernel, shared_heads(rows, heads), args![qkv, format, out, rows.ptr, layer, *heads])
    }

    /// Attention of rows that continue one sequence, on the tensor cores.
    pub(super) fn flash(
        &self,
        stream: &Stream,
        qkv: Ptr,
        out: Ptr,
        rows: Rows,
        layer: usize,
        heads: &Heads,
    ) -> Result<(), EngineError> {
        let Some(kernel) = self.flash else {
            return Err(EngineError::Backend("no flash kernel for this format and head".to_owned()));
        };
        let grid = [rows.count.div_ceil(FLASH_ROWS), heads.query as usize, 1];
        let shared_bytes = flash_shared_bytes(heads.dim as usize);
        let (count, layer) = (rows.count as i32, layer as i32);
        stream.launch(
            kernel,
            Shape { grid, block: 256, shared_bytes, ..Shape::PLAIN },
            args![qkv, out, rows.ptr, count, layer, *heads],
        )
    }

    /// Attention with its scores written out, `[rows, heads, context]`.
    #[expect(clippy::too_many_arguments, reason = "as `attend`, and the scores")]
    pub(super) fn attend_eager(
        &self,
        stream: &Stream,
        qkv: Ptr,
        format: Format,
        out: Ptr,
        rows: Rows,
        layer: usize,
        heads: &Heads,
        scores: Ptr,
        context: usize,
    ) -> Result<(), EngineError> {
        let (layer, context) = (layer as i32, context as i32);
        stream.launch(
            self.attend_eager,
            shared_heads(rows, heads),
            args![qkv, format, out, rows.ptr, layer, *heads, scores, context],
        )
    }
}

/// Blocks of threads for each head of each row. Few rows leave processors idle unless several share a head.
fn shared_heads(rows: Rows, heads: &Heads) -> Shape {
    let shares = match rows.count {
        1 => MOST_SHARES,
        2..=3 => 4,
        4..=7 => 2,
        _ => 1,
    };
    let grid = [shares, heads.query as usize, rows.count];
    Shape { grid, block: ATTEND_THREADS, cluster: shares, ..Shape::OVERLAPPING }
}

fn flash_shared_bytes(head_dim: usize) -> usize {
    (FLASH_ROWS + 4 * FLASH_KEYS) * (head_dim + 8) * 2
}
