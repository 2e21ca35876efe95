//! The CUDA driver under names of our own: a device, its memory, streams, events, graphs.
//!
//! The library is opened when it is first needed, so that a program with this engine starts where there is none.
//! Everything here is used by the thread that made it, but for what a loader's threads share, and is freed with its
//! owner. Kernels trust their arguments: whoever launches one answers for addresses and sizes.
#![expect(unsafe_code, reason = "the driver's functions take raw pointers")]

use std::ffi::{CStr, OsStr, c_void};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::sys;
use nvml_wrapper::Nvml;
use nvml_wrapper::enums::device::UsedGpuMemory;

use super::module::Kernel;
use crate::engine::EngineError;
use crate::platform;

/// An address on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub(super) struct Ptr(pub(super) u64);

impl Ptr {
    pub(super) const NULL: Self = Self(0);

    pub(super) fn at(self, bytes: usize) -> Self {
        Self(self.0 + bytes as u64)
    }
}

/// Whether a context of this process has failed: it answers every call with the same error from then on.
static LOST: AtomicBool = AtomicBool::new(false);

/// Whether nothing of this process will run on a device again.
pub(super) fn is_lost() -> bool {
    LOST.load(Ordering::Relaxed)
}

pub(super) fn check(result: sys::CUresult, what: &str) -> Result<(), EngineError> {
    use sys::CUresult as R;
    match result {
        R::CUDA_SUCCESS => return Ok(()),
        R::CUDA_ERROR_ILLEGAL_ADDRESS
        | R::CUDA_ERROR_LAUNCH_FAILED
        | R::CUDA_ERROR_LAUNCH_TIMEOUT
        | R::CUDA_ERROR_ASSERT
        | R::CUDA_ERROR_HARDWARE_STACK_ERROR
        | R::CUDA_ERROR_ILLEGAL_INSTRUCTION
        | R::CUDA_ERROR_MISALIGNED_ADDRESS
        | R::CUDA_ERROR_INVALID_ADDRESS_SPACE
        | R::CUDA_ERROR_INVALID_PC
        | R::CUDA_ERROR_CONTEXT_IS_DESTROYED
        | R::CUDA_ERROR_ECC_UNCORRECTABLE
        | R::CUDA_ERROR_NVLINK_UNCORRECTABLE
        | R::CUDA_ERROR_DEVICE_UNAVAILABLE
        | R::CUDA_ERROR_UNKNOWN => LOST.store(true, Ordering::Relaxed),
        // A context, machine code, a graph: the driver does not tell how much it wanted.
        R::CUDA_ERROR_OUT_OF_MEMORY => {
            let free_bytes = memory().0;
            return Err(EngineError::OutOfMemory { phase: "runtime", requested_bytes: 0, free_bytes });
        }
        _ => {}
    }
    Err(EngineError::Backend(format!("{what}: {}", message(result))))
}

/// Bytes free now on the device of the current context, and in all.
fn memory() -> (u64, u64) {
    let (mut free, mut total) = (0, 0);
    // SAFETY: both are locals.
    let result = unsafe { sys::cuMemGetInfo_v2(&raw mut free, &raw mut total) };
    if result == sys::CUresult::CUDA_SUCCESS { (free as u64, total as u64) } else { (0, 0) }
}

fn message(result: sys::CUresult) -> String {
    let mut text = std::ptr::null();
    // SAFETY: the driver gives a static string or leaves the pointer null.
    let described = unsafe {
        sys::cuGetErrorString(result, &raw mut text);
        (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
    };
    format!("{result:?} ({})", described.unwrap_or_else(|| "no message".to_owned()))
}

fn unavailable(reason: impl Into<String>) -> EngineError {
    EngineError::Unavailable { what: "CUDA".to_owned(), reason: reason.into() }
}

/// A CUDA device with its primary context.
#[derive(Debug)]
pub(super) struct Gpu {
    device: sys::CUdevice,
    context: sys::CUcontext,
    pub(super) ordinal: usize,
    pub(super) name: String,
    /// Its place on the bus, by which the management library knows it.
    bus: String,
    /// Its multiprocessors.
    pub(super) processors: usize,
}

// SAFETY: a context may be made current on any thread.
unsafe impl Send for Gpu {}
// SAFETY: the driver locks what it shares.
unsafe impl Sync for Gpu {}

/// CUDA devices that the driver shows, at least one.
///
/// # Errors
/// Why there is none: no driver, no device, or a driver that does not start, in its own words.
pub(super) fn count() -> Result<usize, EngineError> {
    // SAFETY: looks for the library alone.
    if !unsafe { sys::is_culib_present() } {
        return Err(unavailable("no NVIDIA driver is here (libcuda.so.1 is not found); use --device cpu"));
    }
    let mut count = 0;
    // SAFETY: the first call into the driver; `count` outlives the second.
    let result = unsafe {
        match sys::cuInit(0) {
            sys::CUresult::CUDA_SUCCESS => sys::cuDeviceGetCount(&raw mut count),
            failed => failed,
        }
    };
    match (result, count) {
        (sys::CUresult::CUDA_ERROR_NO_DEVICE, _) | (sys::CUresult::CUDA_SUCCESS, ..1) => {
            let visible = std::env::var("CUDA_VISIBLE_DEVICES")
                .map_or(String::new(), |names| format!(" (CUDA_VISIBLE_DEVICES is `{names}`)"));
            Err(unavailable(format!("the NVIDIA driver shows no device{visible}; use --device cpu")))
        }
        (sys::CUresult::CUDA_SUCCESS, count) => Ok(usize::try_from(count).unwrap_or(0)),
        (failed, _) => Err(unavailable(format!("the NVIDIA driver does not start: {}", message(failed)))),
    }
}

/// Devices whose contexts this process has made. A context takes a fifth of a second, and devices are asked for right
/// before a load: it is kept from the one to the other.
static OPENED: Mutex<Vec<Arc<Gpu>>> = Mutex::new(Vec::new());

/// Gives back the contexts that were made for questions alone.
pub(super) fn close_all_but(ordinals: &[usize]) {
    OPENED.lock().unwrap_or_else(PoisonError::into_inner).retain(|gpu| ordinals.contains(&gpu.ordinal));
}

impl Gpu {
    /// Opens a device and makes its context current on this thread.
    pub(super) fn open(ordinal: usize) -> Result<Arc<Self>, EngineError> {
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gpu) = opened.iter().find(|gpu| gpu.ordinal == ordinal) {
            gpu.make_current()?;
            return Ok(Arc::clone(gpu));
        }
        let gpu = Arc::new(Self::new(ordinal)?);
        opened.push(Arc::clone(&gpu));
        Ok(gpu)
    }

    fn new(ordinal: usize) -> Result<Self, EngineError> {
        let count = count()?;
        if ordinal >= count {
            return Err(unavailable(format!(
                "there is no device cuda:{ordinal}: the driver shows {count}; use --device cpu"
            )));
        }
        let mut device = 0;
        let mut context = std::ptr::null_mut();
        let (mut name, mut bus) = ([0; 128], [0; 32]);
        // SAFETY: all pointers are to locals of the sizes given; the driver was started by `count`.
        unsafe {
            check(sys::cuDeviceGet(&raw mut device, ordinal as i32), "cuDeviceGet")?;
            check(sys::cuDeviceGetName(name.as_mut_ptr(), 127, device), "cuDeviceGetName")?;
            check(sys::cuDeviceGetPCIBusId(bus.as_mut_ptr(), 31, device), "cuDeviceGetPCIBusId")?;
        }
        // SAFETY: the driver ends both with a zero within the buffers.
        let [name, bus] = [name.as_ptr(), bus.as_ptr()]
            .map(|text| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned());
        let capability = |attribute| {
            let mut value = 0;
            // SAFETY: `value` is a local.
            check(
                unsafe { sys::cuDeviceGetAttribute(&raw mut value, attribute, device) },
                "cuDeviceGetAttribute",
            )
            .map(|()| value)
        };
        let major = capability(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        if major < 9 {
            return Err(unavailable(format!(
                "{name} has compute capability {major}.x; the kernels of this build need 9.0 (H100) or later; \
                 use --device cpu"
            )));
        }
        // SAFETY: `device` came from the driver.
        unsafe {
            check(sys::cuDevicePrimaryCtxRetain(&raw mut context, device), "cuDevicePrimaryCtxRetain")?
        };
        let processors =
            capability(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)? as usize;
        let gpu = Self { device, context, ordinal, name, bus, processors };
        gpu.make_current()?;
        Ok(gpu)
    }

    /// Bytes of the device that this process holds, its context included; `None` where the management library does not
    /// say.
    pub(super) fn held_by_process(&self) -> Option<u64> {
        let nvml = Nvml::builder().lib_path(OsStr::new("libnvidia-ml.so.1")).init().ok()?;
        let processes =
            nvml.device_by_pci_bus_id(self.bus.as_str()).ok()?.running_compute_processes().ok()?;
        let ours = processes.into_iter().find(|process| process.pid == platform::process_id())?;
        match ours.used_gpu_memory {
            UsedGpuMemory::Used(bytes) => Some(bytes),
            UsedGpuMemory::Unavailable => None,
        }
    }

    /// Makes the context that of the calling thread.
    pub(super) fn make_current(&self) -> Result<(), EngineError> {
        // SAFETY: the context lives as long as `self`.
        check(unsafe { sys::cuCtxSetCurrent(self.context) }, "cuCtxSetCurrent")
    }

    /// Lets copies go straight between this device and another, where the machine can; elsewhere the driver takes them
    /// through the host.
    pub(super) fn reach(&self, other: &Self) -> Result<(), EngineError> {
        let mut can = 0;
        // SAFETY: `can` is a local, both devices came from the driver.
        let result = unsafe { sys::cuDeviceCanAccessPeer(&raw mut can, self.device, other.device) };
        check(result, "cuDeviceCanAccessPeer")?;
        if can == 0 {
            return Ok(());
        }
        self.make_current()?;
        // SAFETY: a live context of another device.
        match unsafe { sys::cuCtxEnablePeerAccess(other.context, 0) } {
            sys::CUresult::CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED => Ok(()),
            result => check(result, "cuCtxEnablePeerAccess"),
        }
    }

    /// Bytes free now, and of the device in all.
    pub(super) fn memory(&self) -> (u64, u64) {
        // Another thread may ask, or another device be current.
        let _ = self.make_current();
        memory()
    }

    /// Uninitialised device memory.
    ///
    /// # Errors
    /// Out of memory in `phase`, with what was free.
    pub(super) fn alloc(self: &Arc<Self>, bytes: u64, phase: &'static str) -> Result<Buffer, EngineError> {
        self.make_current()?;
        let mut ptr = 0;
        let size = usize::try_from(bytes.max(1)).unwrap_or(usize::MAX);
        // SAFETY: `ptr` is a local; the context is current.
        match unsafe { sys::cuMemAlloc_v2(&raw mut ptr, size) } {
            sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
                Err(EngineError::OutOfMemory { phase, requested_bytes: bytes, free_bytes: self.memory().0 })
            }
            result => {
                check(result, "cuMemAlloc")?;
                Ok(Buffer { gpu: Arc::clone(self), ptr, bytes })
            }
        }
    }

    /// Waits for everything on the device.
    pub(super) fn synchronize(&self) -> Result<(), EngineError> {
        // SAFETY: no arguments.
        check(unsafe { sys::cuCtxSynchronize() }, "cuCtxSynchronize")
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // SAFETY: retained once in `open`.
        unsafe { sys::cuDevicePrimaryCtxRelease_v2(self.device) };
    }
}

/// Device memory, freed with its owner.
#[derive(Debug)]
pub(super) struct Buffer {
    gpu: Arc<Gpu>,
    ptr: u64,
    pub(super) bytes: u64,
}

impl Buffer {
    pub(super) fn ptr(&self) -> Ptr {
        Ptr(self.ptr)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // Waits for what still uses it. A context that failed frees nothing more: the process is about to end.
        let _ = self.gpu.make_current();
        // SAFETY: allocated once, freed once.
        unsafe { sys::cuMemFree_v2(self.ptr) };
    }
}

/// Host memory that the device reads and writes directly.
#[derive(Debug)]
pub(super) struct Pinned {
    ptr: *mut u8,
    bytes: usize,
}

// SAFETY: plain memory of one owner.
unsafe impl Send for Pinned {}

impl Pinned {
    pub(super) fn new(bytes: usize) -> Result<Self, EngineError> {
        let mut ptr = std::ptr::null_mut();
        let flags = sys::CU_MEMHOSTALLOC_PORTABLE | sys::CU_MEMHOSTALLOC_DEVICEMAP;
        // SAFETY: `ptr` is a local.
        match unsafe { sys::cuMemHostAlloc(&raw mut ptr, bytes, flags) } {
            sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => Err(EngineError::OutOfMemory {
                phase: "pinned host memory",
                requested_bytes: bytes as u64,
                free_bytes: 0,
            }),
            result => {
                check(result, "cuMemHostAlloc")?;
                Ok(Self { ptr: ptr.cast(), bytes })
            }
        }
    }

    /// The bytes. The caller has waited for copies and kernels that use them.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: allocated with this length, borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.ptr, self.bytes) }
    }

    /// A word that a kernel wrote; the caller has waited for it.
    pub(super) fn word(&self, index: usize) -> u32 {
        assert!((index + 1) * size_of::<u32>() <= self.bytes, "word {index} of {} bytes", self.bytes);
        // SAFETY: within the allocation, aligned by the driver to a page; volatile, since the device writes it.
        unsafe { self.ptr.cast::<u32>().add(index).read_volatile() }
    }

    /// The address by which kernels reach it: the host's own.
    pub(super) fn ptr(&self) -> Ptr {
        Ptr(self.ptr as u64)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: allocated once, freed once.
        unsafe { sys::cuMemFreeHost(self.ptr.cast()) };
    }
}

/// A queue of work on the device.
#[derive(Debug)]
pub(super) struct Stream {
    stream: sys::CUstream,
}

// SAFETY: a stream may be used by any thread whose context is current.
unsafe impl Send for Stream {}

/// How a kernel is launched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) grid: [usize; 3],
    pub(super) block: usize,
    pub(super) shared_bytes: usize,
    /// Blocks of a cluster.
    pub(super) cluster: usize,
    /// May start before the kernel before it has ended; it waits for that one by itself.
    pub(super) overlaps: bool,
}

impl Shape {
    /// Starts when the kernel before it has ended.
    pub(super) const PLAIN: Self =
        Self { grid: [1, 1, 1], block: 1, shared_bytes: 0, cluster: 1, overlaps: false };
    /// May start before that.
    pub(super) const OVERLAPPING: Self = Self { overlaps: true, ..Self::PLAIN };
}

impl Stream {
    pub(super) fn new() -> Result<Self, EngineError> {
        let mut stream = std::ptr::null_mut();
        let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: `stream` is a local.
        unsafe { check(sys::cuStreamCreate(&raw mut stream, flags), "cuStreamCreate")? };
        Ok(Self { stream })
    }

    pub(super) fn raw(&self) -> *mut c_void {
        self.stream.cast()
    }

    /// Queues a kernel. `args` point to one value for each parameter.
    pub(super) fn launch(
        &self,
        kernel: Kernel,
        shape: Shape,
        args: &[*const c_void],
    ) -> Result<(), EngineError> {
        let mut args: Vec<*mut c_void> = args.iter().map(|arg| arg.cast_mut()).collect();
        // SAFETY: all zeros is a valid attribute, of the kind that is ignored.
        let mut attributes: [sys::CUlaunchAttribute; 2] = unsafe { MaybeUninit::zeroed().assume_init() };
        let mut count = 0;
        if shape.overlaps {
            attributes[count].id =
                sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
            attributes[count].value.programmaticStreamSerializationAllowed = 1;
            count += 1;
        }
        if shape.cluster > 1 {
            attributes[count].id = sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
            attributes[count].value.clusterDim =
                sys::CUlaunchAttributeValue_union__bindgen_ty_1 { x: shape.cluster as u32, y: 1, z: 1 };
            count += 1;
        }
        let [x, y, z] = shape.grid.map(|n| n as u32);
        let config = sys::CUlaunchConfig {
            gridDimX: x,
            gridDimY: y,
            gridDimZ: z,
            blockDimX: shape.block as u32,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: shape.shared_bytes as u32,
            hStream: self.stream,
            attrs: attributes.as_mut_ptr(),
            numAttrs: count as u32,
        };
        // SAFETY: the configuration and the arguments outlive the call, which copies them.
        let result = unsafe {
            sys::cuLaunchKernelEx(&raw const config, kernel.raw(), args.as_mut_ptr(), std::ptr::null_mut())
        };
        check(result, "cuLaunchKernelEx")
    }

    /// Copies from host memory that stays as it is until the copy is done (pinned), or is copied at once (other).
    pub(super) fn upload(&self, to: Ptr, from: &[u8]) -> Result<(), EngineError> {
        // SAFETY: `to` is an allocation of the engine with room for `from`.
        let result =
            unsafe { sys::cuMemcpyHtoDAsync_v2(to.0, from.as_ptr().cast(), from.len(), self.stream) };
        check(result, "cuMemcpyHtoDAsync")
    }

    pub(super) fn copy(&self, to: Ptr, from: Ptr, bytes: usize) -> Result<(), EngineError> {
        // SAFETY: both are allocations of the engine with as many bytes.
        check(unsafe { sys::cuMemcpyDtoDAsync_v2(to.0, from.0, bytes, self.stream) }, "cuMemcpyDtoDAsync")
    }

    /// Copies from another device to the one of this stream, whose context is current.
    pub(super) fn copy_between(
        &self,
        (to, here): (Ptr, &Gpu),
        (from, there): (Ptr, &Gpu),
        bytes: usize,
    ) -> Result<(), EngineError> {
        // SAFETY: allocations of the engine with as many bytes, each of the context beside it.
        let result =
            unsafe { sys::cuMemcpyPeerAsync(to.0, here.context, from.0, there.context, bytes, self.stream) };
        check(result, "cuMemcpyPeerAsync")
    }

    pub(super) fn zero(&self, to: Ptr, bytes: usize) -> Result<(), EngineError> {
        // SAFETY: an allocation of the engine with as many bytes.
        check(unsafe { sys::cuMemsetD8Async(to.0, 0, bytes, self.stream) }, "cuMemsetD8Async")
    }

    /// Copies to the host after all that was queued, and waits for it.
    pub(super) fn download(&self, to: &mut [u8], from: Ptr) -> Result<(), EngineError> {
        // SAFETY: `from` is an allocation of the engine with as many bytes; the wait ends the copy before `to` is read.
        unsafe {
            let result = sys::cuMemcpyDtoHAsync_v2(to.as_mut_ptr().cast(), from.0, to.len(), self.stream);
            check(result, "cuMemcpyDtoHAsync")?;
        }
        self.synchronize()
    }

    pub(super) fn synchronize(&self) -> Result<(), EngineError> {
        // SAFETY: a live stream.
        check(unsafe { sys::cuStreamSynchronize(self.stream) }, "cuStreamSynchronize")
    }

    pub(super) fn record(&self, event: &Event) -> Result<(), EngineError> {
        // SAFETY: both live.
        check(unsafe { sys::cuEventRecord(event.0, self.stream) }, "cuEventRecord")
    }

    /// What is queued from now on waits until another stream has come to an event, at once if it never was recorded.
    pub(super) fn wait(&self, event: &Event) -> Result<(), EngineError> {
        // SAFETY: both live; the event may be of another context.
        check(unsafe { sys::cuStreamWaitEvent(self.stream, event.0, 0) }, "cuStreamWaitEvent")
    }

    /// What is queued from now on becomes a graph instead of being done.
    pub(super) fn begin_capture(&self) -> Result<(), EngineError> {
        // Relaxed: the first use of a library's kernel loads it, which stricter modes refuse.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        // SAFETY: a live stream.
        check(unsafe { sys::cuStreamBeginCapture_v2(self.stream, mode) }, "cuStreamBeginCapture")
    }

    /// What was queued since, to be run again and again.
    pub(super) fn end_capture(&self) -> Result<Graph, EngineError> {
        let (mut graph, mut exec) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: a live stream, locals for results; the graph is destroyed once it is instantiated.
        unsafe {
            check(sys::cuStreamEndCapture(self.stream, &raw mut graph), "cuStreamEndCapture")?;
            let result = sys::cuGraphInstantiateWithFlags(&raw mut exec, graph, 0);
            sys::cuGraphDestroy(graph);
            check(result, "cuGraphInstantiate")?;
        }
        Ok(Graph(exec))
    }

    pub(super) fn run(&self, graph: &Graph) -> Result<(), EngineError> {
        // SAFETY: both live.
        check(unsafe { sys::cuGraphLaunch(graph.0, self.stream) }, "cuGraphLaunch")
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: created once, destroyed once; the driver lets queued work finish.
        unsafe { sys::cuStreamDestroy_v2(self.stream) };
    }
}

/// Captured work.
#[derive(Debug)]
pub(super) struct Graph(sys::CUgraphExec);

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: created once, destroyed once.
        unsafe { sys::cuGraphExecDestroy(self.0) };
    }
}

/// A point in a stream.
#[derive(Debug)]
pub(super) struct Event(sys::CUevent);

// SAFETY: an event may be used by any thread whose context is current.
unsafe impl Send for Event {}

impl Event {
    pub(super) fn new() -> Result<Self, EngineError> {
        let mut event = std::ptr::null_mut();
        let flags = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING as u32;
        // SAFETY: `event` is a local.
        unsafe { check(sys::cuEventCreate(&raw mut event, flags), "cuEventCreate")? };
        Ok(Self(event))
    }

    /// Waits until the stream has come there; at once if it was never recorded.
    pub(super) fn synchronize(&self) -> Result<(), EngineError> {
        // SAFETY: a live event.
        check(unsafe { sys::cuEventSynchronize(self.0) }, "cuEventSynchronize")
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: created once, destroyed once.
        unsafe { sys::cuEventDestroy_v2(self.0) };
    }
}
