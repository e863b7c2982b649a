//! How long a caller waits, as its request says.

use std::time::Duration;
use tonic::Request;

/// The time that the caller gives the call (`grpc-timeout`); None when it waits for ever, or says it in a way that
/// gRPC does not know.
pub fn of<T>(request: &Request<T>) -> Option<Duration> {
    let text = request.metadata().get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

/// A little less than the caller's time, so that what we say at the end still reaches it.
pub fn with_time_to_tell(timeout: Duration) -> Duration {
    timeout - (timeout / 10).min(Duration::from_millis(50))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_deadline_is_read_in_every_unit() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("250m", Some(Duration::from_millis(250))),
            ("7u", Some(Duration::from_micros(7))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("", None),
            ("S", None),
            ("5", None),
            ("-5S", None),
            ("999999999S", None),
        ] {
            let mut request = Request::new(());
            request.metadata_mut().insert("grpc-timeout", text.parse().unwrap());
            assert_eq!(of(&request), expected, "{text:?}");
        }
        assert_eq!(with_time_to_tell(Duration::from_millis(100)), Duration::from_millis(90));
        assert_eq!(with_time_to_tell(Duration::from_secs(100)), Duration::from_millis(99_950));
    }
}
