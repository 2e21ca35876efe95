//! A table as RFC 4180 has it, with a column `load_config_json`; between its cells also semicolons or tabs, as spreadsheets
//! write them where the comma is the decimal sign.

use std::path::Path;

use csv::{ByteRecord, ReaderBuilder};
use phi3::api::ErrorObject;
use phi3::units::format_counted;
use serde_json::{Map, Value};

use super::{COLUMN, Imported, unreadable};

pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Imported, ErrorObject> {
    // Rows of another length are told one by one, not as the end of the file.
    let open = |delimiter| ReaderBuilder::new().flexible(true).delimiter(delimiter).from_reader(bytes);
    let fail = |error: csv::Error| unreadable(path, format_args!("is no CSV file: {error}"));
    let headers_of = |delimiter| -> Result<Vec<String>, ErrorObject> {
        let headers = open(delimiter).byte_headers().map_err(fail)?.clone();
        Ok(headers.iter().map(|header| String::from_utf8_lossy(header).trim().to_owned()).collect())
    };
    let is_column = |header: &String| header.eq_ignore_ascii_case(COLUMN);
    let mut delimiter = b',';
    let mut headers = headers_of(delimiter)?;
    for other in [b';', b'\t'] {
        if !headers.iter().any(is_column) {
            let found = headers_of(other)?;
            if found.iter().any(is_column) {
                (delimiter, headers) = (other, found);
            }
        }
    }
    let position = headers.iter().position(is_column).ok_or_else(|| {
        unreadable(path, format_args!("has no column {COLUMN}; its columns: {}", headers.join(", ")))
    })?;
    if headers.iter().filter(|header| is_column(header)).count() > 1 {
        return Err(unreadable(path, format_args!("has the column {COLUMN} twice: which one is meant?")));
    }
    if ends_in_quotes(bytes, delimiter) {
        // The reader takes all that follows as one cell.
        return Err(unreadable(path, "has a cell whose quote is never closed"));
    }
    let mut reader = open(delimiter);
    reader.byte_headers().map_err(fail)?;
    let mut imported = Imported::default();
    let mut record = ByteRecord::new();
    for row in 1.. {
        if !reader.read_byte_record(&mut record).map_err(fail)? {
            break;
        }
        add(&mut imported, row, &headers, position, &record);
    }
    Ok(imported)
}

fn ends_in_quotes(bytes: &[u8], delimiter: u8) -> bool {
    let (mut quoted, mut starts) = (false, true);
    for byte in bytes {
        // A doubled quote closes and opens again.
        quoted ^= *byte == b'"' && (quoted || starts);
        starts = !quoted && (*byte == delimiter || matches!(byte, b'\n' | b'\r' | b'"'));
    }
    quoted
}

fn add(imported: &mut Imported, row: u64, headers: &[String], position: usize, record: &ByteRecord) {
    let shown = || record.iter().map(String::from_utf8_lossy).collect::<Vec<_>>().join(",");
    let refuse = |message: String| vec![ErrorObject::new("row_malformed", message)];
    let cells: Result<Vec<&str>, _> = record.iter().map(std::str::from_utf8).collect();
    let cells = match cells {
        Ok(cells) if cells.len() == headers.len() => cells,
        Ok(cells) => {
            let message = format!(
                "has {}, the header has {}: a cell with delimiters or quotes must stand in quotes, \
                 with its own quotes doubled",
                format_counted(cells.len() as u64, "cell"),
                headers.len()
            );
            imported.add_error(row, &Map::new(), refuse(message), &shown());
            return;
        }
        Err(error) => {
            imported.add_error(row, &Map::new(), refuse(format!("is not UTF-8 text ({error})")), &shown());
            return;
        }
    };
    let mut columns = Map::new();
    for (index, (header, cell)) in headers.iter().zip(&cells).enumerate() {
        if index == position {
            continue;
        }
        // A second column of a name must not take the place of the first.
        let key =
            if columns.contains_key(header) { format!("{header}#{}", index + 1) } else { header.clone() };
        columns.insert(key, Value::from(*cell));
    }
    imported.add_text(row, columns, cells[position]);
}
