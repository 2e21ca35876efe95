//! What a Phi-3 model is, what it costs and how it computes; for the host and for wasm32.
//!
//! The crate is built in floors, each using only those above it in this list:
//!
//! 0. vocabulary: [`units`], [`dtype`], [`platform`]
//! 1. what a model is: [`config`], [`decoder`], [`tensors`], [`rope`]
//! 2. what it costs and where bytes come from: [`devices`], [`weights`], [`estimate`] with [`fit`],
//!    [`placement`], [`load_config`], [`inspect`]
//! 3. how it computes: [`engine`], [`generate`], `tokenize` (feature `tokenizer`)
//! 4. engines: `candle_engine` (feature `candle`), `cuda_engine` (feature `cuda`),
//!    `wgpu_engine` (feature `wgpu`)
//! 5. use cases: [`validate`], [`ladder`], [`export`], [`link`]
//!
//! [`api`] holds the words that travel between processes.
//! Nothing here opens a file or a socket, spawns a process or sees HTML:
//! bytes arrive through [`weights::WeightSource`].
//!
//! ```
//! let decoder = phi3::decoder::Decoder::parse(br#"{"model_type":"phi3"}"#).unwrap();
//! assert_eq!(phi3::estimate::params(&decoder).total, 3_821_079_552);
//! ```

pub mod units;
pub mod dtype;
pub mod platform;

pub mod config;
pub mod decoder;
pub mod tensors;
pub mod rope;

pub mod devices;
pub mod weights;
pub mod estimate;
pub mod placement;
pub mod load_config;
pub mod inspect;

pub mod engine;
pub mod generate;
#[cfg(feature = "tokenizer")]
pub mod tokenize;

#[cfg(feature = "candle")]
pub mod candle_engine;
#[cfg(feature = "cuda")]
pub mod cuda_engine;
#[cfg(feature = "wgpu")]
pub mod wgpu_engine;

pub mod validate;
pub mod ladder;
pub mod export;
pub mod link;

pub mod api;

/// The estimate and its verdict need each other: one module, two names.
pub use estimate::fit;
