//! Where each part of a model goes: the planner behind `device_map` and `max_memory`.
//!
//! A [`Workload`] lists the modules that are placed whole, in the order of computation, with the bytes that each
//! brings; [`Devices`] lists budgets; a [`Strategy`] is what was asked for. [`plan`] answers with a [`Placement`]
//! or with a typed reason why there is none. The same input gives the same plan, whatever the order of devices.
//!
//! ```
//! use phi3::{decoder::Decoder, estimate::{Options, Resolved}, placement::*};
//!
//! let decoder = Decoder::parse(br#"{"model_type":"phi3","dtype":"bfloat16"}"#).unwrap();
//! let resolved = Resolved::new(&decoder, None, &Options::default()).unwrap();
//! let devices = Devices::stated(vec![
//!     Device::new("cuda:0".parse().unwrap(), 6 << 30),
//!     Device::new("cpu".parse().unwrap(), 32 << 30),
//! ]).unwrap();
//! let placement = plan(&workload(&decoder, None, &resolved), &devices, &Strategy::Auto, Rules::Preflight).unwrap();
//! assert!(placement.offloaded.contains(&"model.norm".to_owned()));
//! ```
//!
//! # Two kinds of rules
//!
//! [`Rules::Preflight`] counts what a load really takes: weights, KV cache, workspaces and runtime, on the device
//! where each lies, against the budget as stated. A module computes where it lies, so nothing is kept free for
//! layers that pass through.
//!
//! [`Rules::Accelerate`] and [`Rules::Transformers`] give the map that Hugging Face would give: the walk of
//! accelerate 1.15's `infer_auto_device_map` (transformers 5.23 carries its own copy, which places a decoder
//! alike), with the caps of either's `get_balanced_memory`. They look at weights and buffers alone; the plan's
//! [`DeviceUse`] counts everything all the same, so that it shows which devices such a map would overfill.
//!
//! Where the rules part, and why:
//!
//! | | Hugging Face | here |
//! |---|---|---|
//! | counted | weights, buffers | weights, KV cache, workspaces, runtime: what is not counted ends as out-of-memory at the first long prompt |
//! | kept free | the largest layer still to come, on the first GPU and on the CPU, offloaded or not | nothing: offloaded layers compute on the CPU |
//! | free memory (no `max_memory`) | 90 % of a lone GPU; transformers: 90 % of the CPU | all of it: the margin stands in the verdict, once |
//! | `auto` | `balanced` | the first GPU that holds everything, else `balanced`: a token that stays on one device waits for no bus |
//! | `balanced` | size / GPUs + 1.25 × the largest part, as a cap on all GPUs but the last | the least cap that offloads no more than `sequential` does |
//! | `balanced_low_0` | as above over the other GPUs; GPU 0 takes what they leave over | GPU 0 gets the least that offloads no more than `sequential` does |
//! | too small | what is left goes to disk | refused: nothing is read from disk while a model runs |
//! | explicit map, one device | budgets are not looked at | over budget is refused, device by device |
//! | explicit map | a missing part that is tied or has no weights is refused or ignored | it goes with its twin, or with the module before it |
//!
//! With no KV cache, no workspaces, no runtime and nothing offloaded, `sequential` and explicit maps are the same
//! wherever Hugging Face's reserve does not bite.

mod adapter;
mod balance;
mod device;
mod device_map;
mod error;
mod explicit;
mod hugging_face;
mod plan;
mod report;
mod strategy;
mod walk;
mod workload;

pub use adapter::workload;
pub use device::{Device, DeviceId, Devices, UnknownDeviceName};
pub use error::{Over, PlacementError, Room};
pub(crate) use explicit::covers;
pub use plan::plan;
pub use report::{DeviceUse, PlacedModule, Placement};
pub use strategy::{Rules, Strategy};
pub use workload::{Module, Workload, Workspace};

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;
