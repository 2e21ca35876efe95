//! Which shader does what, for a model's shapes and a device's ways.

use std::collections::BTreeMap;

use super::gpu::Gpu;
use super::matrix::{BLOCK, padded};
use super::template::Shader;
use crate::config::ModelConfig;
use crate::dtype::DType;
use crate::engine::EngineError;

/// Invocations of a workgroup: what every WebGPU device has.
pub(super) const THREADS: usize = 256;
/// Invocations that share a row where there are no subgroups.
const TEAM: usize = 32;

/// What a product does with its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Into {
    /// Overwrites.
    Store,
    /// Adds to what is there.
    Add,
    /// `silu(gate) · up` of neighbouring rows.
    Silu,
    /// The same as int8 blocks, of one row.
    SiluQ8,
}

impl Into {
    fn flag(self) -> &'static str {
        match self {
            Self::Store => "STORE",
            Self::Add => "ADD",
            Self::Silu => "SILU",
            Self::SiluQ8 => "SILU_Q8",
        }
    }
}

/// A tile of a product of many rows: rows and columns of the tile, rows and columns of an invocation, and blocks of the
/// sum at a time where both sides stand in blocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tile {
    pub(super) rows: usize,
    pub(super) columns: usize,
    m: usize,
    n: usize,
    depth: usize,
}

impl Tile {
    /// What suits a format; within the 16 KiB of workgroup memory that every device has.
    pub(super) fn of(dtype: DType) -> Self {
        if dtype.is_quantized() {
            Self { rows: 64, columns: 64, m: 4, n: 4, depth: 2 }
        } else {
            Self { rows: 64, columns: 128, m: 4, n: 8, depth: 0 }
        }
    }
}

/// Rows up to which each meets the matrix by itself, some at a time, instead of in tiles.
pub(super) const FEW_ROWS: usize = 32;
/// Rows that read the matrix together.
pub(super) const FEW_AT_ONCE: usize = 4;

/// The shape of a product with one row, or with a few.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gemv {
    lanes: usize,
    groups: usize,
    rows: usize,
    subgroups: bool,
}

impl Gemv {
    /// What suits a matrix of `rows` rows on a device.
    pub(super) fn of(lanes: Option<u32>, rows: usize, into: Into) -> Self {
        let subgroups = lanes.is_some();
        let lanes = lanes.map_or(TEAM, |lanes| lanes as usize);
        if into == Into::SiluQ8 {
            // A workgroup makes a block.
            let groups = (THREADS / lanes).min(BLOCK);
            return Self { lanes, groups, rows: 2 * BLOCK / groups, subgroups };
        }
        let rows = if into == Into::Silu || rows >= 4096 { 2 } else { 1 };
        Self { lanes, groups: (128 / lanes).max(1), rows, subgroups }
    }

    /// What suits a matrix that a few rows meet.
    pub(super) fn of_few(lanes: Option<u32>) -> Self {
        let subgroups = lanes.is_some();
        let lanes = lanes.map_or(TEAM, |lanes| lanes as usize);
        Self { lanes, groups: (128 / lanes).max(1), rows: 2, subgroups }
    }

    /// Rows of the matrix that a workgroup does.
    pub(super) fn rows_at_once(&self) -> usize {
        self.groups * self.rows
    }

    fn shader(&self, shader: Shader, out_stride: usize) -> Shader {
        let shader = shader
            .number("OUT_STRIDE", out_stride)
            .number("THREADS", self.lanes * self.groups)
            .number("GROUPS", self.groups)
            .number("ROWS", self.rows)
            .number("PAIRS", self.rows / 2);
        if self.subgroups {
            subgroups(shader, Some(self.lanes as u32))
        } else {
            shader.number("LANES", self.lanes)
        }
    }
}

/// The flags that choose a format's way of reading.
fn format_flags(dtype: DType) -> &'static [&'static str] {
    match dtype {
        DType::F32 => &["F32"],
        DType::Bf16 => &["BF16", "HALF"],
        DType::Q8_0 => &["Q8_0", "BLOCKS"],
        DType::Q4_0 => &["Q4_0", "BLOCKS"],
        _ => &["F16", "HALF"],
    }
}

fn subgroups(shader: Shader, lanes: Option<u32>) -> Shader {
    match lanes {
        Some(lanes) => shader.flags(&["SUBGROUPS"]).number("LANES", lanes as usize),
        None => shader,
    }
}

fn of_matrix(name: &'static str, dtype: DType, columns: usize) -> Shader {
    Shader::new(name).flags(format_flags(dtype)).number("STRIDE", padded(columns))
}

pub(super) fn embed(dtype: DType, columns: usize) -> Shader {
    of_matrix("embed", dtype, columns).number("THREADS", 64)
}

pub(super) fn norm(
    dtype: DType,
    columns: usize,
    eps: f64,
    to_q8: bool,
    from_head_row: bool,
    lanes: Option<u32>,
) -> Shader {
    let shader = of_matrix("norm", dtype, columns)
        .flags(if to_q8 { &["TO_Q8"] } else { &["TO_F32"] })
        .flags(if from_head_row { &["FROM_HEAD_ROW"] } else { &[] })
        .number("WIDTH", columns)
        .number("THREADS", THREADS)
        .number("PER", (padded(columns) / 4).div_ceil(THREADS))
        .real("EPS", eps as f32);
    subgroups(shader, lanes)
}

pub(super) fn quantize(columns: usize) -> Shader {
    Shader::new("quantize")
        .number("STRIDE", padded(columns))
        .number("WIDTH", columns)
        .number("THREADS", THREADS)
}

pub(super) fn gemv(dtype: DType, columns: usize, into: Into, out_stride: usize, shape: Gemv) -> Shader {
    let flags: &[_] = if dtype.is_quantized() { &["X_Q8"] } else { &[] };
    shape.shader(of_matrix("gemv", dtype, columns).flags(&[into.flag()]).flags(flags), out_stride)
}

/// A product with a few rows.
pub(super) fn few(dtype: DType, columns: usize, into: Into, out_stride: usize, shape: Gemv) -> Shader {
    let shader = of_matrix("few", dtype, columns).flags(&[into.flag()]).number("M", FEW_AT_ONCE);
    shape.shader(shader, out_stride)
}

/// A product with many rows.
pub(super) fn gemm(dtype: DType, columns: usize, into: Into, out_stride: usize) -> Shader {
    let tile = Tile::of(dtype);
    of_matrix(if dtype.is_quantized() { "gemm_q8" } else { "gemm" }, dtype, columns)
        .flags(&[into.flag()])
        .number("OUT_STRIDE", out_stride)
        .number("TILE_M", tile.rows)
        .number("TILE_N", tile.columns)
        .number("M", tile.m)
        .number("N", tile.n)
        .number("PAIRS", tile.n / 2)
        .number("DEPTH", tile.depth)
        .number("THREADS", tile.rows / tile.m * (tile.columns / tile.n))
}

/// What attention needs to know of a model.
#[derive(Debug, Clone)]
pub(super) struct Heads {
    pub(super) query: usize,
    pub(super) key_value: usize,
    pub(super) dim: usize,
    pub(super) rotary_dim: usize,
    pub(super) window: Option<usize>,
    pub(super) kv_dtype: DType,
    pub(super) context: usize,
}

/// What attention leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mixed {
    /// Mixed values.
    F32,
    /// The same as int8 blocks, of one row; heads are whole blocks.
    Q8,
    /// Parts that are to be combined.
    Parts,
}

impl Mixed {
    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::F32 => &["TO_F32"],
            Self::Q8 => &["TO_Q8"],
            Self::Parts => &["SPLIT"],
        }
    }
}

/// Largest head whose values a workgroup can mix.
const MAX_HEAD_DIM: usize = 4 * THREADS;

impl Heads {
    pub(super) fn new(config: &ModelConfig, kv_dtype: DType, context: usize) -> Result<Self, EngineError> {
        if config.head_dim > MAX_HEAD_DIM {
            return Err(EngineError::Unavailable {
                what: format!("head_dim {}", config.head_dim),
                reason: format!("this engine's kernels take heads of up to {MAX_HEAD_DIM}; use the CPU"),
            });
        }
        Ok(Self {
            query: config.num_attention_heads,
            key_value: config.num_key_value_heads,
            dim: config.head_dim,
            rotary_dim: config.rotary_dim(),
            window: config.effective_window(context),
            kv_dtype,
            context,
        })
    }

    /// Vectors of four that a head takes.
    pub(super) fn fours(&self) -> usize {
        self.dim.div_ceil(4)
    }

    /// Width of `[q | k | v]`.
    pub(super) fn qkv_width(&self) -> usize {
        (self.query + 2 * self.key_value) * self.dim
    }

    pub(super) fn query_width(&self) -> usize {
        self.query * self.dim
    }

    /// Bytes of the keys, and of the values, of `capacity` tokens in one layer.
    pub(super) fn half_cache_bytes(&self, capacity: usize) -> u64 {
        let value = if self.kv_dtype == DType::F32 { 4 } else { 2 };
        (self.key_value * self.fours() * 4) as u64 * capacity as u64 * value
    }

    fn shader(&self, name: &'static str) -> Shader {
        let cache = match self.kv_dtype {
            DType::F32 => "KV_F32",
            DType::Bf16 => "KV_BF16",
            _ => "KV_F16",
        };
        Shader::new(name)
            .flags(&[cache])
            .flags(if self.window.is_some() { &["WINDOWED"] } else { &[] })
            .number("WINDOW", self.window.unwrap_or(0))
            .number("HEADS", self.query)
            .number("KV_HEADS", self.key_value)
            .number("HEAD_DIM", self.dim)
            .number("HEAD_4", self.fours())
            .number("MIXED_STRIDE", padded(self.query_width()))
            .number("CONTEXT", self.context)
            .number("THREADS", THREADS)
            .real("SCALE", 1.0 / (self.dim as f32).sqrt())
    }

    fn rotating(&self, shader: Shader) -> Shader {
        shader.number("ROTARY_DIM", self.rotary_dim).number("QKV_STRIDE", padded(self.qkv_width()))
    }

    pub(super) fn rope(&self) -> Shader {
        self.rotating(self.shader("rope"))
    }

    /// Attention of rows whose queries are rotated and whose keys are cached.
    pub(super) fn attention(&self, lanes: Option<u32>) -> Shader {
        subgroups(self.shader("attention").flags(&["TO_F32"]), lanes)
    }

    /// Attention of one row, from `[q | k | v]` on.
    pub(super) fn attention_of_one(&self, to: Mixed, lanes: Option<u32>) -> Shader {
        let shader = self.rotating(self.shader("attention"));
        subgroups(shader.flags(&["ROTATES"]).flags(to.flags()), lanes)
    }

    pub(super) fn combine(&self, to: Mixed) -> Shader {
        self.shader("combine").flags(to.flags())
    }

    pub(super) fn scores(&self) -> Shader {
        self.shader("scores")
    }

    pub(super) fn softmax(&self, lanes: Option<u32>) -> Shader {
        subgroups(self.shader("softmax").flags(&["WITHOUT_CACHE"]), lanes)
    }

    pub(super) fn mix(&self) -> Shader {
        self.shader("mix")
    }
}

pub(super) fn argmax(vocab: usize) -> Shader {
    Shader::new("argmax").number("VOCAB", vocab).number("THREADS", THREADS).number("AT_ONCE", 8)
}

pub(super) fn count(width: usize, stride: usize) -> Shader {
    Shader::new("count").number("WIDTH", width).number("STRIDE", stride).number("THREADS", THREADS)
}

/// Compiled shaders: one for each text.
pub(super) struct Kernels<'a> {
    pub(super) gpu: &'a Gpu,
    pipelines: BTreeMap<String, wgpu::ComputePipeline>,
}

impl<'a> Kernels<'a> {
    pub(super) fn new(gpu: &'a Gpu) -> Self {
        Self { gpu, pipelines: BTreeMap::new() }
    }

    /// Compiles a shader, unless it is there.
    pub(super) async fn pipeline(&mut self, shader: &Shader) -> Result<wgpu::ComputePipeline, EngineError> {
        let text = self.gpu.text(shader);
        if let Some(pipeline) = self.pipelines.get(&text) {
            return Ok(pipeline.clone());
        }
        let pipeline = self.gpu.scoped("kernels", 0, |gpu| gpu.pipeline(shader)).await?;
        self.pipelines.insert(text, pipeline.clone());
        Ok(pipeline)
    }
}
