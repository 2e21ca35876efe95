use std::sync::Arc;

use phi3::api::{
    Attempt, AttemptKind, AttemptRecord, AttemptState, Environment, Evidence, ModelSource, Unload,
};
use phi3::dtype::DType;
use phi3::engine::{EngineInfo, Memory};
use phi3::estimate::{Backend, Calibration};
use phi3::validate::PredictedMeasured;
use serde_json::json;

use super::{Filter, Ledger, is_readable};
use crate::store::{Store, StoreError};

fn record() -> AttemptRecord {
    AttemptRecord {
        attempt: Attempt::queued("m", AttemptKind::Load, "cpu", 1),
        evidence: Evidence::new(ModelSource::Path("m".to_owned()), Environment::default()),
    }
}

async fn ledger() -> (tempfile::TempDir, Ledger) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(dir.path()).await.expect("made");
    (dir, Ledger::new(Arc::new(store)))
}

#[tokio::test]
async fn what_has_ended_never_changes_whoever_tries() {
    let (_dir, ledger) = ledger().await;
    let mut record = record();
    record.attempt.id = ledger.add(&record, "f").await.expect("added");
    record.attempt.state = AttemptState::Stopped;
    ledger.write(&record, &["a".to_owned()], None).await.expect("ended");
    record.attempt.state = AttemptState::Ready;
    ledger.write(&record, &[], None).await.expect_err("ended");
    for sql in [
        "DELETE FROM attempts",
        "UPDATE attempts SET state = 'ready'",
        "UPDATE attempts SET model = 'other'",
        "UPDATE attempts SET fingerprint = 'other'",
        "UPDATE attempts SET created_ms = 2",
        "UPDATE attempts SET log = ''",
        "INSERT OR REPLACE INTO attempts (id, model, kind, fingerprint, created_ms, state, record) \
         VALUES (1, 'm', 'load', 'f', 1, 'ready', '{}')",
    ] {
        let mut writer = ledger.store().writer().await.expect("open");
        let refused = sqlx::query(sql).execute(&mut *writer).await;
        assert!(refused.is_err(), "{sql}");
    }
    // A note is no part of what happened.
    assert!(ledger.note(1, "later").await.expect("noted"));
    let kept = ledger.get(1).await.expect("read").expect("there");
    assert_eq!((kept.attempt.note.as_str(), kept.attempt.state), ("later", AttemptState::Stopped));
    assert_eq!(ledger.log(1).await.expect("read"), Some(vec!["a".to_owned()]));
}

#[tokio::test]
async fn a_full_database_refuses_and_recovers() {
    let (_dir, ledger) = ledger().await;
    let limit = async |pages: i64| {
        let mut writer = ledger.store().writer().await.expect("open");
        let sql = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
        sqlx::query(sql).execute(&mut *writer).await.expect("limited");
    };
    let record = record();
    ledger.add(&record, "f").await.expect("added");
    // No page more than there are: what a full disk looks like to SQLite.
    limit(1).await;
    let mut added = 1;
    let error = loop {
        match ledger.add(&record, "f").await {
            Ok(_) if added < 10_000 => added += 1,
            Ok(_) => panic!("the limit does not hold"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert_eq!(error.code(), "storage_full");
    // What was there is there, nothing is half written, and with room it goes on.
    let all = || async { ledger.list(&Filter::default()).await.expect("read").len() };
    assert_eq!(all().await, added);
    assert_eq!(ledger.store().integrity().await.expect("read"), "ok");
    limit(1_000_000).await;
    ledger.add(&record, "f").await.expect("added");
    assert_eq!(all().await, added + 1);
}

/// Loads that count correct what is assumed, by backend; those that converted, were split, ran elsewhere or ran in a
/// worker that was there already do not.
#[tokio::test]
async fn measured_loads_calibrate_the_overhead_of_their_backend() {
    let (_dir, ledger) = ledger().await;
    let here = Environment { build: "1".to_owned(), cpu: "a cpu".to_owned(), ..Environment::default() };
    assert_eq!(ledger.calibration(&here).await.expect("read"), []);
    let measured = |device: &str, assumed: u64, overhead: u64| {
        let mut record = record();
        record.evidence.environment = here.clone();
        record.evidence.engine = Some(EngineInfo {
            engine: "e".to_owned(),
            device: device.to_owned(),
            dtype: DType::F32,
            threads: 1,
        });
        let of = |overhead_bytes| Memory {
            weights_bytes: 1000,
            kv_cache_bytes: 100,
            activation_bytes: 10,
            overhead_bytes,
            total_bytes: 1110 + overhead_bytes,
        };
        record.evidence.memory = Some(PredictedMeasured { predicted: of(assumed), measured: of(overhead) });
        record.evidence.timings.loading_ms = Some(1.0);
        record
    };
    let mut records = vec![
        measured("cpu", 500, 400),
        measured("cpu", 500, 420),
        measured("cpu:1", 500, 600),
        measured("wgpu:0", 500, 1),
        measured("cuda:0", 640, 1),
    ];
    // The driver counts the context too; a cache is held by no sequence any more when a worker ends.
    records[4].evidence.unload = Some(Unload {
        gpu_used_before_load_bytes: Some(50),
        gpu_used_before_bytes: Some(50 + 1010 + 700),
        ..Unload::default()
    });
    // What was assumed is kept beside a prediction that was corrected already.
    records[1].evidence.predicted = json!({ "assumed_overhead_bytes": 510 }).as_object().cloned();
    let other = |change: fn(&mut AttemptRecord)| {
        let mut record = measured("cpu", 500, 1 << 40);
        change(&mut record);
        record
    };
    let quantized = json!({ "quantization": "q8_0" }).as_object().cloned().expect("a map");
    records.push(other(|record| record.evidence.environment.cpu = "another".to_owned()));
    records.push(other(|record| record.evidence.environment.driver = Some("another".to_owned())));
    records.push(other(|record| record.evidence.environment.build = "0".to_owned()));
    records.push(other(|record| record.evidence.timings.loading_ms = None));
    records.push(other(|record| record.evidence.memory = None));
    records.push(other(|record| {
        record.attempt.load_config.insert("low_cpu_mem_usage".to_owned(), false.into());
    }));
    records.push(other(|record| {
        record.evidence.predicted = json!({ "terms": [1, 2, 3, 4, 5, 6, 7, 8] }).as_object().cloned();
    }));
    records.push(AttemptRecord {
        attempt: Attempt { load_config: quantized, ..record().attempt },
        ..measured("cpu", 500, 1 << 40)
    });
    for record in &records {
        ledger.add(record, "f").await.expect("added");
    }
    let of = |backend, correction_bytes, samples, residual_bytes| Calibration {
        backend,
        correction_bytes,
        samples,
        residual_bytes,
    };
    let fitted = ledger.calibration(&here).await.expect("read");
    assert_eq!(fitted, [of(Backend::Cpu, -90, 3, 190), of(Backend::Cuda, 60, 1, 0)]);
}

/// A row that another build wrote, or that a disk has spoilt: it is named, and hides no other.
#[tokio::test]
async fn a_row_that_cannot_be_read_is_named_among_the_others() {
    let (dir, ledger) = ledger().await;
    for _ in 0..3 {
        ledger.add(&record(), "f").await.expect("added");
    }
    let spoilt = [("2", "'{\"id\":2}'"), ("3", "cast(x'ff' AS TEXT)")];
    for (id, value) in spoilt {
        let mut writer = ledger.store().writer().await.expect("open");
        let sql = format!("UPDATE attempts SET record = {value}, worker_pid = 1 WHERE id = {id}");
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut *writer).await.expect("spoilt");
    }
    let listed = ledger.list(&Filter::default()).await.expect("read");
    let told: Vec<_> = listed
        .iter()
        .map(|record| (record.attempt.id, record.attempt.error.as_ref().map(|e| e.code.as_str())))
        .collect();
    assert_eq!(told, [(3, Some("attempt_unreadable")), (2, Some("attempt_unreadable")), (1, None)]);
    let second = &listed[1];
    assert!(second.attempt.error.as_ref().is_some_and(|error| error.message.contains("attempt 2")));
    assert_eq!(
        (second.attempt.model.as_str(), second.attempt.created_ms),
        ("m", 1),
        "what columns hold is told"
    );
    assert_eq!((is_readable(second), is_readable(&listed[2])), (false, true));
    assert_eq!(ledger.calibration(&Environment::default()).await.expect("the others count"), []);
    // A server that starts brings it to its end, and leaves what cannot be read as it is.
    let hub = Arc::new(crate::events::Hub::new());
    let attempts = crate::attempts::Attempts::open(ledger.clone(), hub).await.expect("opened");
    let states: Vec<_> = attempts.list(&Filter::default()).await.expect("read");
    assert!(states.iter().all(|record| record.attempt.state == AttemptState::Lost), "{states:?}");
    let kept: String = sqlx::query_scalar("SELECT record FROM attempts WHERE id = 2")
        .fetch_one(ledger.store().readers())
        .await
        .expect("read");
    assert_eq!(kept, "{\"id\":2}");
    drop(dir);
}
