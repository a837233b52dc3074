//! When to try again, and after how long.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::{Duration, SystemTime};

/// First pause; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(500);
/// Longest pause that the client chooses itself.
const LONGEST: Duration = Duration::from_secs(30);
/// Longest pause that a server may ask for.
pub const MOST: Duration = Duration::from_secs(120);

/// Whether a request that got this status may succeed when it is sent again.
pub fn may_help(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

/// The pause after the `tries`-th request, between half and all of an exponentially growing time,
/// so that clients that failed together don't come back together.
pub fn pause(tries: u32) -> Duration {
    let doubled = FIRST.saturating_mul(1 << tries.saturating_sub(1).min(16));
    doubled.min(LONGEST).mul_f64(0.5 + random() / 2.0)
}

/// The pause that a `Retry-After` header asks for: seconds, or a date (RFC 9110, section 10.2.3).
pub fn asked(header: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = header.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(header.trim()).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// A number from 0 to 1 that differs from process to process and call to call.
fn random() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 11;
    bits as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_differ() {
        for tries in 1..40 {
            let all = FIRST.saturating_mul(1 << (tries - 1).min(16)).min(LONGEST);
            let found = pause(tries);
            assert!(
                found >= all / 2 && found <= all,
                "{tries}: {found:?} of {all:?}"
            );
        }
        assert_ne!(pause(3), pause(3));
    }

    #[test]
    fn both_forms_of_retry_after() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let rows = [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ];
        for (header, expected) in rows {
            assert_eq!(
                asked(header, now),
                expected.map(Duration::from_secs),
                "{header}"
            );
        }
    }
}
