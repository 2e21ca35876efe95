//! Devices as they are now: the server's, and this browser.

pub mod browser;
pub mod device;
pub mod machine;

pub use browser::Browser;
pub use device::DeviceCard;
pub use machine::Machine;
