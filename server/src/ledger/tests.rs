use std::sync::Arc;

use phi3::api::{
    Attempt, AttemptKind, AttemptRecord, AttemptState, Environment, Evidence, ModelSource, Timings,
};
use serde_json::Map;

use super::{Filter, Ledger};
use crate::store::{Store, StoreError};

fn record() -> AttemptRecord {
    AttemptRecord {
        attempt: Attempt {
            id: 0,
            model: "m".to_owned(),
            kind: AttemptKind::Load,
            state: AttemptState::Queued,
            outcome: None,
            parent: None,
            changes: Vec::new(),
            position: None,
            device: "cpu".to_owned(),
            load_config: Map::new(),
            created_ms: 1,
            started_ms: None,
            finished_ms: None,
            progress: None,
            text: String::new(),
            report: None,
            error: None,
            note: String::new(),
            log: Vec::new(),
        },
        evidence: Evidence {
            source: ModelSource::Path("m".to_owned()),
            branch: false,
            resolved: Vec::new(),
            run: None,
            seed: None,
            files: Vec::new(),
            environment: Environment::default(),
            predicted: None,
            engine: None,
            context: None,
            memory: None,
            timings: Timings::default(),
            unload: None,
            next: Vec::new(),
            advice: None,
        },
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
        let mut writer = ledger.store().writer().await;
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
        let mut writer = ledger.store().writer().await;
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
