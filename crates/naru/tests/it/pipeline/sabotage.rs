//! Rows taken out of a lake's files behind its back: same name, same length, fewer rows.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::{AsArray as _, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Int64Type;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

/// Every Parquet file under a directory.
fn parquet_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(parquet_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "parquet") {
            files.push(path);
        }
    }
    files
}

/// Takes the changes of these ids that stand behind a position out of every file of a table of changes; gives the
/// position and sequence of each that is gone.
pub(super) fn remove(table: &Path, ids: &[i64], behind: u64) -> BTreeSet<(u64, u64)> {
    let mut gone = BTreeSet::new();
    for file in parquet_files(table) {
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&file).unwrap()).unwrap();
        let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
        let before = gone.len();
        let mut kept = Vec::new();
        for batch in &batches {
            let long = |name: &str| batch.column_by_name(name).map(|column| column.as_primitive::<Int64Type>());
            let (Some(id), Some(position), Some(sequence)) = (long("id"), long("naru_position"), long("naru_sequence"))
            else {
                continue;
            };
            let keep = (0..batch.num_rows()).map(|row| {
                let place = (position.value(row).cast_unsigned(), sequence.value(row).cast_unsigned());
                let goes = ids.contains(&id.value(row)) && place.0 > behind;
                if goes {
                    gone.insert(place);
                }
                Some(!goes)
            });
            kept.push(filter_record_batch(batch, &keep.collect::<BooleanArray>()).unwrap());
        }
        if gone.len() > before {
            let length = usize::try_from(std::fs::metadata(&file).unwrap().len()).unwrap();
            std::fs::write(&file, of_length(&kept, length)).unwrap();
        }
    }
    gone
}

/// A file of these rows that is as long as the one it replaces: whoever knows the length finds the footer.
fn of_length(batches: &[RecordBatch], length: usize) -> Vec<u8> {
    let mut padding = 0;
    loop {
        let bytes = encoded(batches, padding);
        match length.checked_sub(bytes.len()) {
            Some(0) => return bytes,
            Some(short) => padding += short,
            // One byte of padding may come to two, where its length needs another digit.
            None => padding -= 1,
        }
    }
}

fn encoded(batches: &[RecordBatch], padding: usize) -> Vec<u8> {
    let pad = KeyValue::new("padding".to_owned(), "x".repeat(padding));
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_key_value_metadata(Some(vec![pad]));
    let options = parquet::arrow::arrow_writer::ArrowWriterOptions::new()
        .with_properties(properties.build())
        .with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), batches[0].schema(), options).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.into_inner().unwrap()
}
