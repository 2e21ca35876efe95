//! Machine code on a device.
#![expect(unsafe_code, reason = "the driver's functions take raw pointers")]

use std::ffi::CString;
use std::sync::Arc;

use cudarc::driver::sys;

use super::driver::{Gpu, check};
use crate::engine::EngineError;

/// A kernel of a [`Module`]; whoever launches it keeps that.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kernel(sys::CUfunction);

impl Kernel {
    pub(super) fn raw(self) -> sys::CUfunction {
        self.0
    }
}

// SAFETY: launched from any thread whose context is current.
unsafe impl Send for Kernel {}
// SAFETY: as above.
unsafe impl Sync for Kernel {}

/// Machine code on the device, unloaded with its owner.
#[derive(Debug)]
pub(super) struct Module {
    gpu: Arc<Gpu>,
    module: sys::CUmodule,
}

// SAFETY: used by any thread whose context is current.
unsafe impl Send for Module {}
// SAFETY: the driver locks what it shares.
unsafe impl Sync for Module {}

impl Drop for Module {
    fn drop(&mut self) {
        let _ = self.gpu.make_current();
        // SAFETY: loaded once, unloaded once; its owner launches nothing more.
        unsafe { sys::cuModuleUnload(self.module) };
    }
}

impl Module {
    /// Onto a device; its context is current afterwards.
    pub(super) fn load(gpu: &Arc<Gpu>, code: &[u8]) -> Result<Self, EngineError> {
        gpu.make_current()?;
        let mut module = std::ptr::null_mut();
        // SAFETY: `code` is a fat binary made by this build.
        unsafe { check(sys::cuModuleLoadData(&raw mut module, code.as_ptr().cast()), "cuModuleLoadData")? };
        Ok(Self { gpu: Arc::clone(gpu), module })
    }

    /// A kernel by its name; `shared_bytes` is the most dynamic shared memory that it may be given.
    pub(super) fn kernel(&self, name: &str, shared_bytes: usize) -> Result<Kernel, EngineError> {
        let mut function = std::ptr::null_mut();
        let c_name = CString::new(name).map_err(|error| EngineError::Backend(error.to_string()))?;
        // SAFETY: a live module, a C string, a local.
        let result = unsafe { sys::cuModuleGetFunction(&raw mut function, self.module, c_name.as_ptr()) };
        check(result, name)?;
        if shared_bytes > 48 << 10 {
            let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: a live function.
            check(unsafe { sys::cuFuncSetAttribute(function, attribute, shared_bytes as i32) }, name)?;
        }
        Ok(Kernel(function))
    }
}
