//! How large things may grow.

use super::{File, assert_none, repository};

const MAX_LINES: usize = 600;
/// Longer files, each with its reason.
const LONG_FILES: [(&str, &str); 0] = [];

/// Folders with a limit in bytes; a file counts in the first that holds it.
const MAX_BYTES: [(&str, u64); 4] = [
    // The embedded model: fetched when it is first used.
    ("public/tiny/", 4_000_000),
    // A first visit may load any of it.
    ("public/", 1 << 20),
    // Goldens and fixtures: small enough that a clone stays quick.
    ("tests/goldens/", 2_900_000),
    ("tests/data/", 100_000),
];

fn long_files(files: &[File]) -> Vec<String> {
    let source = |file: &&File| {
        [".rs", ".mjs", ".js", ".sh", ".css", ".py"].iter().any(|end| file.path.ends_with(end))
    };
    files
        .iter()
        .filter(source)
        .filter(|file| file.text.lines().count() > MAX_LINES)
        .filter(|file| !LONG_FILES.iter().any(|(path, _)| *path == file.path))
        .map(|file| {
            let lines = file.text.lines().count();
            format!("{}: {lines} lines, over {MAX_LINES}: split it, or list it with a reason", file.path)
        })
        .collect()
}

fn heavy_folders(files: &[File]) -> Vec<String> {
    MAX_BYTES
        .iter()
        .filter_map(|(folder, limit)| {
            let home = |file: &&File| {
                let mut folders = MAX_BYTES.iter().map(|(folder, _)| folder);
                folders.find(|home| file.path.starts_with(**home)) == Some(folder)
            };
            let bytes: u64 = files.iter().filter(home).map(|file| file.bytes).sum();
            (bytes > *limit).then(|| format!("{folder}: {bytes} bytes, over {limit}"))
        })
        .collect()
}

#[test]
fn files_are_short() {
    assert_none(&long_files(&repository()));
}

#[test]
fn folders_are_light() {
    assert_none(&heavy_folders(&repository()));
}

#[test]
fn a_long_file_and_a_heavy_folder_are_found() {
    assert_eq!(long_files(&[File::new("app/src/a.rs", &"\n".repeat(MAX_LINES + 1))]).len(), 1);
    assert_none(&long_files(&[File::new("app/src/a.rs", &"\n".repeat(MAX_LINES))]));
    let mut file = File::new("public/model.bin", "");
    file.bytes = (1 << 20) + 1;
    assert_eq!(heavy_folders(&[file]).len(), 1);
    let mut file = File::new("public/tiny/model.safetensors", "");
    file.bytes = 4_000_000;
    assert_none(&heavy_folders(&[file]));
}
