//! A GGUF file written byte by byte, well or badly.

/// Appends the parts of a header.
#[derive(Clone, Default)]
pub(crate) struct Writer(pub(in crate::weights) Vec<u8>);

impl Writer {
    pub(crate) fn start(version: u32, tensors: u64, keys: u64) -> Self {
        Self(b"GGUF".to_vec()).u32(version).u64(tensors).u64(keys)
    }

    pub(crate) fn u32(self, number: u32) -> Self {
        self.raw(&number.to_le_bytes())
    }

    pub(crate) fn u64(self, number: u64) -> Self {
        self.raw(&number.to_le_bytes())
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn string(self, text: &str) -> Self {
        self.u64(text.len() as u64).raw(text.as_bytes())
    }

    pub(crate) fn text(self, key: &str, value: &str) -> Self {
        self.string(key).u32(8).string(value)
    }

    pub(crate) fn number(self, key: &str, value: u32) -> Self {
        self.string(key).u32(4).u32(value)
    }

    pub(crate) fn float(self, key: &str, value: f32) -> Self {
        self.string(key).u32(6).raw(&value.to_le_bytes())
    }

    pub(crate) fn texts(self, key: &str, values: &[&str]) -> Self {
        let start = self.string(key).u32(9).u32(8).u64(values.len() as u64);
        values.iter().fold(start, |writer, value| writer.string(value))
    }

    pub(crate) fn numbers(self, key: &str, values: &[i32]) -> Self {
        let start = self.string(key).u32(9).u32(5).u64(values.len() as u64);
        values.iter().fold(start, |writer, value| writer.raw(&value.to_le_bytes()))
    }

    pub(crate) fn flags(self, key: &str, values: &[bool]) -> Self {
        let start = self.string(key).u32(9).u32(7).u64(values.len() as u64);
        values.iter().fold(start, |writer, value| writer.raw(&[u8::from(*value)]))
    }

    /// A tensor's entry; `dims` fastest first, as in the file.
    pub(crate) fn tensor(self, name: &str, dims: &[u64], kind: u32, offset: u64) -> Self {
        let start = self.string(name).u32(dims.len() as u32);
        dims.iter().fold(start, |writer, d| writer.u64(*d)).u32(kind).u64(offset)
    }

    /// Pads the header and appends `len` bytes of data.
    pub(crate) fn data(mut self, len: usize) -> Vec<u8> {
        let start = self.0.len().next_multiple_of(32);
        self.0.resize(start + len, 0);
        self.0
    }

    /// Pads the header and appends data.
    pub(crate) fn with_data(self, data: &[u8]) -> Vec<u8> {
        let mut bytes = self.data(0);
        bytes.extend_from_slice(data);
        bytes
    }
}

/// A whole file: keys and tensors that tests add, replace and take away.
#[derive(Clone, Default)]
pub(crate) struct File {
    keys: Vec<(String, Writer)>,
    tensors: Vec<(String, Vec<u64>, u32, Vec<u8>)>,
}

impl File {
    /// Adds a key or replaces it: `put` writes key and value.
    pub(crate) fn key(mut self, key: &str, put: impl FnOnce(Writer, &str) -> Writer) -> Self {
        self.keys.retain(|(known, _)| known != key);
        self.keys.push((key.to_owned(), put(Writer::default(), key)));
        self
    }

    pub(crate) fn number(self, key: &str, value: u32) -> Self {
        self.key(key, |writer, key| writer.number(key, value))
    }

    pub(crate) fn text(self, key: &str, value: &str) -> Self {
        self.key(key, |writer, key| writer.text(key, value))
    }

    /// Adds an f32 tensor, or replaces it; each row is filled with `first` plus its number.
    pub(crate) fn tensor(self, name: &str, shape: &[u64], first: f32) -> Self {
        let (columns, rows) = (shape[shape.len() - 1], shape[..shape.len() - 1].iter().product::<u64>());
        let row = |row: u64| (first + row as f32).to_le_bytes().repeat(columns as usize);
        let dims: Vec<u64> = shape.iter().rev().copied().collect();
        self.tensor_of(name, &dims, 0, (0..rows).flat_map(row).collect())
    }

    /// Adds a tensor of any type, or replaces it; `dims` fastest first.
    pub(crate) fn tensor_of(mut self, name: &str, dims: &[u64], kind: u32, data: Vec<u8>) -> Self {
        self.tensors.retain(|(known, ..)| known != name);
        self.tensors.push((name.to_owned(), dims.to_vec(), kind, data));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.keys.retain(|(key, _)| key != name);
        self.tensors.retain(|(tensor, ..)| tensor != name);
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut writer = Writer::start(3, self.tensors.len() as u64, self.keys.len() as u64);
        for (_, key) in &self.keys {
            writer = writer.raw(&key.0);
        }
        let mut data: Vec<u8> = Vec::new();
        for (name, dims, kind, bytes) in &self.tensors {
            data.resize(data.len().next_multiple_of(32), 0);
            writer = writer.tensor(name, dims, *kind, data.len() as u64);
            data.extend_from_slice(bytes);
        }
        writer.with_data(&data)
    }
}
