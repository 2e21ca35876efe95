use super::*;

fn imported(name: &str, bytes: impl AsRef<[u8]>) -> Result<Imported, ErrorObject> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).expect("written");
    import(&path, None)
}

fn good(name: &str, bytes: impl AsRef<[u8]>) -> Imported {
    imported(name, bytes).expect("readable as a whole")
}

/// Rows of the table that the guide to testing models by hand gives.
const GUIDE: [&str; 6] = [
    r#"{"low_cpu_mem_usage": true}"#,
    r#"{"max_memory": {"0": "12GiB", "cpu": "32GiB"}}"#,
    r#"{"torch_dtype": "float16"}"#,
    r#"{"device_map": {"": "cuda:0"}}"#,
    r#"{"rope_scaling": {"type": "linear", "factor": 2.0}}"#,
    r#"{"attn_implementation": "eager"}"#,
];

#[test]
fn json_comes_as_an_object_a_list_or_lines() {
    let list = good("rows.json", format!("[{}]", GUIDE.join(",")));
    let lines = good("rows.jsonl", GUIDE.join("\n"));
    assert!(list.errors.is_empty(), "{list:?}");
    assert_eq!(list, lines);
    assert_eq!(list.rows.len(), GUIDE.len());
    assert_eq!(Value::Object(list.rows[2].load_config.clone()), serde_json::json!({"dtype": "float16"}));
    let one = good("row.json", format!("\u{feff}{}", GUIDE[0]));
    assert_eq!((one.rows.len(), one.rows[0].row), (1, 1));
    let named = good(
        "rows.json",
        r#"{"id": 7, "name": "phi", "notes": "slow", "load_config_json": "{\"dtype\": \"bf16\"}"}"#,
    );
    let row = &named.rows[0];
    assert_eq!((row.name.as_deref(), row.notes.as_deref()), (Some("phi"), Some("slow")));
    assert_eq!((&row.load_config["dtype"], &row.other["id"]), (&"bfloat16".into(), &7.into()));
}

#[test]
fn a_bad_row_is_told_with_its_number_and_its_text() {
    let rows = "{\"dtype\": \"bf16\"}\n\n{'torch_dtype': 'float16', 'low_cpu_mem_usage': True}\n[1]\n{\"dtpye\": 1, \"use_cache\": 2}\n";
    let imported = good("rows.jsonl", rows);
    assert_eq!(imported.rows.len(), 1);
    let numbers: Vec<_> = imported.errors.iter().map(|error| error.row).collect();
    assert_eq!(numbers, [3, 4, 5]);
    let python = &imported.errors[0];
    assert_eq!(python.errors[0].code, "python_repr");
    assert!(python.errors[0].message.contains("json.dumps") && python.text.starts_with("{'torch_dtype'"));
    assert_eq!(imported.errors[2].errors.len(), 2);
    assert_eq!(super::tests::imported("one.json", "{'a': 1}").expect_err("Python").code, "python_repr");
    assert_eq!(super::tests::imported("x.json", "{\"a\": ").expect_err("cut").code, "load_config_invalid");
}

#[test]
fn python_is_told_from_broken_json() {
    for text in ["{'a': 1}", "{\"a\": True}", "[None]", "{\"it's\": False}"] {
        assert!(looks_like_python(text), "{text}");
    }
    for text in ["{\"a\": \"True or 'None'\",}", "{\"a\": 1", "nonsense", "{\"a\\\"'\": tru}"] {
        assert!(!looks_like_python(text), "{text}");
    }
}

/// A key that stands twice says two things, wherever in a row: that row is refused, and no other.
#[test]
fn rows_that_say_a_thing_twice_are_refused() {
    let rows = r#"[{"load_config_json": {"dtype": "bf16", "dtype": "f16"}}, {"load_config_json": {"dtype": "f16"}},
        {"load_config_json": {"max_memory": {"0": "1GiB", "0": "2GiB"}}},
        {"load_config_json": {}, "load_config_json": {"dtype": "f16"}}]"#;
    let both = r#"{"load_config": {"dtype": "f16"}, "load_config_json": {}}"#;
    let told = good("rows.json", both);
    assert!(
        told.rows.is_empty() && told.errors[0].errors[0].message.contains("which one is meant"),
        "{told:?}"
    );
    let lines = "{\"dtype\": \"bf16\", \"dtype\": \"f16\"}\n{\"dtype\": \"f16\"}\n";
    let one = r#"{"dtype": "bf16", "dtype": "f16"}"#;
    for (text, refused, taken) in [(rows, vec![1, 3, 4], 1), (lines, vec![1], 1), (one, vec![1], 0)] {
        let imported = good("rows.json", text);
        let told: Vec<_> = imported.errors.iter().map(|error| error.row).collect();
        assert_eq!((told, imported.rows.len()), (refused, taken), "{imported:?}");
        assert!(imported.errors.iter().all(|error| error.errors[0].message.contains("stands twice")));
    }
}

#[test]
fn csv_keeps_every_column() {
    let csv = "id,name,notes,load_config_json\r\n\
               1,phi,\"two\nlines, one comma\",\"{\"\"torch_dtype\"\": \"\"float16\"\"}\"\r\n\
               2,none,,\r\n\
               3,broken,,{\"torch_dtype\": \"float16\", \"use_cache\": true}\r\n\
               4,python,,{'torch_dtype': 'float16'}\r\n";
    let imported = good("rows.csv", csv);
    assert_eq!(imported.rows.len(), 2, "{imported:?}");
    assert_eq!(imported.rows[0].notes.as_deref(), Some("two\nlines, one comma"));
    assert_eq!(imported.rows[0].other["id"], "1");
    assert!(imported.rows[1].load_config.is_empty());
    let codes: Vec<_> =
        imported.errors.iter().map(|error| (error.row, error.errors[0].code.as_str())).collect();
    assert_eq!(codes, [(3, "row_malformed"), (4, "python_repr")]);
    assert_eq!(imported.errors[1].name.as_deref(), Some("python"));
    let lacking = super::tests::imported("rows.csv", "id,load_config\n1,{}\n").expect_err("no column");
    assert!(lacking.message.contains("load_config_json") && lacking.message.contains("id, load_config"));
    for delimiter in [";", "\t"] {
        let csv = format!(
            "name{delimiter}load_config_json{delimiter}notes\n\
             phi{delimiter}\"{{\"\"dtype\"\": \"\"bf16\"\"}}\"{delimiter}\"one, two\"\n\
             bare{delimiter}{{}}{delimiter}1,5\n"
        );
        let imported = good("rows.csv", csv);
        assert!(imported.errors.is_empty(), "{imported:?}");
        assert_eq!(imported.rows[0].load_config["dtype"], "bfloat16");
        assert_eq!(imported.rows[0].notes.as_deref(), Some("one, two"));
        assert_eq!(imported.rows[1].notes.as_deref(), Some("1,5"));
    }
    let latin = good("rows.csv", b"load_config_json,name\n{},caf\xe9\n");
    assert_eq!(latin.errors[0].errors[0].code, "row_malformed");
}

#[test]
fn a_csv_that_could_be_read_in_two_ways_is_refused() {
    for (text, says) in [
        ("name,load_config_json\na,\"{\"\"dtype\"\": \"\"bf16\"\"}\nb,{}\n", "quote is never closed"),
        ("load_config_json,Load_Config_JSON\n{},{}\n", "twice"),
        ("name;load_config_json\na;\"{\"\"dtype\"\": \"\"bf16\"\"}\nb;{}\n", "quote is never closed"),
    ] {
        let error = imported("rows.csv", text).expect_err(says);
        assert!(error.code == "import_unreadable" && error.message.contains(says), "{error}");
    }
    // An inch is no open quote.
    let inch = good("rows.csv", "name,load_config_json\n24\" screen,\"{\"\"dtype\"\": \"\"bf16\"\"}\"\n");
    assert_eq!((inch.rows.len(), inch.rows[0].name.as_deref()), (1, Some("24\" screen")));
}

/// Builds a database with the statements given.
fn database(statements: &[&str]) -> tempfile::TempDir {
    use sqlx::ConnectOptions as _;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("models.db");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let mut connection = options.connect().await.expect("a database");
        for statement in statements {
            let statement = sqlx::AssertSqlSafe((*statement).to_owned());
            sqlx::query(statement).execute(&mut connection).await.expect("valid SQL");
        }
        sqlx::Connection::close(connection).await.expect("closed");
    });
    folder
}

#[test]
fn a_table_is_read_with_all_its_types() {
    let folder = database(&[
        "CREATE TABLE \"odd \"\"name\" (id INTEGER PRIMARY KEY, name TEXT, notes TEXT, ratio REAL, raw BLOB, Load_Config_JSON TEXT)",
        r#"INSERT INTO "odd ""name" VALUES (1, 'phi', 'ok', 1.5, x'ff00', '{"torch_dtype": "float16"}')"#,
        r#"INSERT INTO "odd ""name" VALUES (2, NULL, NULL, NULL, NULL, NULL)"#,
        r#"INSERT INTO "odd ""name" VALUES (3, 'bad', NULL, NULL, NULL, '{''use_cache'': True}')"#,
        r#"INSERT INTO "odd ""name" VALUES (4, 'bytes', NULL, NULL, NULL, CAST('{"dtype": "bf16"}' AS BLOB))"#,
        "CREATE TABLE other (id INTEGER)",
    ]);
    let path = folder.path().join("models.db");
    let imported = import(&path, None).expect("one table has the column");
    assert_eq!(imported.rows.len(), 3, "{imported:?}");
    let row = &imported.rows[0];
    assert_eq!((row.name.as_deref(), row.notes.as_deref()), (Some("phi"), Some("ok")));
    assert_eq!((&row.other["id"], &row.other["ratio"]), (&1.into(), &1.5.into()));
    assert_eq!(row.other["raw"], "base64:/wA=");
    assert_eq!(row.load_config["dtype"], "float16");
    assert_eq!(imported.rows[2].load_config["dtype"], "bfloat16");
    assert_eq!((imported.errors[0].row, imported.errors[0].errors[0].code.as_str()), (3, "python_repr"));
    assert!(import(&path, Some("odd \"name")).is_ok());
    assert!(import(&path, Some("other")).expect_err("no column").message.contains("odd"));
}

/// SQLite itself reads what is left of such a file without a word.
#[test]
fn a_database_that_was_cut_off_is_refused_and_none_grows_files() {
    let row = |id: u32| {
        format!(
            r#"INSERT INTO models VALUES ({id}, '{{"torch_dtype": "float16", "revision": "{id:0100}"}}')"#
        )
    };
    let rows: Vec<String> = (0..200).map(row).collect();
    let mut statements =
        vec!["PRAGMA journal_mode = WAL", "CREATE TABLE models (id INTEGER, load_config_json TEXT)"];
    statements.extend(rows.iter().map(String::as_str));
    let folder = database(&statements);
    let path = folder.path().join("models.db");
    assert_eq!(import(&path, None).expect("whole").rows.len(), 200);
    let names: Vec<_> =
        folder.path().read_dir().expect("there").flatten().map(|file| file.file_name()).collect();
    assert_eq!(names, ["models.db"]);
    let whole = std::fs::read(&path).expect("read");
    for length in [whole.len() - 2000, whole.len() - 4096, whole.len() / 2 + 100] {
        let error = imported("cut.db", &whole[..length]).expect_err("cut");
        assert_eq!(error.code, "import_unreadable", "{length}: {error:?}");
    }
}

#[test]
fn a_table_is_chosen_never_guessed() {
    let two = database(&["CREATE TABLE a (load_config_json)", "CREATE TABLE b (load_config_json)"]);
    let message = import(&two.path().join("models.db"), None).expect_err("two").message;
    assert!(message.contains("--table") && message.contains("a, b"), "{message}");
    let none = database(&["CREATE TABLE a (x)"]);
    assert!(import(&none.path().join("models.db"), None).is_err());
    let torn = imported("x.db", b"SQLite format 3\0garbage").expect_err("no database");
    assert_eq!(torn.code, "import_unreadable");
    assert_eq!(imported("empty.json", "").expect_err("empty").code, "load_config_invalid");
}
