//! Upper bounds of what a config is believed. Far above any model, low enough that no product overflows `u128`
//! and that nothing is allocated by a number alone.

pub(crate) const WIDTH: usize = 1 << 20;
pub(crate) const LAYERS: usize = 1 << 12;
pub(crate) const HEADS: usize = 1 << 14;
pub(crate) const HEAD_DIM: usize = 1 << 13;
pub(crate) const VOCAB: usize = 1 << 24;
pub(crate) const POSITIONS: usize = 1 << 27;
pub(crate) const EXPERTS: usize = 1 << 16;
/// Experts that every token goes through: their widths are added, in 32 bits where the browser computes.
pub(crate) const SHARED_EXPERTS: usize = 1 << 8;
pub(crate) const STREAMS: usize = 1 << 6;
