//! Histories of users in an SQLite file.
//!
//! Every change is one transaction behind a rollback journal, so several processes may use a file at
//! once: each waits for the other, ten seconds at most. Freed bytes are overwritten.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mistral_core::report::RunReport;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, TransactionBehavior, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::history::{
    Chosen, KeptReport, Outcome, Sharing, Shown, UserHistory, check_position, check_user,
};
use super::residual::residual;
use crate::{Context, RecommendError};

/// "MRrh": says in a database's header whose it is (<https://sqlite.org/fileformat.html>, 1.3.14).
const APPLICATION: u32 = 0x4d52_7268;
/// What makes a file of each version out of one of the version before; the first out of nothing.
const VERSIONS: &[&str] = &["
    CREATE TABLE shown (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        user TEXT NOT NULL, day TEXT NOT NULL,
        need TEXT NOT NULL, choices TEXT NOT NULL, policy TEXT NOT NULL
    ) STRICT;
    CREATE INDEX shown_by_user ON shown (user);
    CREATE TABLE chosen (
        id INTEGER PRIMARY KEY,
        shown INTEGER NOT NULL REFERENCES shown (id) ON DELETE CASCADE,
        position INTEGER NOT NULL, day TEXT NOT NULL
    ) STRICT;
    CREATE INDEX chosen_by_shown ON chosen (shown);
    CREATE TABLE outcome (
        id INTEGER PRIMARY KEY,
        shown INTEGER NOT NULL REFERENCES shown (id) ON DELETE CASCADE,
        rating INTEGER, note TEXT, day TEXT NOT NULL
    ) STRICT;
    CREATE INDEX outcome_by_shown ON outcome (shown);
    CREATE TABLE report (
        id INTEGER PRIMARY KEY,
        user TEXT NOT NULL, shared INTEGER NOT NULL, report TEXT NOT NULL
    ) STRICT;
    CREATE INDEX report_by_user ON report (user);
"];
/// Tables of the latest version.
const TABLES: i64 = 4;
/// How long a change waits for those of other processes.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an SQLite file's header.
const HEADER: usize = 100;

/// Histories of users in a file.
///
/// One user's needs, answers, choices and outcomes are never part of another's; of reports only those
/// that were recorded as [`Sharing::Shared`], and only by [`Store::shared_reports`].
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
}

impl Store {
    /// The latest version of the file, which this code writes.
    pub const VERSION: u32 = VERSIONS.len() as u32;

    /// Opens a file, or makes one where there is none. One of an earlier version becomes one of the
    /// latest.
    ///
    /// # Errors
    /// [`RecommendError::NotAHistory`] for a file of something else or a damaged one,
    /// [`RecommendError::HistoryVersion`] for one of a later version; both stay as they are.
    /// [`RecommendError::HistoryFile`] and [`RecommendError::Database`] when it can't be opened.
    pub fn open(path: &Path) -> Result<Self, RecommendError> {
        let exists = inspect(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(|source| {
            RecommendError::Database {
                path: path.to_owned(),
                doing: "opening",
                source,
            }
        })?;
        let mut store = Self {
            connection,
            path: path.to_owned(),
        };
        store.prepare().map_err(|e| store.failed("opening", e))?;
        if exists {
            store.check()?;
        }
        store.migrate()?;
        Ok(store)
    }

    fn prepare(&self) -> Result<(), rusqlite::Error> {
        self.connection.busy_timeout(PATIENCE)?;
        self.connection.execute_batch(
            "PRAGMA secure_delete = ON; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;",
        )
    }

    /// Whether the database is whole and of our making; reads only.
    fn check(&self) -> Result<(), RecommendError> {
        let text = |sql| {
            self.connection
                .query_row(sql, [], |r| r.get::<_, String>(0))
        };
        let found = text("PRAGMA quick_check(1)").map_err(|e| self.failed("checking", e))?;
        if found != "ok" {
            return Err(self.foreign(format!("a damaged database: {found}")));
        }
        Ok(())
    }

    /// Makes a file of the latest version, in one transaction.
    fn migrate(&mut self) -> Result<(), RecommendError> {
        let path = self.path.clone();
        let failed = |e| database(&path, "making tables", e);
        let version = |c: &Connection| -> Result<u32, rusqlite::Error> {
            c.query_row("PRAGMA user_version", [], |r| r.get(0))
        };
        if version(&self.connection).map_err(failed)? != Self::VERSION {
            let transaction = self
                .connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(failed)?;
            // Another process may have been faster.
            let now = version(&transaction).map_err(failed)?;
            if now > Self::VERSION {
                return Err(RecommendError::HistoryVersion {
                    path,
                    expected: Self::VERSION,
                    found: now,
                });
            }
            for step in VERSIONS.iter().skip(now as usize) {
                transaction.execute_batch(step).map_err(failed)?;
            }
            let header = format!(
                "PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {};",
                Self::VERSION
            );
            transaction.execute_batch(&header).map_err(failed)?;
            transaction.commit().map_err(failed)?;
        }
        let count = |kinds: &str| -> Result<i64, RecommendError> {
            let sql = format!(
                "SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' AND type IN ({kinds})"
            );
            self.connection
                .query_row(&sql, [], |r| r.get(0))
                .map_err(failed)
        };
        if count("'table'")? != TABLES || count("'trigger', 'view'")? != 0 {
            return Err(self.foreign("other tables than a history's".to_owned()));
        }
        Ok(())
    }

    /// All that is known of a user, at one moment; empty for one who isn't known.
    ///
    /// # Errors
    /// [`RecommendError::Database`], and [`RecommendError::NotAHistory`] for rows that can't be read.
    pub fn of(&mut self, user: &str) -> Result<UserHistory, RecommendError> {
        let path = self.path.clone();
        let transaction = self
            .connection
            .transaction()
            .map_err(|e| database(&path, "reading", e))?;
        let rows = |sql: &str| Rows {
            path: &path,
            connection: &transaction,
            sql: sql.to_owned(),
            user,
        };
        Ok(UserHistory {
            shown: rows("SELECT id, day, need, choices, policy FROM shown WHERE user = ?1 ORDER BY id")
                .read(|r| {
                    Ok(Shown {
                        id: number(r, 0)?,
                        day: r.get(1)?,
                        need: json(r, 2)?,
                        choices: json(r, 3)?,
                        policy: json(r, 4)?,
                    })
                })?,
            chosen: rows(
                "SELECT c.shown, c.position, c.day FROM chosen c JOIN shown s ON s.id = c.shown \
                 WHERE s.user = ?1 ORDER BY c.id",
            )
            .read(|r| {
                Ok(Chosen {
                    shown: number(r, 0)?,
                    position: usize::try_from(number(r, 1)?).unwrap_or(usize::MAX),
                    day: r.get(2)?,
                })
            })?,
            outcomes: rows(
                "SELECT o.shown, o.rating, o.note, o.day FROM outcome o JOIN shown s ON s.id = o.shown \
                 WHERE s.user = ?1 ORDER BY o.id",
            )
            .read(|r| {
                Ok(Outcome {
                    shown: number(r, 0)?,
                    rating: r.get(1)?,
                    note: r.get(2)?,
                    day: r.get(3)?,
                })
            })?,
            reports: rows("SELECT shared, report FROM report WHERE user = ?1 ORDER BY id").read(
                |r| {
                    let shared: bool = r.get(0)?;
                    Ok(KeptReport {
                        sharing: if shared {
                            Sharing::Shared
                        } else {
                            Sharing::Private
                        },
                        report: json(r, 1)?,
                    })
                },
            )?,
        })
    }

    /// Records an answer and returns its number, which no other answer of the file ever gets.
    ///
    /// # Errors
    /// As [`History::record_shown`](super::History::record_shown), and [`RecommendError::Database`].
    pub fn record_shown(&mut self, user: &str, shown: &Shown) -> Result<u64, RecommendError> {
        check_user(user)?;
        shown.check()?;
        let sql =
            "INSERT INTO shown (user, day, need, choices, policy) VALUES (?1, ?2, ?3, ?4, ?5)";
        let (need, choices) = (text(&shown.need)?, text(&shown.choices)?);
        let policy = text(&shown.policy)?;
        self.connection
            .execute(sql, params![user, shown.day, need, choices, policy])
            .map_err(|e| self.failed("recording", e))?;
        Ok(u64::try_from(self.connection.last_insert_rowid()).unwrap_or_default())
    }

    /// Records which of an answer's choices, by position from 0, was taken.
    ///
    /// # Errors
    /// As [`History::record_choice`](super::History::record_choice), and
    /// [`RecommendError::Database`].
    pub fn record_choice(
        &mut self,
        user: &str,
        shown: u64,
        position: usize,
        day: &str,
    ) -> Result<(), RecommendError> {
        check_position(self.choices_of(user, shown)?, position)?;
        let sql = "INSERT INTO chosen (shown, position, day) SELECT id, ?3, ?4 FROM shown \
                   WHERE id = ?1 AND user = ?2";
        let position = i64::try_from(position).unwrap_or(i64::MAX);
        let changed = self
            .connection
            .execute(sql, params![signed(shown), user, position, day])
            .map_err(|e| self.failed("recording", e))?;
        kept(changed, shown)
    }

    /// Records how it went.
    ///
    /// # Errors
    /// As [`History::record_outcome`](super::History::record_outcome), and
    /// [`RecommendError::Database`].
    pub fn record_outcome(&mut self, user: &str, outcome: &Outcome) -> Result<(), RecommendError> {
        outcome.check()?;
        let sql = "INSERT INTO outcome (shown, rating, note, day) SELECT id, ?3, ?4, ?5 FROM shown \
                   WHERE id = ?1 AND user = ?2";
        let (rating, note) = (outcome.rating, &outcome.note);
        let changed = self
            .connection
            .execute(
                sql,
                params![signed(outcome.shown), user, rating, note, outcome.day],
            )
            .map_err(|e| self.failed("recording", e))?;
        kept(changed, outcome.shown)
    }

    /// Records a measured run.
    ///
    /// # Errors
    /// As [`History::record_report`](super::History::record_report), and
    /// [`RecommendError::Database`].
    pub fn record_report(
        &mut self,
        user: &str,
        report: &RunReport,
        sharing: Sharing,
        context: &Context<'_>,
    ) -> Result<(), RecommendError> {
        check_user(user)?;
        residual(report, context)?;
        let shared = sharing == Sharing::Shared;
        let sql = "INSERT INTO report (user, shared, report) VALUES (?1, ?2, ?3)";
        self.connection
            .execute(sql, params![user, shared, text(report)?])
            .map_err(|e| self.failed("recording", e))?;
        Ok(())
    }

    /// Reports that users other than this one shared.
    ///
    /// # Errors
    /// As [`Store::of`].
    pub fn shared_reports(&self, user: &str) -> Result<Vec<RunReport>, RecommendError> {
        let rows = Rows {
            path: &self.path,
            connection: &self.connection,
            sql: "SELECT report FROM report WHERE user <> ?1 AND shared = 1 ORDER BY user, id"
                .to_owned(),
            user,
        };
        rows.read(|r| json(r, 0))
    }

    /// Forgets a user: rows are overwritten and the file is written anew without them. Returns
    /// whether anything was known. What the file system or a backup keeps of earlier files is out of
    /// reach.
    ///
    /// # Errors
    /// [`RecommendError::Database`].
    pub fn erase(&mut self, user: &str) -> Result<bool, RecommendError> {
        let path = self.path.clone();
        let failed = |e| database(&path, "erasing", e);
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        let mut rows = 0;
        // Choices and outcomes go with the answers that they belong to.
        for table in ["shown", "report"] {
            let sql = format!("DELETE FROM {table} WHERE user = ?1");
            rows += transaction.execute(&sql, [user]).map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
        self.connection.execute_batch("VACUUM").map_err(failed)?;
        Ok(rows > 0)
    }

    /// How many choices an answer had.
    fn choices_of(&self, user: &str, shown: u64) -> Result<usize, RecommendError> {
        let sql = "SELECT json_array_length(choices) FROM shown WHERE id = ?1 AND user = ?2";
        let found = self
            .connection
            .query_row(sql, params![signed(shown), user], |r| r.get::<_, i64>(0));
        match found {
            Ok(n) => Ok(usize::try_from(n).unwrap_or_default()),
            Err(rusqlite::Error::QueryReturnedNoRows) => Err(RecommendError::NotRecorded { shown }),
            Err(e) => Err(self.failed("reading", e)),
        }
    }

    fn failed(&self, doing: &'static str, source: rusqlite::Error) -> RecommendError {
        database(&self.path, doing, source)
    }

    fn foreign(&self, found: String) -> RecommendError {
        RecommendError::NotAHistory {
            path: self.path.clone(),
            found,
        }
    }
}

/// Rows about one user.
struct Rows<'a> {
    path: &'a Path,
    connection: &'a Connection,
    sql: String,
    user: &'a str,
}

impl Rows<'_> {
    fn read<T>(
        &self,
        of: impl Fn(&Row<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<Vec<T>, RecommendError> {
        let read = || {
            let mut statement = self.connection.prepare(&self.sql)?;
            let rows = statement.query_map([self.user], |r| of(r))?;
            rows.collect::<Result<Vec<T>, rusqlite::Error>>()
        };
        read().map_err(|e| database(self.path, "reading", e))
    }
}

/// A file's damage by its own name, everything else as the database says it.
fn database(path: &Path, doing: &'static str, source: rusqlite::Error) -> RecommendError {
    let path = path.to_owned();
    let damaged = match &source {
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::IntegralValueOutOfRange(..) => true,
        e => matches!(
            e.sqlite_error_code(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        ),
    };
    if damaged {
        let found = format!("a damaged database: {source}");
        RecommendError::NotAHistory { path, found }
    } else {
        RecommendError::Database {
            path,
            doing,
            source,
        }
    }
}

/// Whether there is a history to open. The file is read before SQLite may touch it.
fn inspect(path: &Path) -> Result<bool, RecommendError> {
    let foreign = |found: &str| RecommendError::NotAHistory {
        path: path.to_owned(),
        found: found.to_owned(),
    };
    let unreadable = |source| RecommendError::HistoryFile {
        path: path.to_owned(),
        source,
    };
    let about = match fs::metadata(path) {
        Ok(about) => about,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(unreadable(e)),
    };
    if !about.is_file() {
        return Err(foreign("no file"));
    }
    if about.len() == 0 {
        return Ok(false);
    }
    let mut header = Vec::with_capacity(HEADER);
    File::open(path)
        .and_then(|f| f.take(HEADER as u64).read_to_end(&mut header))
        .map_err(unreadable)?;
    let word = |at: usize| {
        header
            .get(at..at + 4)
            .map(|b| b.try_into().map_or(0, u32::from_be_bytes))
    };
    // Where the header has the version and whose the database is.
    let (Some(version), Some(application)) = (word(60), word(68)) else {
        return Err(foreign("no database"));
    };
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(foreign("no database"));
    }
    if application != APPLICATION {
        return Err(foreign("a database of another program"));
    }
    if version > Store::VERSION {
        return Err(RecommendError::HistoryVersion {
            path: path.to_owned(),
            expected: Store::VERSION,
            found: version,
        });
    }
    Ok(true)
}

fn text(value: &impl Serialize) -> Result<String, RecommendError> {
    serde_json::to_string(value).map_err(|source| RecommendError::Json { source })
}

fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T, rusqlite::Error> {
    let text = row.get_ref(column)?.as_str()?;
    serde_json::from_str(text).map_err(|e| {
        let kind = rusqlite::types::Type::Text;
        rusqlite::Error::FromSqlConversionFailure(column, kind, Box::new(e))
    })
}

fn number(row: &Row<'_>, column: usize) -> Result<u64, rusqlite::Error> {
    let found: i64 = row.get(column)?;
    u64::try_from(found).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, found))
}

fn signed(id: u64) -> i64 {
    // No answer has a number that doesn't fit.
    i64::try_from(id).unwrap_or(-1)
}

fn kept(changed: usize, shown: u64) -> Result<(), RecommendError> {
    if changed == 1 {
        Ok(())
    } else {
        Err(RecommendError::NotRecorded { shown })
    }
}
