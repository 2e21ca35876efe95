//! Number formats that weights and caches are held in.

use half::slice::HalfFloatSliceExt as _;
use half::{bf16, f16};

use super::simd;
use crate::Precision;

/// A format that widens to f32 exactly.
pub trait Float: bytemuck::Pod + Send + Sync {
    /// The value in f32.
    fn widen(self) -> f32;
    /// The nearest value, ties to even.
    fn narrow(value: f32) -> Self;
    /// Each of `from`, narrowed. Compiled here, whoever calls.
    fn narrow_all(from: &[f32], to: &mut [Self]);
    /// The same slice, where it is f32 already.
    fn as_f32(values: &[Self]) -> Option<&[f32]>;
    /// The same, to write.
    fn as_f32_mut(values: &mut [Self]) -> Option<&mut [f32]>;
}

impl Float for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    #[inline(always)]
    fn narrow(value: f32) -> Self {
        value
    }

    fn narrow_all(from: &[f32], to: &mut [Self]) {
        to.copy_from_slice(from);
    }

    #[inline(always)]
    fn as_f32(values: &[Self]) -> Option<&[f32]> {
        Some(values)
    }

    fn as_f32_mut(values: &mut [Self]) -> Option<&mut [f32]> {
        Some(values)
    }
}

impl Float for bf16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    fn narrow(value: f32) -> Self {
        Self::from_bits((round_bf16(value).to_bits() >> 16) as u16)
    }

    fn narrow_all(from: &[f32], to: &mut [Self]) {
        to.iter_mut().zip(from).for_each(|(to, from)| *to = Self::narrow(*from));
    }

    #[inline(always)]
    fn as_f32(_: &[Self]) -> Option<&[f32]> {
        None
    }

    fn as_f32_mut(_: &mut [Self]) -> Option<&mut [f32]> {
        None
    }
}

impl Float for f16 {
    // Integer arithmetic instead of `half`'s conversion, which asks the processor for each value: this vectorises.
    #[inline(always)]
    fn widen(self) -> f32 {
        let bits = u32::from(self.to_bits());
        let magnitude = (bits & 0x7fff) << 13;
        // The exponent's bias differs by 112; the product also puts subnormals right.
        let finite = f32::from_bits(magnitude) * f32::from_bits((112 + 127) << 23);
        let special = f32::from_bits(magnitude | 0x7f80_0000);
        let value = if bits & 0x7c00 == 0x7c00 { special } else { finite };
        f32::from_bits(value.to_bits() | (bits & 0x8000) << 16)
    }

    #[inline(always)]
    fn narrow(value: f32) -> Self {
        Self::from_f32(value)
    }

    fn narrow_all(from: &[f32], to: &mut [Self]) {
        to.convert_from_f32_slice(from);
    }

    #[inline(always)]
    fn as_f32(_: &[Self]) -> Option<&[f32]> {
        None
    }

    fn as_f32_mut(_: &mut [Self]) -> Option<&mut [f32]> {
        None
    }
}

/// The values in f32: as they are, or widened into `panel`.
pub(crate) fn widened<'a, W: Float>(values: &'a [W], panel: &'a mut [f32]) -> &'a [f32] {
    if let Some(values) = W::as_f32(values) {
        return values;
    }
    let panel = &mut panel[..values.len()];
    simd(
        #[inline(always)]
        || panel.iter_mut().zip(values).for_each(|(out, value)| *out = value.widen()),
    );
    panel
}

/// Rounds each value to what `precision` can hold.
#[inline(always)]
pub fn round(precision: Precision, values: &mut [f32]) {
    match precision {
        Precision::Bf16 => values.iter_mut().for_each(|value| *value = round_bf16(*value)),
        Precision::F16 => values.iter_mut().for_each(|value| *value = round_f16(*value)),
        _ => {}
    }
}

#[inline(always)]
fn round_bf16(value: f32) -> f32 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) & 0xffff_0000;
    // A NaN must not be carried over into an infinity.
    f32::from_bits(if value.is_nan() { bits & 0xffff_0000 | 0x0040_0000 } else { rounded })
}

#[inline(always)]
fn round_f16(value: f32) -> f32 {
    let bits = value.to_bits();
    let magnitude = f32::from_bits(bits & 0x7fff_ffff);
    let normal = f32::from_bits((magnitude.to_bits() + 0xfff + (magnitude.to_bits() >> 13 & 1)) & !0x1fff);
    // Below 2^-14 f16 counts in steps of 2^-24, as f32 does from 0.5 on.
    let subnormal = (magnitude + 0.5) - 0.5;
    let rounded = if magnitude < 6.103_515_6e-5 { subnormal } else { normal };
    let rounded = if rounded > 65504.0 { f32::INFINITY } else { rounded };
    let rounded = if value.is_nan() { value } else { rounded };
    f32::from_bits(rounded.to_bits() | bits & 0x8000_0000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every f16 and bf16, and the f32 on both sides of each and of each midpoint: against `half`.
    #[test]
    fn widening_and_rounding_are_those_of_half() {
        let same = |a: f32, b: f32| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
        for bits in 0..=u16::MAX {
            assert!(same(Float::widen(f16::from_bits(bits)), f16::from_bits(bits).to_f32()), "{bits:#x}");
            assert!(same(Float::widen(bf16::from_bits(bits)), bf16::from_bits(bits).to_f32()), "{bits:#x}");
            let next = bits.wrapping_add(1);
            let f16s = [f16::from_bits(bits).to_f32(), f16::from_bits(next).to_f32()];
            let bf16s = [bf16::from_bits(bits).to_f32(), bf16::from_bits(next).to_f32()];
            for [a, b] in [f16s, bf16s] {
                let middle = a / 2.0 + b / 2.0;
                for value in [a, middle, middle.next_up(), middle.next_down()] {
                    let mut rounded = [value];
                    round(Precision::F16, &mut rounded);
                    assert!(same(rounded[0], f16::from_f32(value).to_f32()), "{value:e} to f16");
                    assert!(
                        same(bf16::narrow(value).to_f32(), bf16::from_f32(value).to_f32()),
                        "{value:e} to bf16"
                    );
                }
            }
        }
    }
}
