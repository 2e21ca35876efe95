//! Versions of the schema: each a script, applied in one transaction, with a copy of the database before.

use std::path::Path;

use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteConnection;

use super::StoreError;

/// The scripts, from version 1 on. One that was ever released is never changed.
const SCRIPTS: [&str; 2] = [include_str!("schema.sql"), include_str!("ladders.sql")];

/// The version that this build writes.
const KNOWN: i64 = SCRIPTS.len() as i64;

/// Brings a database up to date.
pub(super) async fn migrate(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    let found = check(connection, path).await?;
    if found == KNOWN {
        return Ok(());
    }
    let fail = |error| StoreError::of(path, error);
    if found > 0 {
        let copy = path.with_extension(format!("v{found}.db"));
        // What a run before this one left behind is complete, or was never used.
        std::fs::remove_file(&copy).ok();
        let copy = copy.display().to_string().replace('\'', "''");
        sqlx::raw_sql(AssertSqlSafe(format!("VACUUM INTO '{copy}'")))
            .execute(&mut *connection)
            .await
            .map_err(fail)?;
    }
    let first = usize::try_from(found).unwrap_or(0);
    let mut script = "BEGIN IMMEDIATE;\n".to_owned();
    for step in &SCRIPTS[first..] {
        script.push_str(step);
    }
    script.push_str(&format!("PRAGMA user_version = {KNOWN};\nCOMMIT;"));
    if let Err(error) = sqlx::raw_sql(AssertSqlSafe(script)).execute(&mut *connection).await {
        sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await.ok();
        return Err(fail(error));
    }
    Ok(())
}

/// Writes the version once more: the smallest write that changes nothing.
pub(super) async fn rewrite_version(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(format!("PRAGMA user_version = {KNOWN}"))).execute(connection).await?;
    Ok(())
}

/// The version of a database, which must be known here.
pub(super) async fn check(connection: &mut SqliteConnection, path: &Path) -> Result<i64, StoreError> {
    let found: i64 = sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(connection)
        .await
        .map_err(|error| StoreError::of(path, error))?;
    if found > KNOWN {
        return Err(StoreError::Newer { path: path.to_owned(), found, known: KNOWN });
    }
    Ok(found)
}
