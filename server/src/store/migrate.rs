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

/// The version of a database.
pub(super) async fn version(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("PRAGMA user_version").fetch_one(connection).await
}

/// Whether a database is as it is made: nobody has written to it.
pub(super) async fn is_blank(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let things: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(connection).await?;
    Ok(things == 0)
}

/// The version of a database, which must be known here. One of version 0 must be blank: others have theirs.
pub(super) async fn check(connection: &mut SqliteConnection, path: &Path) -> Result<i64, StoreError> {
    let found = version(connection).await.map_err(|error| StoreError::of(path, error))?;
    if found > KNOWN {
        return Err(StoreError::Newer { path: path.to_owned(), found, known: KNOWN });
    }
    if found == 0 && !is_blank(connection).await.map_err(|error| StoreError::of(path, error))? {
        let reason =
            "another program's tables are in it: move it away, or give another --data-dir".to_owned();
        return Err(StoreError::Unusable { path: path.to_owned(), reason });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqliteConnectOptions;
    use sqlx::{ConnectOptions as _, Connection as _};

    use super::*;
    use crate::store::{FILE, Store};

    async fn open(path: &Path) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
        options.connect().await.expect("a database")
    }

    async fn run(connection: &mut SqliteConnection, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.expect("run");
    }

    /// A folder with a database of version 1, and one attempt in it.
    async fn of_version_1() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut old = open(&dir.path().join(FILE)).await;
        run(&mut old, SCRIPTS[0]).await;
        run(&mut old, "PRAGMA user_version = 1").await;
        let attempt = "INSERT INTO attempts (model, kind, fingerprint, created_ms, state, record) \
                       VALUES ('m', 'load', 'f', 1, 'stopped', '{}')";
        run(&mut old, attempt).await;
        old.close().await.expect("closed");
        dir
    }

    /// Its version, its attempts, and whether it has ladders.
    async fn look(path: &Path) -> (i64, i64, bool) {
        let mut found = open(path).await;
        let number = async |connection: &mut SqliteConnection, sql: &'static str| -> i64 {
            sqlx::query_scalar(sql).fetch_one(connection).await.expect("a number")
        };
        let version = number(&mut found, "PRAGMA user_version").await;
        let attempts = number(&mut found, "SELECT count(*) FROM attempts").await;
        let tables = number(&mut found, "SELECT count(*) FROM sqlite_schema WHERE name = 'ladders'").await;
        (version, attempts, tables == 1)
    }

    #[tokio::test]
    async fn an_older_database_is_brought_up_to_date_and_a_copy_is_kept() {
        let dir = of_version_1().await;
        Store::open(dir.path()).await.expect("brought up to date").close().await;
        assert_eq!(look(&dir.path().join(FILE)).await, (KNOWN, 1, true));
        assert_eq!(look(&dir.path().join("preflight.v1.db")).await, (1, 1, false));
        // Once is enough.
        std::fs::remove_file(dir.path().join("preflight.v1.db")).expect("a file");
        Store::open(dir.path()).await.expect("it is up to date").close().await;
        assert!(!dir.path().join("preflight.v1.db").exists());
    }

    #[tokio::test]
    async fn a_migration_that_fails_changes_nothing() {
        let dir = of_version_1().await;
        let path = dir.path().join(FILE);
        // The last of its tables is in the way.
        run(&mut open(&path).await, "CREATE TABLE profiles (x)").await;
        Store::open(dir.path()).await.expect_err("refused");
        assert_eq!(look(&path).await, (1, 1, false));
        run(&mut open(&path).await, "DROP TABLE profiles").await;
        Store::open(dir.path()).await.expect("brought up to date").close().await;
        assert_eq!(look(&path).await, (KNOWN, 1, true));
    }
}
