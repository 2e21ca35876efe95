//! Recorded steps: a compiled shader with what it reads and writes, made once.

use super::gpu::Gpu;
use super::kernels::{self, FEW, FEW_ROWS, Gemv, Into, Kernels, MANY};
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

/// A matrix product in all its ways.
pub(super) struct Linear {
    shape: Gemv,
    parts: Vec<LinearPart>,
    /// Rows to int8, where the product with one row takes them so and nobody has made them.
    quantize: Option<Op>,
}

struct LinearPart {
    rows: usize,
    one: Op,
    few: Op,
    /// Where that many rows ever come: its shader takes the longest to compile.
    many: Option<Op>,
}

/// Where a product reads and writes.
pub(super) struct Route<'a> {
    pub(super) x: &'a wgpu::Buffer,
    /// One row of `x` as int8 blocks, for matrices that take it so.
    pub(super) x_q8: &'a wgpu::Buffer,
    /// Whether somebody has made those blocks.
    pub(super) is_quantized: bool,
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
        let Route { x, x_q8, is_quantized, out, out_stride, into, out_q8 } = route;
        let (dtype, columns) = (matrix.dtype, matrix.columns);
        let (one_into, one_out) = match out_q8 {
            Some(blocks) => (Into::SiluQ8, (6, blocks)),
            None => (into, (3, out)),
        };
        let shape = Gemv::of(kernels.gpu.lanes, matrix.rows, one_into);
        let one_x = if matrix.is_quantized() { x_q8 } else { x };
        let mut parts = Vec::with_capacity(matrix.parts.len());
        for part in &matrix.parts {
            let with = |x, out, step: Option<_>| {
                let mut buffers = bindings(part);
                buffers.extend([(2, x), out, (4, &part.uniform)]);
                buffers.extend(step.map(|step| (5, step)));
                buffers
            };
            let one = kernels::gemv(dtype, columns, one_into, out_stride, shape);
            let few = kernels::gemm(dtype, columns, into, out_stride, FEW);
            let one = Op::new(kernels, &one, &with(one_x, one_out, None)).await?;
            let buffers = with(x, (3, out), Some(&space.step));
            let few = Op::new(kernels, &few, &buffers).await?;
            let many = if space.rows > FEW_ROWS {
                let many = kernels::gemm(dtype, columns, into, out_stride, MANY);
                Some(Op::new(kernels, &many, &buffers).await?)
            } else {
                None
            };
            parts.push(LinearPart { rows: part.rows, one, few, many });
        }
        let quantize = if matrix.is_quantized() && !is_quantized {
            let buffers = [(2, x), (6, x_q8)];
            Some(Op::new(kernels, &kernels::quantize(columns), &buffers).await?)
        } else {
            None
        };
        Ok(Self { shape, parts, quantize })
    }

    pub(super) fn run(&self, pass: &mut Pass<'_>, rows: usize) {
        if rows == 1
            && let Some(quantize) = &self.quantize
        {
            quantize.run(pass, &[], [1, 1, 1]);
        }
        for part in &self.parts {
            if rows == 1 {
                let groups = part.rows.div_ceil(self.shape.rows_at_once()) as u32;
                let across = groups.min(MAX_GROUPS);
                part.one.run(pass, &[], [across, groups.div_ceil(across), 1]);
            } else {
                let (op, tile) = match &part.many {
                    Some(many) if rows > FEW_ROWS => (many, MANY),
                    _ => (&part.few, FEW),
                };
                let groups = [part.rows.div_ceil(tile.columns) as u32, rows.div_ceil(tile.rows) as u32, 1];
                op.run(pass, &[], groups);
            }
        }
    }
}

/// The values of a part, and their scales.
pub(super) fn bindings(part: &Part) -> Vec<(u32, &wgpu::Buffer)> {
    let scales = part.scales.iter().map(|scales| (1, scales));
    [(0, &part.values)].into_iter().chain(scales).collect()
}

/// RMSNorm before a product: for one row in the format that the product takes, for many in f32.
pub(super) struct Norm {
    one: Op,
    many: Op,
}

impl Norm {
    pub(super) async fn new(
        kernels: &mut Kernels<'_>,
        weight: &Matrix,
        space: &Workspace,
        eps: f64,
        before: &Matrix,
        from_head_row: bool,
    ) -> Result<Self, EngineError> {
        let mut op = async |to_q8: bool| {
            let shader =
                kernels::norm(weight.dtype, weight.columns, eps, to_q8, from_head_row, kernels.gpu.lanes);
            let mut buffers = bindings(&weight.parts[0]);
            buffers.push((2, &space.residual));
            buffers.push(if to_q8 { (6, &space.quantized) } else { (3, &space.normed) });
            if from_head_row {
                buffers.push((5, &space.step));
            }
            Op::new(kernels, &shader, &buffers).await
        };
        Ok(Self { one: op(before.is_quantized()).await?, many: op(false).await? })
    }

    pub(super) fn run(&self, pass: &mut Pass<'_>, rows: usize) {
        if rows == 1 {
            self.one.run(pass, &[], [1, 1, 1]);
        } else {
            self.many.run(pass, &[], [rows as u32, 1, 1]);
        }
    }
}
