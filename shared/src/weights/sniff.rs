//! Recognising what is no weight file before parsing it as one.

use super::text::one_line;
use super::{WeightSource, WeightsError, WeightsProblem};

/// Bytes looked at.
const HEAD: usize = 512;

/// Reads the first bytes of a file and refuses what is something else under a weight file's name.
pub(super) async fn read_head<S: WeightSource>(file: &str, source: &S) -> Result<Vec<u8>, WeightsError> {
    let mut head = vec![0; source.len().min(HEAD as u64) as usize];
    source.read_into(0, &mut head).await.map_err(|error| WeightsError::new(file, error))?;
    match impostor(&head) {
        Some(what) => Err(WeightsError::new(file, WeightsProblem::NotWeights(what))),
        None => Ok(head),
    }
}

/// What a file is that was meant to be JSON, where its first bytes tell that it is none, and what to do about it.
#[must_use]
pub fn no_json(head: &[u8]) -> Option<String> {
    let after_mark = head.strip_prefix(b"\xef\xbb\xbf");
    let text = after_mark.unwrap_or(head).trim_ascii_start();
    match text.starts_with(b"{") || text.starts_with(b"[") {
        true => after_mark
            .map(|_| "it begins with a byte order mark, which JSON must not have: take it out".to_owned()),
        false => impostor(head),
    }
}

/// What the file is if it is no weight file, and what to do about it.
fn impostor(head: &[u8]) -> Option<String> {
    // A safetensors file may start with any byte: its length field. Only the brace after it tells.
    if head.get(8) == Some(&b'{') {
        return None;
    }
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let starts = |prefix: &str| {
        text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    let what = if head.is_empty() {
        "it is empty (0 bytes): download it again"
    } else if starts("version https://git-lfs") {
        "it is a Git-LFS pointer: run `git lfs pull` in the repository, or download the file itself"
    } else if starts("<!doctype") || starts("<html") || starts("<?xml") {
        "it is an HTML or XML page, saved instead of the file: download it again"
    } else if head.starts_with(b"\x1f\x8b") {
        "it is gzip data: unpack it first"
    } else if head.starts_with(b"PK\x03\x04") {
        "it is a zip archive, as PyTorch pickles are: pickle is never loaded, convert it to safetensors"
    } else if head.first() == Some(&0x80) && head.get(1).is_some_and(|version| (2..=5).contains(version)) {
        "it is a Python pickle, which is never loaded: convert it to safetensors"
    } else if starts("{") || starts("[") {
        return Some(format!(
            "it is JSON text: `{}`; download the file itself",
            one_line(String::from_utf8_lossy(text))
        ));
    } else {
        return None;
    };
    Some(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impostors_are_named() {
        let cases: [(&[u8], &str); 9] = [
            (b"", "0 bytes"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 5\n", "Git-LFS"),
            (b"<!DOCTYPE html><html>", "HTML"),
            (b"\n\n<html lang=en>", "HTML"),
            (b"\x1f\x8b\x08\0\0\0\0\0\0", "gzip"),
            (b"PK\x03\x04\0\0\0\0\0\0", "pickle"),
            (b"\x80\x02}q\0X\x05\0\0\0", "pickle"),
            (b"{\"error\":\"Repository not found\"}", "Repository not found"),
            (b"[1, 2, 3]", "JSON"),
        ];
        for (head, expected) in cases {
            let found = impostor(head).unwrap_or_default();
            assert!(found.contains(expected), "{found} / {expected}");
        }
    }

    #[test]
    fn a_length_field_that_looks_like_something_else_passes() {
        for length in [0x8b1f_u64, 0x0280, 0x0403_4b50, u64::from(b'{')] {
            let mut head = length.to_le_bytes().to_vec();
            head.push(b'{');
            assert_eq!(impostor(&head), None);
        }
    }
}
