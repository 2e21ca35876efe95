//! The only place that touches the browser's own objects.

pub mod files;
pub mod page;
pub mod stream;
