//! The steps of the model on candle tensors, each written into a buffer that exists already.
//!
//! candle's own ops allocate what they return, which aborts the process where memory is short, and on a CPU they
//! sum RMSNorm and softmax in the tensor's format; these follow Hugging Face's casts instead.
//! Activations are f32 tensors whose values are rounded to the model's format.

mod attention;
mod linear;
mod rows;

pub use attention::{Heads, Segment, append, attend};
pub use linear::linear;
pub(crate) use linear::multiply;
pub use rows::{add, embed, rms_norm, rotate, silu_mul, write, write_rows};

use std::cell::Cell;

use candle_core::{CpuStorage, Error, InplaceOp1, InplaceOp2, InplaceOp3, Layout, Result, Storage, Tensor};
use half::{bf16, f16};

/// The elements of a contiguous tensor in one of the formats that models are held in.
#[derive(Clone, Copy)]
#[expect(missing_docs, reason = "the names are the field's own")]
pub enum Values<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
    F16(&'a [f16]),
}

/// The same, to write.
pub(crate) enum ValuesMut<'a> {
    F32(&'a mut [f32]),
    Bf16(&'a mut [bf16]),
    F16(&'a mut [f16]),
}

/// Does the same with whatever format a tensor has: `each_format!(Values, values, |slice| expression)`.
macro_rules! each_format {
    ($kind:ident, $values:expr, |$slice:ident| $body:expr) => {
        match $values {
            $crate::ops::$kind::F32($slice) => $body,
            $crate::ops::$kind::Bf16($slice) => $body,
            $crate::ops::$kind::F16($slice) => $body,
        }
    };
}
pub(crate) use each_format;

impl<'a> Values<'a> {
    /// Those of a tensor.
    ///
    /// # Errors
    /// It is not contiguous, or holds no floats.
    pub fn of(storage: &'a CpuStorage, layout: &Layout) -> Result<Self> {
        let (start, end) = span(layout)?;
        match storage {
            CpuStorage::F32(values) => Ok(Self::F32(&values[start..end])),
            CpuStorage::BF16(values) => Ok(Self::Bf16(&values[start..end])),
            CpuStorage::F16(values) => Ok(Self::F16(&values[start..end])),
            other => Err(unexpected(other)),
        }
    }

    /// Those of activations.
    ///
    /// # Errors
    /// They are narrower than f32.
    pub fn f32(self) -> Result<&'a [f32]> {
        match self {
            Self::F32(values) => Ok(values),
            _ => Err(Error::Msg("activations are f32".to_owned())),
        }
    }
}

impl<'a> ValuesMut<'a> {
    fn of(storage: &'a mut CpuStorage, layout: &Layout) -> Result<Self> {
        let (start, end) = span(layout)?;
        match storage {
            CpuStorage::F32(values) => Ok(Self::F32(&mut values[start..end])),
            CpuStorage::BF16(values) => Ok(Self::Bf16(&mut values[start..end])),
            CpuStorage::F16(values) => Ok(Self::F16(&mut values[start..end])),
            other => Err(unexpected(other)),
        }
    }

    fn f32(self) -> Result<&'a mut [f32]> {
        match self {
            Self::F32(values) => Ok(values),
            _ => Err(Error::Msg("activations are f32".to_owned())),
        }
    }
}

/// Shows the elements of a tensor.
pub(crate) fn with_values<R>(tensor: &Tensor, show: impl FnOnce(Values<'_>) -> Result<R>) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => show(Values::of(storage, layout)?),
        _ => Err(Error::Msg("a tensor of the engine is not on the CPU".to_owned())),
    }
}

fn span(layout: &Layout) -> Result<(usize, usize)> {
    layout
        .contiguous_offsets()
        .ok_or_else(|| Error::Msg("a tensor of the engine is not contiguous".to_owned()))
}

fn unexpected(storage: &CpuStorage) -> Error {
    use candle_core::backend::BackendStorage as _;
    Error::Msg(format!("no tensor of the engine is {:?}", storage.dtype()))
}

/// A closure as candle's in-place op: writes its first tensor, reads the others.
struct Kernel<F> {
    name: &'static str,
    work: Cell<Option<F>>,
}

impl<F> Kernel<F> {
    fn new(name: &'static str, work: F) -> Self {
        Self { name, work: Cell::new(Some(work)) }
    }

    fn run<const N: usize>(
        &self,
        out: (&mut CpuStorage, &Layout),
        inputs: [(&CpuStorage, &Layout); N],
    ) -> Result<()>
    where
        F: FnOnce(ValuesMut<'_>, [Values<'_>; N]) -> Result<()>,
    {
        let mut values = [Values::F32(&[]); N];
        for (value, (storage, layout)) in values.iter_mut().zip(inputs) {
            *value = Values::of(storage, layout)?;
        }
        let work = self.work.take().ok_or_else(|| Error::Msg(format!("{} ran twice", self.name)))?;
        work(ValuesMut::of(out.0, out.1)?, values)
    }
}

impl<F: FnOnce(ValuesMut<'_>, [Values<'_>; 0]) -> Result<()>> InplaceOp1 for Kernel<F> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, out: &mut CpuStorage, layout: &Layout) -> Result<()> {
        self.run((out, layout), [])
    }
}

impl<F: FnOnce(ValuesMut<'_>, [Values<'_>; 1]) -> Result<()>> InplaceOp2 for Kernel<F> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        out: &mut CpuStorage,
        layout: &Layout,
        a: &CpuStorage,
        a_layout: &Layout,
    ) -> Result<()> {
        self.run((out, layout), [(a, a_layout)])
    }
}

impl<F: FnOnce(ValuesMut<'_>, [Values<'_>; 2]) -> Result<()>> InplaceOp3 for Kernel<F> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        out: &mut CpuStorage,
        layout: &Layout,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<()> {
        self.run((out, layout), [(a, a_layout), (b, b_layout)])
    }
}

pub(crate) fn update0<F>(name: &'static str, out: &Tensor, work: F) -> Result<()>
where
    F: FnOnce(ValuesMut<'_>, [Values<'_>; 0]) -> Result<()>,
{
    out.inplace_op1(&Kernel::new(name, work))
}

fn update1<F>(name: &'static str, out: &Tensor, a: &Tensor, work: F) -> Result<()>
where
    F: FnOnce(ValuesMut<'_>, [Values<'_>; 1]) -> Result<()>,
{
    out.inplace_op2(a, &Kernel::new(name, work))
}

fn update2<F>(name: &'static str, out: &Tensor, a: &Tensor, b: &Tensor, work: F) -> Result<()>
where
    F: FnOnce(ValuesMut<'_>, [Values<'_>; 2]) -> Result<()>,
{
    out.inplace_op3(a, b, &Kernel::new(name, work))
}
