use kernels::{BLOCK, BlockFormat, BlockMatrix, quantize};

use super::load::block_format;
use crate::dtype::DType;
use crate::weights::gguf::dequantize;

/// The reader of GGUF, tested against ggml's own bytes, reads what was quantized as the engine does, to the bit.
#[test]
fn what_is_quantized_is_read_by_the_reader_of_gguf() {
    let columns = BLOCK * 40;
    let values: Vec<f32> =
        (0..columns).map(|i| ((i * 37 % 101) as f32 - 50.0) / 64.0 * (i / BLOCK) as f32).collect();
    for dtype in [DType::Q8_0, DType::Q4_0] {
        let format = block_format(dtype).expect("a format of blocks");
        assert_eq!(format.bytes() as u64, dtype.block_bytes());
        let mut bytes = vec![0; columns / BLOCK * format.bytes()];
        quantize(format, &values, &mut bytes);
        let mut read = vec![f32::NAN; columns];
        dequantize(dtype, &bytes, &mut read);
        let mut widened = vec![0.0; columns];
        BlockMatrix { format, rows: 1, columns, bytes }.widen_row(0, &mut widened);
        assert_eq!(widened, read, "{dtype}");
        assert!(
            values.iter().zip(&read).all(|(value, read)| (value - read).abs() <= 40.0 * 0.8 / 8.0),
            "{dtype}"
        );
    }
    assert_eq!(block_format(DType::Bf16), None::<BlockFormat>);
}
