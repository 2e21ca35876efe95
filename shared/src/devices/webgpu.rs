//! What a browser grants: no total, but limits on one buffer and on the part of it that a shader sees.

/// Limits that a kind of browser device has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebGpuClass {
    /// What it is.
    pub name: &'static str,
    /// `maxBufferSize` in bytes.
    pub max_buffer_bytes: u64,
    /// `maxStorageBufferBindingSize` in bytes.
    pub max_binding_bytes: u64,
    /// Where the figures come from.
    pub source: &'static str,
}

/// From the least that every browser grants to a desktop's.
pub const WEBGPU: [WebGpuClass; 4] = [
    WebGpuClass {
        name: "specification defaults",
        max_buffer_bytes: 256 << 20,
        max_binding_bytes: 128 << 20,
        source: "WebGPU specification, limits: maxBufferSize, maxStorageBufferBindingSize",
    },
    WebGpuClass {
        name: "mobile",
        max_buffer_bytes: 256 << 20,
        max_binding_bytes: 128 << 20,
        source: "Web3D Survey, September 2026: 36 % of Android devices bind 1 GiB, no iOS device has a buffer of 2 GiB; so the defaults",
    },
    WebGpuClass {
        name: "no GPU (SwiftShader)",
        max_buffer_bytes: 1 << 30,
        max_binding_bytes: 1 << 30,
        source: "measured in headless Chromium 156",
    },
    WebGpuClass {
        name: "desktop",
        max_buffer_bytes: 2 << 30,
        max_binding_bytes: 1 << 30,
        source: "Web3D Survey, September 2026: 91 % of devices bind 1 GiB, 79 % have buffers of 2 GiB; an H100 under Vulkan: 4 and 2 GiB, measured",
    },
];
