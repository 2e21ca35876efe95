use super::*;
use crate::weights::{BytesSource, Checkpoint};

/// A file with this header and `data` zero bytes.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn open(bytes: Vec<u8>) -> Result<Vec<TensorEntry>, WeightsError> {
    pollster::block_on(read_header("m.safetensors", &BytesSource(bytes)))
}

#[test]
fn a_good_file_is_read_in_the_order_of_its_data() {
    let header = r#"{"b":{"dtype":"F32","shape":[2,2],"data_offsets":[2,18]},"__metadata__":{"format":"pt"},
        "a":{"dtype":"BF16","shape":[],"data_offsets":[0,2]},"c":{"dtype":"F32","shape":[0,5],"data_offsets":[18,18]}}   "#;
    let start = 8 + header.len() as u64;
    let entries = open(file(header, 18)).expect("good");
    let found: Vec<_> = entries.iter().map(|e| (e.name.as_str(), e.dtype, e.offset - start, e.len)).collect();
    assert_eq!(found, [("a", DType::Bf16, 0, 2), ("b", DType::F32, 2, 16), ("c", DType::F32, 18, 0)]);
    assert_eq!(entries[1].shape, [2, 2]);
}

/// Each line: the header, bytes of data after it, the code and a part of the message.
#[test]
fn headers_that_lie_are_refused_with_their_reason() {
    let one = |dtype: &str, shape: &str, begin: u64, end: u64| {
        format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{begin},{end}]}}}}"#)
    };
    let two = |a: &str, b: &str| {
        format!(
            r#"{{"a":{{"dtype":"U8","shape":[4],"data_offsets":{a}}},"b":{{"dtype":"U8","shape":[4],"data_offsets":{b}}}}}"#
        )
    };
    let ones = "1,".repeat(16);
    let deep = format!(r#"{{"a":{}}}"#, "[".repeat(200));
    let (corrupt, unsupported) = ("weights_corrupt", "weights_unsupported");
    let cases: Vec<(String, usize, &str, &str)> = vec![
        (String::new(), 0, corrupt, "EOF"),
        ("[]".to_owned(), 0, corrupt, "an object of tensors"),
        ("{\"a\":1}".to_owned(), 0, corrupt, "expected an object at byte 5"),
        ("{\"a\":{}}".to_owned(), 0, corrupt, "missing field"),
        ("{}x".to_owned(), 0, corrupt, "trailing characters"),
        (deep, 0, corrupt, "expected an object"),
        ("{\"__metadata__\":{\"a\":1}}".to_owned(), 0, corrupt, "a string at byte"),
        ("{\"__metadata__\":{},\"__metadata__\":{}}".to_owned(), 0, corrupt, "stands twice"),
        ("{}".to_owned(), 5, corrupt, "more after the last tensor: 5 bytes"),
        (one("F32", "[2]", 0, 8), 7, corrupt, "it is cut"),
        (one("F32", "[2]", 0, 8), 9, corrupt, "more after the last tensor: 1 byte"),
        (one("F32", "[2]", 4, 12), 12, corrupt, "leaves a hole"),
        (one("F32", "[2]", 8, 0), 8, corrupt, "8 bytes, but the range 8..0"),
        (one("F32", "[3]", 0, 8), 8, corrupt, "12 bytes, but the range 0..8"),
        (one("F32", "[-1]", 0, 8), 8, corrupt, "a whole number from 0 to 2^64, found -1"),
        (one("F32", "[1.5]", 0, 8), 8, corrupt, "found 1.5"),
        (one("F32", "[0,18446744073709551615]", 0, 0), 0, corrupt, "impossible shape"),
        (one("F32", "[4294967296,4294967296]", 0, 0), 0, corrupt, "impossible shape"),
        (one("U8", "[18446744073709551615]", 0, 18_446_744_073_709_551_615), 0, corrupt, "impossible shape"),
        (
            one("U8", "[0]", 18_446_744_073_709_551_615, 18_446_744_073_709_551_615),
            0,
            corrupt,
            "impossible range",
        ),
        (one("U8", &format!("[{ones}1]"), 0, 1), 1, corrupt, "at most 16 dimensions"),
        (one("F4", "[3]", 0, 1), 1, corrupt, "no whole number of bytes"),
        (one("F4", "[]", 0, 0), 0, corrupt, "no whole number of bytes"),
        (one("F4", "[4]", 0, 4), 4, corrupt, "2 bytes, but the range 0..4"),
        (one("F9", "[2]", 0, 1), 1, unsupported, "dtype `F9`"),
        (one("Q4_K", "[2]", 0, 1), 1, unsupported, "dtype `Q4_K`"),
        (two("[0,4]", "[0,4]"), 4, corrupt, "`b` overlaps"),
        (two("[0,4]", "[3,7]"), 7, corrupt, "`b` overlaps"),
        (two("[0,4]", "[5,9]"), 9, corrupt, "`b` leaves a hole"),
        (two("[0,4]", "[4,8]").replace("\"b\"", "\"a\""), 8, corrupt, "`a` stands twice"),
    ];
    for (header, data, code, part) in cases {
        let error = open(file(&header, data)).expect_err(&header);
        assert_eq!(error.code(), code, "{header}: {error}");
        assert!(error.to_string().contains(part), "{header}: {error}");
    }
}

#[test]
fn header_lengths_are_held_against_the_file_and_the_cap() {
    for (length, total) in [(u64::MAX, 64), (1 << 63, 64), (57, 64), (MAX_HEADER_BYTES + 1, 64)] {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.resize(total, b' ');
        assert_eq!(open(bytes).expect_err("refused").code(), "weights_corrupt", "{length}");
    }
    assert_eq!(open(vec![1; 7]).expect_err("refused").code(), "weights_corrupt");
    assert_eq!(open(Vec::new()).expect_err("refused").code(), "not_a_weight_file");
    let gguf = open(b"GGUF\x03\0\0\0\0\0\0\0".to_vec()).expect_err("refused");
    assert!(gguf.to_string().contains("GGUF"), "{gguf}");
}

/// What the reference crate writes is read, with the same ranges; cut anywhere, it is refused.
#[test]
fn files_of_the_reference_crate_are_read_and_cut_ones_refused() {
    use safetensors::tensor::{Dtype, TensorView};
    let data: Vec<u8> = (0..48).collect();
    let views =
        [("x", Dtype::F32, vec![2, 3]), ("y", Dtype::F64, vec![6]), ("z", Dtype::BF16, vec![4, 3, 2])].map(
            |(name, dtype, shape)| {
                let len = shape.iter().product::<usize>() * dtype.bitsize() / 8;
                (name, TensorView::new(dtype, shape, &data[..len]).expect("sizes agree"))
            },
        );
    let bytes = safetensors::serialize(views, None).expect("writes");
    let theirs = safetensors::SafeTensors::deserialize(&bytes).expect("reads");
    let checkpoint = pollster::block_on(Checkpoint::from_safetensors(vec![(
        "m.safetensors".to_owned(),
        BytesSource(bytes.clone()),
    )]))
    .expect("good");
    for (name, view) in theirs.tensors() {
        let mut buffer = vec![0; view.data().len()];
        pollster::block_on(checkpoint.read(&name, &mut buffer)).expect("there");
        assert_eq!((buffer.as_slice(), &checkpoint.tensors()[&name].shape[..]), (view.data(), view.shape()));
    }
    for end in 0..bytes.len() {
        assert!(open(bytes[..end].to_vec()).is_err(), "cut at {end}");
    }
}

/// Every format of the reference crate, those of less than a byte too, takes the bytes that it takes there.
#[test]
fn every_format_of_the_reference_crate_is_counted() {
    use safetensors::tensor::{Dtype, TensorView};
    let all = [
        Dtype::BOOL,
        Dtype::F4,
        Dtype::F6_E2M3,
        Dtype::F6_E3M2,
        Dtype::U8,
        Dtype::I8,
        Dtype::F8_E5M2,
        Dtype::F8_E4M3,
        Dtype::F8_E8M0,
        Dtype::F8_E4M3FNUZ,
        Dtype::F8_E5M2FNUZ,
        Dtype::I16,
        Dtype::U16,
        Dtype::I32,
        Dtype::U32,
        Dtype::F16,
        Dtype::BF16,
        Dtype::F32,
        Dtype::C64,
        Dtype::F64,
        Dtype::I64,
        Dtype::U64,
    ];
    let data = [0; 96];
    for dtype in all {
        // Rows of three: two of them are whole bytes in four bits, four in six.
        let bytes = 12 * dtype.bitsize() / 8;
        let view = TensorView::new(dtype, vec![4, 3], &data[..bytes]).expect("sizes agree");
        let file = safetensors::serialize([("x", view)], None).expect("writes");
        let entries = open(file).unwrap_or_else(|error| panic!("{dtype}: {error}"));
        assert_eq!((entries[0].len, &entries[0].shape[..]), (bytes as u64, &[4, 3][..]), "{dtype}");
    }
}
