//! One GPU: found, opened, watched for errors, read back from.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_channel::oneshot;
use wgpu::util::DeviceExt as _;

use super::template::Shader;
use crate::engine::{Attention, DeviceInfo, EngineError};
use crate::estimate::wgpu_workspace::buffer_bytes;
use crate::placement::DeviceId;

/// The name of this engine's devices.
pub(super) const BACKEND: &str = "wgpu";

/// Words of the error scopes for what an allocation is for.
pub(super) type Phase = &'static str;

/// An opened device. Everything on it goes when it is dropped.
pub(super) struct Gpu {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) limits: wgpu::Limits,
    pub(super) id: DeviceId,
    /// Invocations of a subgroup, where all have as many and lie side by side; `None` where sums go through
    /// workgroup memory.
    pub(super) lanes: Option<u32>,
    /// What the driver calls it.
    pub(super) name: String,
    /// A processor that plays a GPU.
    pub(super) is_software: bool,
    /// Batches of commands that it was given.
    submissions: AtomicU64,
    /// Whether a browser compiles the shaders.
    is_browser: bool,
    /// The first error that nobody waited for, or why the device was lost.
    trouble: Arc<Mutex<Option<String>>>,
}

/// Adapters in the order of their index: hardware before software, discrete before integrated.
async fn adapters() -> (wgpu::Instance, Vec<wgpu::Adapter>) {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::VULKAN
        | wgpu::Backends::METAL
        | wgpu::Backends::DX12
        | wgpu::Backends::BROWSER_WEBGPU;
    // Validation layers are for whoever writes shaders, not for whoever runs them.
    descriptor.flags = wgpu::InstanceFlags::empty();
    let instance = wgpu::Instance::new(descriptor);
    let mut found = Vec::new();
    // A browser has one adapter for each preference, and the first is the one with power.
    let options = wgpu::RequestAdapterOptions {
        power_preference: wgpu::PowerPreference::HighPerformance,
        ..wgpu::RequestAdapterOptions::default()
    };
    if let Ok(adapter) = instance.request_adapter(&options).await {
        if adapter.get_info().backend == wgpu::Backend::BrowserWebGpu {
            found.push(adapter);
        } else {
            found = instance.enumerate_adapters(wgpu::Backends::all()).await;
        }
    }
    found.sort_by_key(|adapter| match adapter.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    });
    (instance, found)
}

fn absent() -> EngineError {
    EngineError::Unavailable {
        what: "a GPU".to_owned(),
        reason: "there is no adapter for Vulkan, Metal, DirectX 12 or WebGPU: install the GPU's driver, \
            or use a browser with WebGPU; the CPU always works"
            .to_owned(),
    }
}

/// Every GPU here.
pub(super) async fn devices() -> Result<Vec<DeviceInfo>, EngineError> {
    let (_instance, adapters) = adapters().await;
    if adapters.is_empty() {
        return Err(absent());
    }
    let describe = |(index, adapter): (usize, &wgpu::Adapter)| {
        let info = adapter.get_info();
        let driver = format!("{} {}", info.driver, info.driver_info);
        DeviceInfo {
            device: id(index),
            name: if info.name.is_empty() { format!("{} adapter", info.backend) } else { info.name.clone() },
            driver: Some(driver.trim().to_owned()).filter(|driver| !driver.is_empty()),
            total_bytes: None,
            free_bytes: None,
            dtypes: super::DTYPES.to_vec(),
            attention: vec![Attention::Eager, Attention::Fused],
            is_software: info.device_type == wgpu::DeviceType::Cpu,
        }
    };
    Ok(adapters.iter().enumerate().map(describe).collect())
}

fn id(index: usize) -> DeviceId {
    DeviceId::Gpu { backend: BACKEND.to_owned(), index: index as u32 }
}

impl Gpu {
    /// Opens a device by its id.
    pub(super) async fn open(wanted: &DeviceId) -> Result<Self, EngineError> {
        let (_instance, adapters) = adapters().await;
        if adapters.is_empty() {
            return Err(absent());
        }
        let chosen = adapters.iter().enumerate().find(|(index, _)| id(*index) == *wanted);
        let Some((_, adapter)) = chosen else {
            let last = adapters.len() - 1;
            let reason = match wanted {
                DeviceId::Gpu { backend, .. } if backend == BACKEND => {
                    format!("there are {BACKEND}:0 to {BACKEND}:{last}")
                }
                _ => format!("this engine has {BACKEND}:0 to {BACKEND}:{last}"),
            };
            return Err(EngineError::Unavailable { what: wanted.to_string(), reason });
        };
        let limits = adapter.limits();
        let subgroups = adapter.features() & wgpu::Features::SUBGROUP;
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("phi3"),
            required_features: subgroups,
            required_limits: limits.clone(),
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..wgpu::DeviceDescriptor::default()
        };
        let opened = adapter.request_device(&descriptor).await;
        let (device, queue) = opened.map_err(|error| EngineError::Unavailable {
            what: wanted.to_string(),
            reason: format!("the driver refused it: {error}"),
        })?;
        let trouble = Arc::new(Mutex::new(None));
        let note = |trouble: &Arc<Mutex<Option<String>>>, what: String| {
            trouble.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(what);
        };
        let seen = Arc::clone(&trouble);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| note(&seen, error.to_string())));
        let seen = Arc::clone(&trouble);
        device.set_device_lost_callback(move |reason, message| {
            note(&seen, format!("the GPU device was lost ({reason:?}): {message}"));
        });
        let info = adapter.get_info();
        let is_browser = info.backend == wgpu::Backend::BrowserWebGpu;
        let mut gpu = Self {
            device,
            queue,
            limits,
            id: wanted.clone(),
            lanes: None,
            name: info.name,
            is_software: info.device_type == wgpu::DeviceType::Cpu,
            submissions: AtomicU64::new(0),
            is_browser,
            trouble,
        };
        if info.subgroup_min_size == info.subgroup_max_size {
            gpu.lanes = gpu.usable_lanes(info.subgroup_min_size).await?;
        }
        Ok(gpu)
    }

    /// Fails where the device did, with its words.
    pub(super) fn check(&self) -> Result<(), EngineError> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.as_ref().map_or(Ok(()), |what| Err(EngineError::Backend(what.clone())))
    }

    /// Makes things on the device and waits until it is known whether that worked.
    pub(super) async fn scoped<T>(
        &self,
        phase: Phase,
        bytes: u64,
        make: impl FnOnce(&Self) -> T,
    ) -> Result<T, EngineError> {
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let made = make(self);
        // In reverse, and both before waiting: another task may push its own meanwhile.
        let (memory, validation) = (memory.pop(), validation.pop());
        if memory.await.is_some() {
            return Err(EngineError::OutOfMemory { phase, requested_bytes: bytes, free_bytes: 0 });
        }
        if let Some(error) = validation.await {
            return Err(EngineError::Backend(error.to_string()));
        }
        self.check()?;
        Ok(made)
    }

    /// A buffer that shaders read and write, zeroed.
    pub(super) fn storage(&self, label: &str, bytes: u64) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: buffer_bytes(bytes),
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        })
    }

    /// A uniform buffer with these words.
    pub(super) fn uniform(&self, label: &str, words: &[u32]) -> wgpu::Buffer {
        self.device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
            label: Some(label),
            contents: bytemuck::cast_slice(words),
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
        })
    }

    /// A buffer that the host reads.
    pub(super) fn readback(&self, bytes: u64) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("readback"),
            size: bytes,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    }

    /// A shader as this device's compiler reads it.
    pub(super) fn text(&self, shader: &Shader) -> String {
        shader.text(self.is_browser)
    }

    /// Compiles a shader.
    pub(super) fn pipeline(&self, shader: &Shader) -> wgpu::ComputePipeline {
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(shader.name()),
            source: wgpu::ShaderSource::Wgsl(self.text(shader).into()),
        };
        // No count in every loop, in case that it does not end.
        let checks =
            wgpu::ShaderRuntimeChecks { force_loop_bounding: false, ..wgpu::ShaderRuntimeChecks::checked() };
        #[expect(unsafe_code, reason = "shaders without those counts are for whoever wrote them")]
        // SAFETY: they are our own, and every loop of theirs counts up to a bound. Accesses are checked as ever.
        let module = unsafe { self.device.create_shader_module_trusted(descriptor, checks) };
        self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(shader.name()),
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                // Every kernel writes what it reads there.
                zero_initialize_workgroup_memory: false,
                ..wgpu::PipelineCompilationOptions::default()
            },
            cache: None,
        })
    }

    /// Binds whole buffers to a group of a pipeline.
    pub(super) fn bind(
        &self,
        pipeline: &wgpu::ComputePipeline,
        group: u32,
        buffers: &[(u32, wgpu::BindingResource<'_>)],
    ) -> wgpu::BindGroup {
        let entries: Vec<_> = buffers
            .iter()
            .map(|(binding, resource)| wgpu::BindGroupEntry { binding: *binding, resource: resource.clone() })
            .collect();
        self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(group),
            entries: &entries,
        })
    }

    /// Begins to map a buffer that was written by what has been submitted.
    pub(super) fn map(&self, buffer: &wgpu::Buffer) -> oneshot::Receiver<bool> {
        let (sender, receiver) = oneshot::channel();
        buffer.map_async(wgpu::MapMode::Read, .., move |mapped| {
            // Nobody waits where the step was given up.
            sender.send(mapped.is_ok()).ok();
        });
        receiver
    }

    /// Waits for a mapping. On the host the device is driven from here; a browser drives it by itself.
    pub(super) async fn mapped(
        &self,
        submission: Option<wgpu::SubmissionIndex>,
        mut receiver: oneshot::Receiver<bool>,
    ) -> Result<(), EngineError> {
        let mapped = match receiver.try_recv() {
            Ok(Some(mapped)) => mapped,
            _ => {
                let wait = wgpu::PollType::Wait { submission_index: submission, timeout: None };
                self.device.poll(wait).map_err(|error| EngineError::Backend(error.to_string()))?;
                receiver.await.unwrap_or(false)
            }
        };
        if mapped { Ok(()) } else { Err(self.no_result()) }
    }

    /// What a buffer holds that was mapped. A device that is lost takes mappings back that were handed out.
    pub(super) fn held(&self, staging: &wgpu::Buffer) -> Result<Vec<u8>, EngineError> {
        let view = staging.get_mapped_range(..).map_err(|_refused| self.no_result())?;
        Ok(view.to_vec())
    }

    /// Why a result does not come, which was computed without an error.
    fn no_result(&self) -> EngineError {
        let why = "the GPU did not hand out a result: its device was lost, as after a reset of the driver or where its memory ran out";
        self.check().err().unwrap_or_else(|| EngineError::Backend(why.to_owned()))
    }

    /// Submits and copies bytes of a buffer to the host.
    pub(super) async fn read(
        &self,
        mut encoder: wgpu::CommandEncoder,
        buffer: &wgpu::Buffer,
        bytes: u64,
    ) -> Result<Vec<u8>, EngineError> {
        let staging = self.readback(bytes);
        encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, bytes);
        let submission = self.submit(encoder);
        let receiver = self.map(&staging);
        self.mapped(Some(submission), receiver).await?;
        let read = self.held(&staging)?;
        staging.destroy();
        self.check()?;
        Ok(read)
    }

    /// Sends on what was written, so that it does not pile up on the host, and fails where the device did.
    pub(super) async fn settle(&self) -> Result<(), EngineError> {
        let submission = self.queue.submit([]);
        let (sender, receiver) = oneshot::channel();
        self.queue.on_submitted_work_done(move || {
            sender.send(true).ok();
        });
        self.mapped(Some(submission), receiver).await?;
        self.check()
    }

    /// Gives the device what was recorded.
    pub(super) fn submit(&self, encoder: wgpu::CommandEncoder) -> wgpu::SubmissionIndex {
        self.submissions.fetch_add(1, Ordering::Relaxed);
        self.queue.submit([encoder.finish()])
    }

    /// Batches of commands that it was given so far.
    pub(super) fn submissions(&self) -> u64 {
        self.submissions.load(Ordering::Relaxed)
    }

    pub(super) fn encoder(&self) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
    }

    /// Whether subgroups of this size are what kernels take them to be: tried, not believed.
    async fn usable_lanes(&self, lanes: u32) -> Result<Option<u32>, EngineError> {
        const THREADS: u32 = 128;
        if !lanes.is_power_of_two() || !(4..=64).contains(&lanes) {
            return Ok(None);
        }
        let shader = Shader::new("lanes").number("LANES", lanes as usize).number("THREADS", THREADS as usize);
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let pipeline = self.pipeline(&shader);
        if scope.pop().await.is_some() {
            return Ok(None);
        }
        let out = self.storage("lanes", u64::from(THREADS) * 4);
        let bind = self.bind(&pipeline, 0, &[(0, out.as_entire_binding())]);
        let mut encoder = self.encoder();
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &bind, &[]);
            pass.dispatch_workgroups(1, 1, 1);
        }
        let read = self.read(encoder, &out, u64::from(THREADS) * 4).await?;
        out.destroy();
        let fits = bytemuck::pod_collect_to_vec::<u8, u32>(&read).iter().all(|word| *word == 1);
        Ok(fits.then_some(lanes))
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // In a browser nothing else gives memory back before the garbage collector comes by.
        self.device.destroy();
    }
}
