//! Which engine a device's name means: the one place that knows the engines of a build.

use std::io::{self, Write as _};
use std::process::ExitCode;

use phi3::api::ErrorObject;
use phi3::api::worker::{AbsentBackend, Probe};
use phi3::engine::{DeviceInfo, Diagnostics, Engine, EngineError};
use phi3::placement::DeviceId;

use crate::link::Link;
use crate::process;
use crate::session::{self, Loaded, Prepared};

/// An engine that a build has, under the name of its devices.
#[derive(Clone, Copy)]
pub struct Backend {
    name: &'static str,
    devices: fn() -> Result<Vec<DeviceInfo>, EngineError>,
    load: LoadFn,
    /// Whether layers may stay on the host while others are on its devices.
    takes_host: bool,
}

type LoadFn = fn(Prepared, &Link) -> Result<Box<dyn Loaded>, ErrorObject>;

impl Backend {
    /// The engine `E` for devices called `name`, as in `cuda:0`.
    #[must_use]
    pub const fn of<E: Engine + Diagnostics + 'static>(name: &'static str) -> Self {
        let devices = || pollster::block_on(E::devices());
        Self { name, devices, load: session::load::<E>, takes_host: false }
    }

    /// The same engine, which also computes what a split puts on `cpu`.
    #[must_use]
    pub const fn beside_the_host(self) -> Self {
        Self { takes_host: true, ..self }
    }

    /// The name of its devices.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The engine that computes on devices of both, if there is one.
    pub(crate) fn with<'a>(&'a self, other: &'a Self) -> Option<&'a Self> {
        let takes =
            |one: &Self, other: &Self| one.name == other.name || one.takes_host && other.name == "cpu";
        [(self, other), (other, self)].into_iter().find(|(one, other)| takes(one, other)).map(|(one, _)| one)
    }

    /// Loads what is prepared.
    pub(crate) fn load(&self, prepared: Prepared, link: &Link) -> Result<Box<dyn Loaded>, ErrorObject> {
        (self.load)(prepared, link)
    }

    /// Its devices; of the host what the system tells.
    fn devices(&self) -> Result<Vec<DeviceInfo>, EngineError> {
        let mut devices = (self.devices)()?;
        for host in devices.iter_mut().filter(|device| device.device == DeviceId::Cpu) {
            let found = process::host();
            host.name = found.processor.unwrap_or_else(|| host.name.clone());
            (host.total_bytes, host.free_bytes) = (found.total_bytes, found.free_bytes);
        }
        Ok(devices)
    }
}

/// Takes a device's name for an engine and a device of it; `auto` is the first CUDA device, else the CPU.
///
/// # Errors
/// `device_absent`, with the reason.
pub(crate) fn choose<'a>(
    backends: &'a [Backend],
    name: &str,
) -> Result<(&'a Backend, DeviceInfo), ErrorObject> {
    let find = |wanted: &str| backends.iter().find(|backend| backend.name == wanted);
    if name == "auto" {
        let cuda = find("cuda").and_then(|backend| {
            let devices = backend.devices().ok()?;
            Some((backend, devices.into_iter().find(|device| !device.is_software)?))
        });
        return match cuda {
            Some(chosen) => Ok(chosen),
            None => choose(backends, "cpu"),
        };
    }
    let absent = |reason: String| ErrorObject::new("device_absent", format!("{name}: {reason}")).at("device");
    let id: DeviceId = name
        .parse()
        .map_err(|_unknown| absent(format!("no such device; give auto or one of {}", kinds(backends))))?;
    let kind = match &id {
        DeviceId::Cpu => "cpu",
        DeviceId::Gpu { backend, .. } => backend.as_str(),
    };
    let Some(backend) = find(kind) else {
        return Err(absent(format!(
            "no such device; this build has no engine for {kind}, it computes on {}",
            kinds(backends)
        )));
    };
    let devices = backend.devices().map_err(|error| absent(error.to_string()))?;
    let names: Vec<String> = devices.iter().map(|device| device.device.to_string()).collect();
    // Shares of the host are as many as are asked for, each as large as what is free.
    let share = kind == "cpu" && id != DeviceId::Cpu;
    let wanted = if share { &DeviceId::Cpu } else { &id };
    match devices.into_iter().find(|device| device.device == *wanted) {
        Some(device) => Ok((backend, DeviceInfo { device: id, ..device })),
        None if names.is_empty() => Err(absent(format!("no {kind} device is there"))),
        None => Err(absent(format!("no such device; there is {}", names.join(", ")))),
    }
}

/// Every device that a loader may choose among where nobody names any: those of the first engine that takes the host
/// beside them, and the host; none where there are no such devices.
pub(crate) fn all(backends: &[Backend]) -> Vec<DeviceId> {
    let found = backends.iter().filter(|backend| backend.takes_host).find_map(|backend| {
        let devices = backend.devices().ok()?.into_iter().filter(|device| !device.is_software);
        let devices: Vec<DeviceId> = devices.map(|device| device.device).collect();
        (!devices.is_empty()).then_some(devices)
    });
    found.map(|devices| devices.into_iter().chain([DeviceId::Cpu]).collect()).unwrap_or_default()
}

/// The kinds of devices of a build, for people.
fn kinds(backends: &[Backend]) -> String {
    backends.iter().map(|backend| backend.name).collect::<Vec<_>>().join(", ")
}

/// Asks every engine for its devices and prints the answer.
pub(crate) fn print_probe(backends: &[Backend]) -> ExitCode {
    let mut probe =
        Probe { build: env!("CARGO_PKG_VERSION").to_owned(), devices: Vec::new(), absent: Vec::new() };
    for backend in backends {
        match backend.devices() {
            Ok(devices) => probe.devices.extend(devices),
            Err(error) => probe
                .absent
                .push(AbsentBackend { backend: backend.name.to_owned(), reason: error.to_string() }),
        }
    }
    let mut stdout = io::stdout().lock();
    let printed = serde_json::to_writer(&mut stdout, &probe).map_err(io::Error::from);
    match printed.and_then(|()| writeln!(stdout)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => process::fail(&format!("cannot print its devices: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use phi3::candle_engine::CandleEngine;

    use super::*;

    fn cpu() -> Backend {
        Backend::of::<CandleEngine>("cpu")
    }

    fn cuda(devices: fn() -> Result<Vec<DeviceInfo>, EngineError>) -> Backend {
        Backend { name: "cuda", devices, ..cpu() }
    }

    fn one_gpu() -> Result<Vec<DeviceInfo>, EngineError> {
        let host = pollster::block_on(CandleEngine::devices())?.swap_remove(0);
        Ok(vec![DeviceInfo { device: "cuda:0".parse().expect("a device"), ..host }])
    }

    fn chosen(backends: &[Backend], name: &str) -> String {
        choose(backends, name).map_or_else(|error| error.message, |(_, info)| info.device.to_string())
    }

    #[test]
    fn auto_is_a_cuda_device_else_the_cpu() {
        assert_eq!(chosen(&[cpu()], "auto"), "cpu");
        assert_eq!(chosen(&[cuda(one_gpu), cpu()], "auto"), "cuda:0");
        assert_eq!(chosen(&[cuda(|| Ok(Vec::new())), cpu()], "auto"), "cpu");
        let broken = || {
            Err(EngineError::Unavailable {
                what: "cuda".to_owned(),
                reason: "the driver is too old".to_owned(),
            })
        };
        assert_eq!(chosen(&[cuda(broken), cpu()], "auto"), "cpu");
        assert!(chosen(&[cuda(broken), cpu()], "cuda:0").contains("the driver is too old"));
    }

    #[test]
    fn layers_stand_beside_the_host_where_an_engine_takes_both() {
        let (cpu, alone) = (cpu(), cuda(one_gpu));
        let both = alone.beside_the_host();
        let name = |engine: Option<&Backend>| engine.map(Backend::name);
        assert_eq!(name(both.with(&cpu)), Some("cuda"));
        assert_eq!(name(cpu.with(&both)), Some("cuda"));
        assert_eq!(name(both.with(&both)), Some("cuda"));
        assert_eq!(name(alone.with(&cpu)), None);
        let names = |backends: &[Backend]| all(backends).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(&[both, cpu]), ["cuda:0", "cpu"]);
        assert_eq!(names(&[alone, cpu]), Vec::<String>::new());
        let none = Backend { devices: || Ok(Vec::new()), ..both };
        assert_eq!(names(&[none, cpu]), Vec::<String>::new());
    }

    #[test]
    fn a_device_that_is_not_there_is_refused_by_name() {
        for (name, says) in [
            ("cuda:1", "there is cuda:0"),
            ("wgpu:0", "no engine for wgpu, it computes on cuda, cpu"),
            ("fpga", "give auto or one of cuda, cpu"),
        ] {
            let error = choose(&[cuda(one_gpu), cpu()], name).map(|_| ()).expect_err(name);
            assert_eq!(error.code, "device_absent");
            assert!(error.message.starts_with(name) && error.message.contains(says), "{error}");
        }
    }
}
