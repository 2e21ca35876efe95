//! Each kernel against the same sum in f64, on every format, both ways of reducing, and shapes that divide by nothing.
//! A control changes one input and must be seen.

use half::{bf16, f16};
use pollster::block_on;

use super::{gpu, numbers};
use crate::dtype::DType;
use crate::wgpu_engine::DTYPES;
use crate::wgpu_engine::gpu::Gpu;
use crate::wgpu_engine::kernels::{self, FEW_AT_ONCE, Gemv, Into, Kernels, Tile};
use crate::wgpu_engine::matrix::{BLOCK, Matrix, padded};
use crate::wgpu_engine::ops::{Op, bindings};
use crate::wgpu_engine::template::Shader;

/// The ways to reduce that the device has.
fn ways(gpu: &Gpu) -> Vec<Option<u32>> {
    [None].into_iter().chain(gpu.lanes.map(Some)).collect()
}

fn upload(gpu: &Gpu, values: &[f32]) -> wgpu::Buffer {
    let buffer = gpu.storage("test", 4 * values.len() as u64);
    gpu.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(values));
    buffer
}

/// Runs a shader once and reads a buffer.
fn run(
    gpu: &Gpu,
    shader: &Shader,
    buffers: &[(u32, &wgpu::Buffer)],
    groups: [u32; 3],
    out: &wgpu::Buffer,
) -> Vec<u32> {
    let op = block_on(Op::new(&mut Kernels::new(gpu), shader, buffers)).expect("compiles");
    let mut encoder = gpu.encoder();
    op.run(&mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default()), &[], groups);
    bytemuck::pod_collect_to_vec(&block_on(gpu.read(encoder, out, out.size())).expect("reads"))
}

fn floats(words: &[u32]) -> Vec<f32> {
    words.iter().map(|word| f32::from_bits(*word)).collect()
}

fn matrix(gpu: &Gpu, dtype: DType, rows: usize, columns: usize, values: &[f32]) -> Matrix {
    let matrix = block_on(Matrix::new(gpu, dtype, &[rows, columns])).expect("fits");
    // In two writes, as a load does.
    let first = rows / 4 * 2;
    matrix.write(gpu, 0, &values[..first * columns]);
    matrix.write(gpu, first, &values[first * columns..]);
    matrix
}

/// The scale of a block, and the least and the largest integer in it.
type Scaled<'a> = &'a dyn Fn(&[f32]) -> (f32, f32, f32);

/// What a format makes of values.
fn held(dtype: DType, values: &[f32], columns: usize) -> Vec<f64> {
    let by_block = |size: Scaled<'_>| -> Vec<f64> {
        let each = |block: &[f32]| {
            let (scale, least, most) = size(block);
            let stored = f64::from(f16::from_f32(scale).to_f32());
            let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
            let nearest = |value: &f32| f64::from((value * inverse).round().clamp(least, most)) * stored;
            block.iter().map(nearest).collect::<Vec<_>>()
        };
        values.chunks(columns).flat_map(|row| row.chunks(BLOCK).flat_map(each).collect::<Vec<_>>()).collect()
    };
    let peak =
        |block: &[f32]| block.iter().fold(0.0_f32, |most, v| if v.abs() > most.abs() { *v } else { most });
    match dtype {
        DType::F32 => values.iter().map(|v| f64::from(*v)).collect(),
        DType::Bf16 => values.iter().map(|v| f64::from(bf16::from_f32(*v).to_f32())).collect(),
        DType::Q8_0 => by_block(&|block| (peak(block).abs() / 127.0, -127.0, 127.0)),
        DType::Q4_0 => by_block(&|block| (peak(block) / -8.0, -8.0, 7.0)),
        _ => values.iter().map(|v| f64::from(f16::from_f32(*v).to_f32())).collect(),
    }
}

/// `out[row][column]` in f64, after what is done with it.
fn product(weight: &[f64], x: &[f64], columns: usize, into: Into, before: f64) -> Vec<f64> {
    let dot = |row: &[f64], weight: &[f64]| row.iter().zip(weight).map(|(x, w)| x * w).sum::<f64>();
    let mut out = Vec::new();
    for row in x.chunks_exact(columns) {
        let sums: Vec<_> = weight.chunks_exact(columns).map(|weight| dot(row, weight)).collect();
        match into {
            Into::Store => out.extend(sums),
            Into::Add => out.extend(sums.iter().map(|sum| sum + before)),
            Into::Silu | Into::SiluQ8 => {
                out.extend(sums.chunks_exact(2).map(|pair| pair[0] / (1.0 + (-pair[0]).exp()) * pair[1]))
            }
        }
    }
    out
}

#[track_caller]
fn assert_near(found: &[f32], expected: &[f64], bound: f64, what: &str) {
    let peak = expected.iter().fold(0.0_f64, |peak, value| peak.max(value.abs()));
    assert_eq!(found.len(), expected.len(), "{what}");
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let difference = (f64::from(*found) - expected).abs();
        assert!(difference <= bound * peak, "{what}, {at}: {found} for {expected}, peak {peak}");
    }
}

/// Rows of `x`, padded.
fn padded_rows(x: &[f32], columns: usize) -> Vec<f32> {
    let pad = |row: &[f32]| [row, &vec![0.0; padded(columns) - columns]].concat();
    x.chunks_exact(columns).flat_map(pad).collect()
}

/// As the shader quantises activations.
fn q8(x: &[f32], columns: usize) -> Vec<f64> {
    let each = |block: &[f32]| {
        let peak = block.iter().fold(0.0_f32, |peak, value| peak.max(value.abs()));
        let inverse = if peak > 0.0 { 127.0 / peak } else { 0.0 };
        let scale = f64::from(peak / 127.0);
        block.iter().map(|v| f64::from((v * inverse).round_ties_even()) * scale).collect::<Vec<_>>()
    };
    x.chunks(columns).flat_map(|row| row.chunks(BLOCK).flat_map(each).collect::<Vec<_>>()).collect()
}

const BEFORE: f32 = 0.25;

#[test]
fn products_with_one_row() {
    let Some(gpu) = gpu("products_with_one_row") else { return };
    for (rows, columns) in [(2, 32), (70, 96), (6, 50), (256, 416), (514, 64)] {
        let (weight, x) = (numbers(1, rows * columns), numbers(2, columns));
        for dtype in DTYPES {
            let matrix = matrix(&gpu, dtype, rows, columns, &weight);
            let exact = held(matrix.dtype, &weight, columns);
            let row = padded_rows(&x, columns);
            let plain = upload(&gpu, &row);
            let (x_buffer, x_exact) = if matrix.is_quantized() {
                let blocks = gpu.storage("blocks", 48 * (row.len() / BLOCK) as u64);
                run(&gpu, &kernels::quantize(columns), &[(2, &plain), (6, &blocks)], [1, 1, 1], &blocks);
                (blocks, q8(&x, columns))
            } else {
                (plain, x.iter().map(|v| f64::from(*v)).collect())
            };
            for into in [Into::Store, Into::Add, Into::Silu] {
                let expected = product(&exact, &x_exact, columns, into, f64::from(BEFORE));
                for lanes in ways(&gpu) {
                    let shape = Gemv::of(lanes, rows, into);
                    let shader = kernels::gemv(matrix.dtype, columns, into, rows, shape);
                    let out = upload(&gpu, &vec![BEFORE; expected.len()]);
                    let part = &matrix.parts[0];
                    let mut buffers = bindings(part);
                    buffers.extend([(2, &x_buffer), (3, &out), (4, &part.uniform)]);
                    let groups = rows.div_ceil(shape.rows_at_once()) as u32;
                    let found = floats(&run(&gpu, &shader, &buffers, [groups, 1, 1], &out));
                    let what = format!("{rows}x{columns} {dtype} {into:?} {lanes:?}");
                    assert_near(&found[..expected.len()], &expected, 2e-6, &what);
                }
            }
            if rows.is_multiple_of(2 * BLOCK) {
                let expected = product(&exact, &x_exact, columns, Into::SiluQ8, 0.0);
                for lanes in ways(&gpu) {
                    let shape = Gemv::of(lanes, rows, Into::SiluQ8);
                    let shader = kernels::gemv(matrix.dtype, columns, Into::SiluQ8, rows, shape);
                    let out = gpu.storage("blocks", 48 * (expected.len() / BLOCK) as u64);
                    let part = &matrix.parts[0];
                    let mut buffers = bindings(part);
                    buffers.extend([(2, &x_buffer), (4, &part.uniform), (6, &out)]);
                    let groups = rows.div_ceil(shape.rows_at_once()) as u32;
                    // One workgroup too many: it must write nothing.
                    let words = run(&gpu, &shader, &buffers, [groups + 1, 1, 1], &out);
                    check_blocks(&words, &expected, &format!("{rows}x{columns} {dtype} {lanes:?}"));
                }
            }
        }
    }
}

#[test]
fn products_with_many_rows() {
    let Some(gpu) = gpu("products_with_many_rows") else { return };
    for (rows, columns, count) in [(2, 32, 2), (130, 50, 3), (260, 96, 70)] {
        let (weight, x) = (numbers(3, rows * columns), numbers(4, count * columns));
        let plain = upload(&gpu, &padded_rows(&x, columns));
        let step = gpu.uniform("step", &[count as u32, 0, 1, 0]);
        for dtype in DTYPES {
            let matrix = matrix(&gpu, dtype, rows, columns, &weight);
            let exact = held(matrix.dtype, &weight, columns);
            let (x_buffer, x_exact) = if matrix.is_quantized() {
                let blocks = gpu.storage("blocks", 48 * (count * columns / BLOCK) as u64);
                let groups = [count as u32, 1, 1];
                run(&gpu, &kernels::quantize(columns), &[(2, &plain), (6, &blocks)], groups, &blocks);
                (blocks, q8(&x, columns))
            } else {
                (plain.clone(), x.iter().map(|v| f64::from(*v)).collect())
            };
            for into in [Into::Store, Into::Add, Into::Silu] {
                let expected = product(&exact, &x_exact, columns, into, f64::from(BEFORE));
                let out_stride = expected.len() / count;
                let tile = Tile::of(matrix.dtype);
                let in_tiles = [rows.div_ceil(tile.columns) as u32, count.div_ceil(tile.rows) as u32, 1];
                let mut all = vec![(kernels::gemm(matrix.dtype, columns, into, out_stride), in_tiles)];
                for lanes in ways(&gpu) {
                    let shape = Gemv::of_few(lanes);
                    let groups = [rows.div_ceil(shape.rows_at_once()), 1, count.div_ceil(FEW_AT_ONCE)];
                    let shader = kernels::few(matrix.dtype, columns, into, out_stride, shape);
                    all.push((shader, groups.map(|groups| groups as u32)));
                }
                for (shader, groups) in all {
                    let out = upload(&gpu, &vec![BEFORE; expected.len()]);
                    let part = &matrix.parts[0];
                    let mut buffers = bindings(part);
                    buffers.extend([(2, &x_buffer), (3, &out), (4, &part.uniform), (5, &step)]);
                    let found = floats(&run(&gpu, &shader, &buffers, groups, &out));
                    let what = format!("{rows}x{columns} by {count}, {dtype} {into:?} {shader:?}");
                    assert_near(&found[..expected.len()], &expected, 2e-6, &what);
                }
            }
        }
    }
}

#[test]
fn a_wrong_weight_is_seen() {
    let Some(gpu) = gpu("a_wrong_weight_is_seen") else { return };
    let (rows, columns) = (8, 96);
    let (mut weight, x) = (numbers(1, rows * columns), numbers(2, columns));
    let expected = product(
        &held(DType::F32, &weight, columns),
        &x.iter().map(|v| f64::from(*v)).collect::<Vec<_>>(),
        columns,
        Into::Store,
        0.0,
    );
    weight[5 * columns + 77] += 1e-3;
    let matrix = matrix(&gpu, DType::F32, rows, columns, &weight);
    let shape = Gemv::of(None, rows, Into::Store);
    let (x, out) = (upload(&gpu, &x), upload(&gpu, &[0.0; 8]));
    let part = &matrix.parts[0];
    let mut buffers = bindings(part);
    buffers.extend([(2, &x), (3, &out), (4, &part.uniform)]);
    let groups = [rows.div_ceil(shape.rows_at_once()) as u32, 1, 1];
    let shader = kernels::gemv(DType::F32, columns, Into::Store, rows, shape);
    let found = floats(&run(&gpu, &shader, &buffers, groups, &out));
    let peak = expected.iter().fold(0.0_f64, |peak, value| peak.max(value.abs()));
    for (row, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let is_far = (f64::from(*found) - expected).abs() > 2e-6 * peak;
        assert_eq!(is_far, row == 5, "row {row}");
    }
}

#[test]
fn norms() {
    let Some(gpu) = gpu("norms") else { return };
    for width in [32, 50, 1300] {
        let (weight, x) = (numbers(5, width), numbers(6, 3 * width));
        let x_buffer = upload(&gpu, &padded_rows(&x, width));
        let step = gpu.uniform("step", &[3, 0, 1, 2]);
        for dtype in [DType::F32, DType::Bf16, DType::F16] {
            let matrix = block_on(Matrix::new(&gpu, dtype, &[width])).expect("fits");
            matrix.write(&gpu, 0, &weight);
            let exact = held(dtype, &weight, width);
            let expected: Vec<f64> = x
                .chunks_exact(width)
                .flat_map(|row| {
                    let mean = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / width as f64;
                    let factor = 1.0 / (mean + 1e-5).sqrt();
                    row.iter().zip(&exact).map(move |(v, w)| f64::from(*v) * factor * w).collect::<Vec<_>>()
                })
                .collect();
            for lanes in ways(&gpu) {
                let what = format!("{width} {dtype} {lanes:?}");
                let out = gpu.storage("out", 4 * (3 * padded(width)) as u64);
                let mut buffers = bindings(&matrix.parts[0]);
                buffers.push((2, &x_buffer));
                let plain = kernels::norm(dtype, width, 1e-5, false, false, lanes);
                let found = [&buffers[..], &[(3, &out)]].concat();
                let found = floats(&run(&gpu, &plain, &found, [3, 1, 1], &out));
                let found: Vec<f32> =
                    found.chunks_exact(padded(width)).flat_map(|row| row[..width].to_vec()).collect();
                assert_near(&found, &expected, 1e-6, &what);

                // The last row alone, as int8: at most half a step from it.
                let blocks = gpu.storage("blocks", 48 * (padded(width) / BLOCK) as u64);
                let shader = kernels::norm(dtype, width, 1e-5, true, true, lanes);
                let last = [&buffers[..], &[(5, &step), (6, &blocks)]].concat();
                let words = run(&gpu, &shader, &last, [1, 1, 1], &blocks);
                check_blocks(&words, &expected[2 * width..], &what);
            }
        }
    }
}

/// Int8 blocks hold these values, and the sums of their integers.
fn check_blocks(words: &[u32], expected: &[f64], what: &str) {
    for (block, values) in words.chunks_exact(12).zip(expected.chunks(BLOCK)) {
        let scale = f64::from(f32::from_bits(block[8]));
        let bytes: Vec<i8> = bytemuck::cast_slice(&block[..8]).to_vec();
        assert_eq!(bytes.iter().map(|byte| i32::from(*byte)).sum::<i32>(), block[9] as i32, "{what}");
        for (byte, value) in bytes.iter().zip(values) {
            let difference = (f64::from(*byte) * scale - value).abs();
            assert!(difference <= 0.501 * scale + 1e-6, "{what}: {byte} · {scale} for {value}");
        }
    }
}

#[test]
fn the_largest_logit_the_first_of_equals_and_nan() {
    let Some(gpu) = gpu("the_largest_logit_the_first_of_equals_and_nan") else { return };
    let vocab = 1000;
    let mut logits = numbers(9, vocab);
    let find = |logits: &[f32]| {
        let token = gpu.storage("token", 4);
        let op = block_on(Op::new(
            &mut Kernels::new(&gpu),
            &kernels::argmax(vocab),
            &[(0, &upload(&gpu, logits))],
        ))
        .expect("compiles");
        let group = op.group(&gpu, 1, &[(0, token.as_entire_binding())]);
        let mut encoder = gpu.encoder();
        op.run(
            &mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default()),
            &[&group],
            [1, 1, 1],
        );
        bytemuck::pod_collect_to_vec::<u8, u32>(&block_on(gpu.read(encoder, &token, 4)).expect("reads"))[0]
    };
    logits[700] = 3.0;
    logits[300] = 3.0;
    assert_eq!(find(&logits), 300);
    logits[999] = f32::INFINITY;
    assert_eq!(find(&logits), 999);
    logits[3] = f32::NAN;
    assert_eq!(find(&logits), u32::MAX);
    let mut low = vec![f32::NEG_INFINITY; vocab];
    assert_eq!(find(&low), 0);
    low[17] = -1e30;
    assert_eq!(find(&low), 17);
    let mut zeros = vec![-1.0; vocab];
    (zeros[40], zeros[41]) = (-0.0, 0.0);
    assert_eq!(find(&zeros), 40);
}
