//! The Preflight dashboard: static files, works without a server.
//!
//! Floors, each using only those below: `pages` → `components` → `state` → `api` (the only HTTP),
//! `platform` (the only browser objects). Every number comes from `phi3`; every word from `text`.

pub mod text;
pub mod format;

pub mod platform;
pub mod api;
pub mod state;
pub mod components;
pub mod pages;

use leptos::prelude::*;

/// Mounts the first program in place of the boot screen.
pub fn start() {
    console_error_panic_hook::set_once();
    mount_to_body(pages::Preflight);
    platform::page::remove("boot");
    platform::page::mark("preflight-answer");
}

/// Mounts the second program into the place that the first keeps for it. Where it ends in the middle of something, what it
/// has drawn goes, and the first says so.
pub fn start_late() {
    std::panic::set_hook(Box::new(|panic| {
        console_error_panic_hook::hook(panic);
        platform::late::fail(pages::LATE_HOST);
    }));
    if let Some(host) = platform::page::host(pages::LATE_HOST) {
        mount_to(host, pages::Late).forget();
    }
}
