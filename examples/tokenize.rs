//! Holds a tokenizer against vectors: `tokenize TOKENIZER_FILE VECTORS.jsonl`.
//!
//! Rows are texts (`text`, `ids`, `decoded`), chats (`request`) or fill-in-the-middle requests
//! (`fim`), with `ids` or with the class of the `error` that is expected. Prints one JSON line a
//! row, `{"id","ids","ok"}`, and a last line `{"total","equal"}`.

use std::path::Path;
use std::process::ExitCode;

use mistral_examples::{Options, Outcome, print_line, run, vectors};
use serde::Serialize;

#[derive(Serialize)]
struct Total {
    total: usize,
    equal: usize,
}

fn main() -> ExitCode {
    let options = Options {
        max_positional: 2,
        ..Options::default()
    };
    run("TOKENIZER_FILE VECTORS.jsonl", &options, |arguments| {
        let tokenizer = Path::new(arguments.required(0, "TOKENIZER_FILE")?);
        let file = Path::new(arguments.required(1, "VECTORS.jsonl")?);
        let tokenizer = vectors::open_tokenizer(tokenizer, file)?;
        let rows = vectors::read_rows(file)?;
        let mut equal = 0;
        for (index, row) in rows.iter().enumerate() {
            let checked = row.check(index, &tokenizer);
            equal += usize::from(checked.ok);
            if !checked.ok {
                eprintln!("row {index} ({}): {}", checked.id.dumps(), checked.note);
            }
            print_line(&checked)?;
        }
        print_line(&Total {
            total: rows.len(),
            equal,
        })?;
        Ok(Outcome::Good)
    })
}
