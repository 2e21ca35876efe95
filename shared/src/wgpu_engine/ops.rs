//! Recorded steps: a compiled shader with what it reads and writes, made once.

use super::gpu::Gpu;
use super::kernels::{self, FEW_AT_ONCE, FEW_ROWS, Gemv, Into, Kernels, Tile};
use super::matrix::{Matrix, Part};
use super::template::Shader;
use super::workspace::Workspace;
use crate::engine::EngineError;

/// Workgroups along one dimension of a dispatch; WebGPU's limit is 65,535.
const MAX_GROUPS: u32 = 32_768;

/// A shader and its first group of bindings.
pub(super) struct Op {
    pub(super) pipeline: wgpu::ComputePipeline,
    bind: wgpu::BindGroup,
}

impl Op {
    pub(super) async fn new(
        kernels: &mut Kernels<'_>,
        shader: &Shader,
        buffers: &[(u32, &wgpu::Buffer)],
    ) -> Result<Self, EngineError> {
        let pipeline = kernels.pipeline(shader).await?;
        let buffers: Vec<_> =
            buffers.iter().map(|(binding, buffer)| (*binding, buffer.as_entire_binding())).collect();
        let bind = kernels.gpu.bind(&pipeline, 0, &buffers);
        Ok(Self { pipeline, bind })
    }

    /// A further group of bindings for it.
    pub(super) fn group(
        &self,
        gpu: &Gpu,
        group: u32,
        buffers: &[(u32, wgpu::BindingResource<'_>)],
    ) -> wgpu::BindGroup {
        gpu.bind(&self.pipeline, group, buffers)
    }

    pub(super) fn run(&self, pass: &mut Pass<'_>, more: &[&wgpu::BindGroup], groups: [u32; 3]) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind, &[]);
        for (group, bind) in (1..).zip(more) {
            pass.set_bind_group(group, *bind, &[]);
        }
        pass.dispatch_workgroups(groups[0], groups[1], groups[2]);
    }
}

pub(super) type Pass<'a> = wgpu::ComputePass<'a>;

/// A matrix product in all its ways. A quantised matrix meets rows as int8 blocks in each of them.
pub(super) struct Linear {
    one_shape: Gemv,
    few_shape: Gemv,
    tile: Tile,
    parts: Vec<LinearPart>,
    /// Rows to int8 blocks, where the matrix is quantised and nobody makes them for all of them.
    quantize: Option<Op>,
    made: Made,
}

struct LinearPart {
    rows: usize,
    one: Op,
    few: Op,
    /// Where that many rows ever come: its shader takes the longest to compile.
    many: Option<Op>,
}

/// Whether what comes before a product leaves its rows as int8 blocks, where the matrix is quantised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    /// A norm does.
    Always,
    /// Only where there is one row.
    ForOneRow,
    /// Rows are f32.
    Never,
}

/// Where a product reads and writes.
pub(super) struct Route<'a> {
    pub(super) x: &'a wgpu::Buffer,
    /// The rows of `x` as int8 blocks, for matrices that take them so.
    pub(super) x_q8: &'a wgpu::Buffer,
    /// Whether somebody has made those blocks.
    pub(super) made: Made,
    pub(super) out: &'a wgpu::Buffer,
    pub(super) out_stride: usize,
    pub(super) into: Into,
    /// Where the result of one row goes as int8 blocks; in whole blocks, `Into::Silu` alone.
    pub(super) out_q8: Option<&'a wgpu::Buffer>,
}

impl Linear {
    pub(super) async fn new(
        kernels: &mut Kernels<'_>,
        matrix: &Matrix,
        space: &Workspace,
        route: Route<'_>,
    ) -> Result<Self, EngineError> {
        let Route { x, x_q8, made, out, out_stride, into, out_q8 } = route;
        let (dtype, columns) = (matrix.dtype, matrix.columns);
        let (one_into, one_out) = match out_q8 {
            Some(blocks) => (Into::SiluQ8, (6, blocks)),
            None => (into, (3, out)),
        };
        let one_shape = Gemv::of(kernels.gpu.lanes, matrix.rows, one_into);
        let few_shape = Gemv::of_few(kernels.gpu.lanes);
        let taken = if matrix.is_quantized() { x_q8 } else { x };
        let mut parts = Vec::with_capacity(matrix.parts.len());
        for part in &matrix.parts {
            let with = |out, step: Option<_>| {
                let mut buffers = bindings(part);
                buffers.extend([(2, taken), out, (4, &part.uniform)]);
                buffers.extend(step.map(|step| (5, step)));
                buffers
            };
            let one = kernels::gemv(dtype, columns, one_into, out_stride, one_shape);
            let one = Op::new(kernels, &one, &with(one_out, None)).await?;
            let buffers = with((3, out), Some(&space.step));
            let few = kernels::few(dtype, columns, into, out_stride, few_shape);
            let few = Op::new(kernels, &few, &buffers).await?;
            let many = if space.rows > FEW_ROWS {
                let many = kernels::gemm(dtype, columns, into, out_stride);
                Some(Op::new(kernels, &many, &buffers).await?)
            } else {
                None
            };
            parts.push(LinearPart { rows: part.rows, one, few, many });
        }
        let quantize = if matrix.is_quantized() && made != Made::Always {
            let buffers = [(2, x), (6, x_q8)];
            Some(Op::new(kernels, &kernels::quantize(columns), &buffers).await?)
        } else {
            None
        };
        Ok(Self { one_shape, few_shape, tile: Tile::of(dtype), parts, quantize, made })
    }

    pub(super) fn run(&self, pass: &mut Pass<'_>, rows: usize) {
        if let Some(quantize) = &self.quantize
            && (rows > 1 || self.made == Made::Never)
        {
            quantize.run(pass, &[], [rows as u32, 1, 1]);
        }
        for part in &self.parts {
            let in_teams = |shape: &Gemv, times: usize| {
                let groups = part.rows.div_ceil(shape.rows_at_once()) as u32;
                let across = groups.min(MAX_GROUPS);
                [across, groups.div_ceil(across), times as u32]
            };
            match &part.many {
                _ if rows == 1 => part.one.run(pass, &[], in_teams(&self.one_shape, 1)),
                Some(many) if rows > FEW_ROWS => {
                    let across = part.rows.div_ceil(self.tile.columns) as u32;
                    many.run(pass, &[], [across, rows.div_ceil(self.tile.rows) as u32, 1]);
                }
                _ => part.few.run(pass, &[], in_teams(&self.few_shape, rows.div_ceil(FEW_AT_ONCE))),
            }
        }
    }
}

/// The values of a part, and their scales.
pub(super) fn bindings(part: &Part) -> Vec<(u32, &wgpu::Buffer)> {
    let scales = part.scales.iter().map(|scales| (1, scales));
    [(0, &part.values)].into_iter().chain(scales).collect()
}

/// RMSNorm before a product, in the format that the product takes.
pub(super) struct Norm(Op);

impl Norm {
    pub(super) async fn new(
        kernels: &mut Kernels<'_>,
        weight: &Matrix,
        space: &Workspace,
        eps: f64,
        before: &Matrix,
        from_head_row: bool,
    ) -> Result<Self, EngineError> {
        let to_q8 = before.is_quantized();
        let shader =
            kernels::norm(weight.dtype, weight.columns, eps, to_q8, from_head_row, kernels.gpu.lanes);
        let mut buffers = bindings(&weight.parts[0]);
        buffers.push((2, &space.residual));
        buffers.push(if to_q8 { (6, &space.quantized) } else { (3, &space.normed) });
        if from_head_row {
            buffers.push((5, &space.step));
        }
        Ok(Self(Op::new(kernels, &shader, &buffers).await?))
    }

    pub(super) fn run(&self, pass: &mut Pass<'_>, rows: usize) {
        self.0.run(pass, &[], [rows as u32, 1, 1]);
    }
}
