//! The logits of a whole sequence as a file of safetensors.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use phi3::api::ErrorObject;
use phi3::dtype::DType;
use phi3::engine::Diagnostics;
use phi3::weights::safetensors::{Layout, NewTensor};

/// Writes one tensor `logits`, f32 `[tokens, vocab_size]`, beside `out` and then in its place.
pub(crate) async fn write<E: Diagnostics>(
    engine: &mut E,
    vocab_size: usize,
    tokens: &[u32],
    out: &str,
) -> Result<(), ErrorObject> {
    let refuse =
        |error: std::io::Error| ErrorObject::new("output_not_writable", format!("{out}: {error}")).at(out);
    let part = Part::beside(Path::new(out));
    let mut file = BufWriter::new(File::create_new(&part.0).map_err(refuse)?);
    let tensor =
        NewTensor { name: "logits".to_owned(), dtype: DType::F32, shape: vec![tokens.len(), vocab_size] };
    let mut written = file.write_all(&Layout::new(out.to_owned(), vec![tensor]).header);
    engine
        .logits(tokens, &mut |_, row| {
            for value in row {
                if written.is_ok() {
                    written = file.write_all(&value.to_le_bytes());
                }
            }
        })
        .await
        .map_err(|error| ErrorObject::new(error.code(), error.to_string()))?;
    written.and_then(|()| file.flush()).and_then(|()| std::fs::rename(&part.0, out)).map_err(refuse)
}

/// A file that is removed unless it was renamed.
struct Part(PathBuf);

impl Part {
    fn beside(out: &Path) -> Self {
        let mut name = out.file_name().unwrap_or_default().to_owned();
        name.push(format!(".part-{}", std::process::id()));
        Self(out.with_file_name(name))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}
