//! `preflight gpus`: the table behind `--device`.

use std::process::ExitCode;

use phi3::devices::{self, Class, Device, Sureness, WEBGPU, WebGpuClass};
use phi3::estimate::Backend;
use phi3::units::format_bytes;
use serde_json::{Value, json};

use super::output;
use super::page::{BOLD, Cell, DIM, Page};
use crate::error::CliError;

/// List the GPUs that --device knows, with the memory that a program can have of them. None has to be in this
/// machine.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only those whose name contains this.
    name: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<ExitCode, CliError> {
    let wanted = args.name.as_deref().unwrap_or_default().to_lowercase();
    let is_wanted = |name: &str| name.to_lowercase().contains(&wanted);
    let found: Vec<&Device> = devices::all().filter(|device| is_wanted(device.name)).collect();
    let browsers: Vec<&WebGpuClass> =
        WEBGPU.iter().filter(|class| is_wanted(&format!("WebGPU, {}", class.name))).collect();
    if found.is_empty() && browsers.is_empty() {
        let message = match devices::find(&wanted) {
            Ok(device) => format!("no name contains `{wanted}`; did you mean {}?", device.name),
            Err(unknown) => unknown.to_string(),
        };
        return Err(CliError::usage(message));
    }
    if args.json {
        let gpus: Vec<Value> = found.into_iter().map(described).collect();
        let browsers: Vec<Value> = browsers.into_iter().map(described_browser).collect();
        output::print_json(&json!({ "gpus": gpus, "webgpu": browsers }))?;
    } else {
        output::print_page(page(&found, &browsers))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn described(device: &Device) -> Value {
    json!({
        "name": device.name,
        "vendor": device.vendor(),
        "class": device.class,
        "backend": Backend::of(device.vendor()),
        "nominal_bytes": device.nominal_bytes(),
        "usable_bytes": device.usable_bytes(),
        "usable": device.sureness(),
        "bandwidth_gb_per_s": (device.bandwidth_gb_per_s > 0).then_some(device.bandwidth_gb_per_s),
        "bf16": device.has_bf16(),
        "fp8": device.has_fp8(),
        "source": device.source,
    })
}

fn described_browser(class: &WebGpuClass) -> Value {
    json!({
        "name": class.name,
        "max_buffer_bytes": class.max_buffer_bytes,
        "max_binding_bytes": class.max_binding_bytes,
        "source": class.source,
    })
}

fn page(gpus: &[&Device], browsers: &[&WebGpuClass]) -> Page {
    let mut page = Page::default();
    if !gpus.is_empty() {
        of_gpus(&mut page, gpus);
    }
    if !browsers.is_empty() {
        page.heading("What browsers grant (WebGPU): no total, but limits");
        let header = ["", "one buffer", "one binding", "source"];
        let mut rows: Vec<Vec<Cell>> = vec![header.map(|word| Cell::left(word).styled(DIM)).into()];
        rows.extend(browsers.iter().map(|class| {
            vec![
                Cell::left(class.name).styled(BOLD),
                Cell::right(format_bytes(class.max_buffer_bytes)),
                Cell::right(format_bytes(class.max_binding_bytes)),
                Cell::left(class.source).styled(DIM),
            ]
        }));
        page.table(&rows);
    }
    page
}

fn of_gpus(page: &mut Page, gpus: &[&Device]) {
    page.line(BOLD, "GPUs for --device");
    let header = ["", "class", "nominal", "usable", "", "GB/s", "source"];
    let mut rows: Vec<Vec<Cell>> = vec![header.map(|word| Cell::left(word).styled(DIM)).into()];
    rows.extend(gpus.iter().map(|device| {
        let sure = match device.sureness() {
            Sureness::Measured => "measured",
            Sureness::Computed => "by rule",
        };
        let bandwidth = match device.bandwidth_gb_per_s {
            0 => String::new(),
            known => known.to_string(),
        };
        vec![
            Cell::left(device.name).styled(BOLD),
            Cell::left(class(device.class)),
            Cell::right(format_bytes(device.nominal_bytes())),
            Cell::right(format_bytes(device.usable_bytes())),
            Cell::left(sure).styled(DIM),
            Cell::right(bandwidth).styled(DIM),
            Cell::left(device.source).styled(DIM),
        ]
    }));
    page.table(&rows);
}

fn class(class: Class) -> &'static str {
    match class {
        Class::Desktop => "desktop",
        Class::Laptop => "laptop",
        Class::Workstation => "workstation",
        Class::DataCentre => "data centre",
        Class::Unified => "unified",
    }
}
