//! The only place that touches the browser's own objects.

pub mod body;
pub mod engine;
pub mod files;
pub mod gpu;
pub mod http;
pub mod late;
pub mod page;
pub mod storage;
pub mod stream;
