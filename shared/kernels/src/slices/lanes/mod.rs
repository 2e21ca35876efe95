//! What products in integers are made of, once in the instructions of each processor that has them, and once in plain
//! loops that say what those mean.

#[cfg(any(test, not(target_arch = "wasm32")))]
pub(super) mod plain;
#[cfg(target_arch = "wasm32")]
mod wasm;
#[cfg(target_arch = "x86_64")]
mod x86;

/// Arithmetic on the values of a block, in 16 bits, and on sums of their products. A value is proof that the processor
/// has the instructions.
pub(crate) trait Lanes: Copy {
    /// 32 values of 16 bits.
    type Block: Copy;
    /// Partial sums in 32 bits.
    type Ints: Copy;
    /// As many in f32.
    type Floats: Copy;

    /// A block of activations.
    fn load(self, values: &[i16; 32]) -> Self::Block;
    /// Bytes with a sign, widened.
    fn signed_bytes(self, bytes: &[u8; 32]) -> Self::Block;
    /// Halves of bytes, widened: byte `i` holds values `i` and `i + 16`.
    fn nibbles(self, bytes: &[u8; 16]) -> Self::Block;
    /// `offset` taken from each value.
    fn less(self, block: Self::Block, offset: i16) -> Self::Block;
    /// One sum, the others zero.
    fn first(self, value: i32) -> Self::Ints;
    /// Sums of products, added to `bias`.
    fn dot(self, a: Self::Block, b: Self::Block, bias: Self::Ints) -> Self::Ints;
    /// Each value times `times`, in every lane of its own.
    fn splat_each(self, values: [f32; 4], times: f32) -> [Self::Floats; 4];
    /// Scales in f16, each times `times`, in every lane of its own. Up to four.
    fn widen_scales<const N: usize>(self, bits: [u16; N], times: f32) -> [Self::Floats; N];
    /// Nothing yet.
    fn zeros(self) -> Self::Floats;
    /// `total + sum · scale`.
    fn add_scaled(self, total: Self::Floats, sum: Self::Ints, scale: Self::Floats) -> Self::Floats;
    /// All lanes added.
    fn sum(self, total: Self::Floats) -> f32;
    /// Has the value `further` places on brought near, where a processor can be asked to; it need not exist.
    #[inline(always)]
    fn ask_for<T>(self, _from: &T, _further: usize) {}
}

/// What is computed by whichever instructions there are.
pub(crate) trait IntegerWork {
    /// Inlined into a function that is compiled for them.
    fn run<L: Lanes>(self, lanes: L);
}

/// Most rows of activations for which products in integers are faster than in f32; `None` where they never are. In wasm
/// they always are: its vectors have 128 bits, and twice as many lanes as f32 has. Elsewhere what few rows cost is the
/// widening of weights, which takes fewer instructions to 16 bits than to f32; many rows share it.
pub(crate) fn most_rows() -> Option<usize> {
    #[cfg(target_arch = "wasm32")]
    return Some(usize::MAX);
    #[cfg(target_arch = "x86_64")]
    return pulp::x86::V3::is_available().then_some(FEW_ROWS);
    #[cfg(not(any(target_arch = "wasm32", target_arch = "x86_64")))]
    None
}

/// Rows that read a weight as often as they are.
#[cfg(target_arch = "x86_64")]
const FEW_ROWS: usize = 8;

/// Runs `work` by the best instructions of this processor.
#[inline(always)]
pub(crate) fn integers(work: impl IntegerWork) {
    #[cfg(target_arch = "wasm32")]
    return work.run(wasm::Simd128);
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V3::try_new() {
        return simd.vectorize(
            #[inline(always)]
            || work.run(simd),
        );
    }
    #[cfg(not(target_arch = "wasm32"))]
    work.run(plain::Plain);
}
