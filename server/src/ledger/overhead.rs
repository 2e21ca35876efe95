//! What measured loads say of the runtime's overhead.

use phi3::api::Environment;
use phi3::estimate::{Backend, Calibration, Sample};
use phi3::placement::DeviceId;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::Ledger;
use crate::store::StoreError;

/// Loads that count: the newest, so that an upgrade of a driver or of the system is forgotten.
const NEWEST: i64 = 50;

/// Loads that were measured: by this build on this machine, all on one device, in a worker of their own. What a load
/// converts, or reads whole before it begins, stands in the host's peak and is no runtime.
const MEASURED: &str = "\
SELECT json_extract(record, '$.engine.device') AS device, \
    coalesce(json_extract(record, '$.predicted.assumed_overhead_bytes'), \
        json_extract(record, '$.memory.predicted.overhead_bytes')) AS assumed, \
    json_extract(record, '$.memory.measured.overhead_bytes') AS host, \
    json_extract(record, '$.unload.gpu_used_before_bytes') \
        - json_extract(record, '$.unload.gpu_used_before_load_bytes') \
        - json_extract(record, '$.memory.measured.weights_bytes') \
        - json_extract(record, '$.memory.measured.activation_bytes') AS gpu \
FROM (SELECT id, CASE WHEN json_valid(record) THEN record END AS record FROM attempts) \
WHERE json_extract(record, '$.environment.build') = ?1 AND json_extract(record, '$.environment.cpu') = ?2 \
    AND json_extract(record, '$.environment.driver') IS ?3 \
    AND json_extract(record, '$.memory.measured.overhead_bytes') IS NOT NULL \
    AND json_extract(record, '$.timings.loading_ms') IS NOT NULL \
    AND coalesce(json_array_length(record, '$.predicted.terms'), 4) = 4 \
    AND coalesce(json_extract(record, '$.load_config.low_cpu_mem_usage'), 1) = 1 \
    AND json_extract(record, '$.load_config.dtype') IS NULL \
    AND json_extract(record, '$.load_config.quantization') IS NULL \
ORDER BY id DESC LIMIT ?4";

impl Ledger {
    /// How far off the assumed overhead of each backend was in the newest loads on this machine; nothing of a backend
    /// that has not been measured.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn calibration(&self, here: &Environment) -> Result<Vec<Calibration>, StoreError> {
        let rows = sqlx::query(MEASURED)
            .bind(&here.build)
            .bind(&here.cpu)
            .bind(&here.driver)
            .bind(NEWEST)
            .fetch_all(self.store.readers())
            .await
            .map_err(|error| self.store.fail(error))?;
        let samples: Vec<Sample> = rows.iter().filter_map(sample).collect();
        Ok(Calibration::fit(&samples))
    }
}

/// On the CPU what the process took; on NVIDIA's GPUs what the driver counted around the load, the cache of no sequence
/// among it. Of other GPUs nobody tells.
fn sample(row: &SqliteRow) -> Option<Sample> {
    let bytes = |column: &str| row.try_get::<Option<i64>, _>(column).ok().flatten()?.try_into().ok();
    let device: DeviceId = row.try_get::<String, _>("device").ok()?.parse().ok()?;
    let backend = device.backend();
    let measured_bytes = match backend {
        Backend::Cpu => bytes("host"),
        Backend::Cuda => bytes("gpu"),
        Backend::Rocm | Backend::Metal | Backend::Wgpu => None,
    };
    Some(Sample { backend, assumed_bytes: bytes("assumed")?, measured_bytes: measured_bytes? })
}
