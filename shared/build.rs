//! Compiles the CUDA kernels where the feature `cuda` is on: machine code for compute capability 9.0 and PTX for later ones.
//!
//! `PREFLIGHT_WITHOUT_NVCC=1` leaves them out, so that the Rust side can be checked where no CUDA is installed: what is
//! built so refuses to load a model on CUDA.

use std::path::PathBuf;
use std::process::Command;

const KERNELS: [&str; 6] = ["rows", "gemv", "across", "few", "attention", "flash"];

/// Code for a device, and for later ones what their driver compiles. Warpgroups are known to 9.0 alone, under a name of
/// its own.
fn targets(kernel: &str) -> &'static [&'static str] {
    match kernel {
        "flash" => {
            &["-gencode", "arch=compute_90a,code=sm_90a", "-gencode", "arch=compute_90,code=compute_90"]
        }
        _ => &["-gencode", "arch=compute_90,code=[sm_90,compute_90]"],
    }
}

fn main() {
    println!("cargo::rerun-if-changed=src/cuda_engine/kernels");
    println!("cargo::rerun-if-env-changed=CUDA_HOME");
    println!("cargo::rerun-if-env-changed=PREFLIGHT_WITHOUT_NVCC");
    if std::env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    let nvcc = std::env::var_os("CUDA_HOME")
        .map_or_else(|| "nvcc".into(), |home| PathBuf::from(home).join("bin/nvcc"));
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    if std::env::var_os("PREFLIGHT_WITHOUT_NVCC").is_some() {
        for name in KERNELS {
            let file = out.join(format!("{name}.fatbin"));
            // (The lints for wasm ban `fs::write` in this package; this runs on the host.)
            let made = std::fs::OpenOptions::new().write(true).create(true).truncate(true).open(&file);
            made.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        }
        return;
    }
    let compile = |name: &str| {
        let child = Command::new(&nvcc)
            .args(["-O3", "-std=c++17", "-fatbin"])
            .args(targets(name))
            .arg("-o")
            .arg(out.join(format!("{name}.fatbin")))
            .arg(format!("src/cuda_engine/kernels/{name}.cu"))
            .spawn();
        child.unwrap_or_else(|error| {
            panic!(
                "{}: {error}: the feature `cuda` needs nvcc of CUDA 13, on the path or in $CUDA_HOME/bin \
                 (PREFLIGHT_WITHOUT_NVCC=1 checks the Rust side alone)",
                nvcc.display()
            )
        })
    };
    // All at once: each is one long run of one thread.
    let children = KERNELS.map(compile);
    for (name, mut child) in KERNELS.iter().zip(children) {
        let status = child.wait().unwrap_or_else(|error| panic!("nvcc on {name}.cu: {error}"));
        assert!(status.success(), "nvcc on {name}.cu: {status}");
    }
}
