//! Products over many rows: cuBLASLt.
#![expect(unsafe_code, reason = "cuBLASLt takes raw pointers")]

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::Arc;

use cudarc::cublaslt::{result, sys};

use super::driver::{Buffer, Gpu, Ptr, Stream};
use super::kernels::Format;
use crate::engine::EngineError;
use crate::estimate::cuda_workspace::GEMM_BYTES;

/// `CUBLAS_OP_T` of cublas_api.h.
static TRANSPOSED: i32 = 1;

/// What a product looks like; cuBLASLt chooses an algorithm for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Problem {
    rows: usize,
    inner: usize,
    columns: usize,
    format: Format,
    out: Format,
    /// Bytes that all addresses are multiples of.
    alignment: u32,
}

struct Chosen {
    desc: sys::cublasLtMatmulDesc_t,
    weight: sys::cublasLtMatrixLayout_t,
    x: sys::cublasLtMatrixLayout_t,
    out: sys::cublasLtMatrixLayout_t,
    algo: sys::cublasLtMatmulAlgo_t,
}

/// cuBLASLt with its workspace and the algorithms chosen so far.
pub(super) struct Gemm {
    handle: Handle,
    workspace: Buffer,
    chosen: HashMap<Problem, Chosen>,
}

/// A handle made on another thread while weights arrive.
pub(super) struct Handle(sys::cublasLtHandle_t);

// SAFETY: a handle may be used by any thread, one at a time.
unsafe impl Send for Handle {}

impl Handle {
    pub(super) fn new() -> Result<Self, EngineError> {
        // SAFETY: looks for the library alone.
        if !unsafe { sys::is_culib_present() } {
            return Err(EngineError::Unavailable {
                what: "CUDA".to_owned(),
                reason: "libcublasLt.so.13 is not on the library path; it comes with CUDA 13 or with PyPI's nvidia-cublas"
                    .to_owned(),
            });
        }
        result::create_handle().map(Self).map_err(|error| backend("cublasLtCreate", error))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: created once.
        let _ = unsafe { result::destroy_handle(self.0) };
    }
}

impl Gemm {
    /// `scratch_bytes` are [`GEMM_BYTES`], or none where nothing is multiplied.
    pub(super) fn new(handle: Handle, gpu: &Arc<Gpu>, scratch_bytes: u64) -> Result<Self, EngineError> {
        let workspace = gpu.alloc(scratch_bytes, "activation")?;
        Ok(Self { handle, workspace, chosen: HashMap::new() })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.workspace.bytes
    }

    /// `out[row] = weight · x[row]`, or `out[row] += …`; `weight` is `[columns, inner]`, `x` in the same format,
    /// sums in f32.
    #[expect(clippy::too_many_arguments, reason = "a product has three matrices with a shape and formats")]
    pub(super) fn multiply(
        &mut self,
        stream: &Stream,
        weight: Ptr,
        x: Ptr,
        out: Ptr,
        [rows, inner, columns]: [usize; 3],
        format: Format,
        out_format: Format,
        adds: bool,
    ) -> Result<(), EngineError> {
        let alignment = (weight.0 | x.0 | out.0 | 256).trailing_zeros();
        let problem = Problem { rows, inner, columns, format, out: out_format, alignment: 1 << alignment };
        if !self.chosen.contains_key(&problem) {
            let chosen =
                self.choose(&problem).map_err(|error| backend(&format!("cuBLASLt on {problem:?}"), error))?;
            self.chosen.insert(problem, chosen);
        }
        let Chosen { desc, weight: weight_layout, x: x_layout, out: out_layout, algo } =
            self.chosen[&problem];
        let (alpha, beta) = (1.0f32, if adds { 1.0f32 } else { 0.0 });
        let pointer = |ptr: Ptr| ptr.0 as *mut c_void;
        // SAFETY: descriptors made for this problem; addresses with as many values as it says.
        let result = unsafe {
            result::matmul(
                self.handle.0,
                desc,
                (&raw const alpha).cast(),
                (&raw const beta).cast(),
                pointer(weight),
                weight_layout,
                pointer(x),
                x_layout,
                pointer(out),
                out_layout,
                pointer(out),
                out_layout,
                &raw const algo,
                pointer(self.workspace.ptr()),
                self.workspace.bytes as usize,
                stream.raw().cast(),
            )
        };
        result.map_err(|error| backend("cublasLtMatmul", error))
    }

    fn choose(&self, problem: &Problem) -> Result<Chosen, result::CublasError> {
        let Problem { rows, inner, columns, format, out, alignment } = *problem;
        let kind = |format: Format| match format {
            Format::F32 => sys::cudaDataType_t::CUDA_R_32F,
            Format::F16 => sys::cudaDataType_t::CUDA_R_16F,
            _ => sys::cudaDataType_t::CUDA_R_16BF,
        };
        let [rows, inner, columns] = [rows, inner, columns].map(|n| n as u64);
        // cuBLASLt counts by columns: our rows are its columns, and a weight is transposed.
        let weight = result::create_matrix_layout(kind(format), inner, columns, inner as i64)?;
        let x = result::create_matrix_layout(kind(format), inner, rows, inner as i64)?;
        let out = result::create_matrix_layout(kind(out), columns, rows, columns as i64)?;
        let desc = result::create_matmul_desc(
            sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            sys::cudaDataType_t::CUDA_R_32F,
        )?;
        let workspace_bytes = GEMM_BYTES;
        let pref = result::create_matmul_pref()?;
        // SAFETY: attributes of the types and sizes that cublasLt.h states.
        let found = unsafe {
            result::set_matmul_desc_attribute(
                desc,
                sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSA,
                (&raw const TRANSPOSED).cast(),
                size_of::<i32>(),
            )?;
            use sys::cublasLtMatmulPreferenceAttributes_t as P;
            result::set_matmul_pref_attribute(
                pref,
                P::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                (&raw const workspace_bytes).cast(),
                size_of::<u64>(),
            )?;
            for which in [
                P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
                P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
                P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
            ] {
                result::set_matmul_pref_attribute(
                    pref,
                    which,
                    (&raw const alignment).cast(),
                    size_of::<u32>(),
                )?;
            }
            let found = result::get_matmul_algo_heuristic(self.handle.0, desc, weight, x, out, out, pref);
            result::destroy_matmul_pref(pref)?;
            found?
        };
        Ok(Chosen { desc, weight, x, out, algo: found.algo })
    }
}

impl Drop for Gemm {
    fn drop(&mut self) {
        // SAFETY: each was created once.
        unsafe {
            for chosen in self.chosen.values() {
                let _ = result::destroy_matmul_desc(chosen.desc);
                for layout in [chosen.weight, chosen.x, chosen.out] {
                    let _ = result::destroy_matrix_layout(layout);
                }
            }
        }
    }
}

fn backend(what: &str, error: result::CublasError) -> EngineError {
    EngineError::Backend(format!("{what}: {error}"))
}
