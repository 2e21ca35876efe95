//! `./dev bench server`: 200 readers of events and 50 clients of `/v1` for a minute, and what `/health` takes meanwhile.

#[path = "../it/server/load.rs"]
mod load;
#[path = "../it/support/mod.rs"]
#[expect(dead_code, reason = "the tests use all of it")]
mod support;

use std::process::ExitCode;
use std::time::Duration;

use load::{Load, under_load};

/// Bound on the time of 99 of 100 requests to `/health`.
const HEALTH: Duration = Duration::from_millis(50);

/// Bound on what the server grows by between a quarter of the time and its end.
const GROWTH_BYTES: u64 = 16 << 20;

#[expect(clippy::print_stdout, reason = "a bench prints what it measured")]
fn main() -> ExitCode {
    let seconds = std::env::var("BENCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let load = Load { readers: 200, clients: 50, time: Duration::from_secs(seconds) };
    let measured = under_load(load);
    let ms = |percent| measured.health_percentile(percent).as_secs_f64() * 1e3;
    let [early, late] = measured.resident_bytes.map(|bytes| bytes as f64 / (1 << 20) as f64);
    let fewest = measured.read.iter().min().copied().unwrap_or_default();
    println!(
        "{seconds} s, {} readers of events, {} clients of /v1, the worker on one thread",
        load.readers, load.clients
    );
    println!("/health: {} requests, p50 {:.2} ms, p99 {:.2} ms", measured.health.len(), ms(50), ms(99));
    println!(
        "/v1: {} answered, {} told to come back (429), {} failed",
        measured.answered,
        measured.refused,
        measured.failed.len()
    );
    println!("events: {} published, at least {fewest} read by everyone", measured.published);
    println!("server: {early:.1} MiB resident after a quarter, {late:.1} MiB at the end");
    let grown = measured.resident_bytes[1].saturating_sub(measured.resident_bytes[0]);
    let complaints = [
        (!measured.failed.is_empty())
            .then(|| format!("failed: {:?}", &measured.failed[..measured.failed.len().min(5)])),
        (measured.health_percentile(99) >= HEALTH).then(|| format!("p99 of /health is not under {HEALTH:?}")),
        (fewest < measured.published).then(|| "a reader missed events".to_owned()),
        (grown > GROWTH_BYTES).then(|| format!("it grew by {grown} bytes")),
    ];
    let complaints: Vec<String> = complaints.into_iter().flatten().collect();
    for complaint in &complaints {
        println!("NOT HELD: {complaint}");
    }
    if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
