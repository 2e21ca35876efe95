//! Compiles the CUDA kernels where the feature `cuda` is on: machine code for compute capability 9.0 and PTX for later ones.

use std::path::PathBuf;
use std::process::Command;

const KERNELS: [&str; 5] = ["rows", "gemv", "few", "attention", "flash"];

fn main() {
    println!("cargo::rerun-if-changed=src/cuda_engine/kernels");
    println!("cargo::rerun-if-env-changed=CUDA_HOME");
    if std::env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    let nvcc = std::env::var_os("CUDA_HOME")
        .map_or_else(|| "nvcc".into(), |home| PathBuf::from(home).join("bin/nvcc"));
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    for name in KERNELS {
        let status = Command::new(&nvcc)
            .args([
                "-O3",
                "-std=c++17",
                "-fatbin",
                "-gencode",
                "arch=compute_90,code=[sm_90,compute_90]",
                "-o",
            ])
            .arg(out.join(format!("{name}.fatbin")))
            .arg(format!("src/cuda_engine/kernels/{name}.cu"))
            .status();
        match status {
            Ok(status) if status.success() => {}
            Ok(status) => panic!("nvcc on {name}.cu: {status}"),
            Err(error) => panic!(
                "{}: {error}: the feature `cuda` needs nvcc of CUDA 13, on the path or in $CUDA_HOME/bin",
                nvcc.display()
            ),
        }
    }
}
