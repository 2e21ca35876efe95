//! An engine's failure in words that travel.

use phi3::api::ErrorObject;
use phi3::engine::EngineError;

/// The error object of an engine's error.
pub(crate) fn refused(error: &EngineError) -> ErrorObject {
    let object = ErrorObject::new(error.code(), error.to_string());
    match error {
        EngineError::Weights(weights) => object.at(&weights.file),
        EngineError::OutOfMemory { phase, .. } => object.at(*phase),
        _ => object,
    }
}
