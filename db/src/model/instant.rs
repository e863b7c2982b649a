//! Instants: milliseconds since 1970-01-01T00:00:00Z, written as RFC 3339.

use std::fmt;

/// A moment in milliseconds since the Unix epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(pub i64);

const DAY_MS: i64 = 86_400_000;

impl Instant {
    /// Reads `YYYY`, `YYYY-MM`, `YYYY-MM-DD`, `YYYY-MM-DDTHH:MM[:SS[.fraction]]`, with `Z`, `±HH:MM` or
    /// nothing (UTC) at the end. Fractions past the millisecond are cut off. A year with a sign may have up to
    /// nine digits. None if it is no such moment.
    pub fn parse(text: &str) -> Option<Instant> {
        let mut bytes = text.as_bytes();
        let mut signed_year = None;
        if let Some(sign @ (b'+' | b'-')) = bytes.first() {
            let length = bytes[1..].iter().take_while(|b| b.is_ascii_digit()).count();
            if !(4..=9).contains(&length) {
                return None;
            }
            let year: i64 = text[1..=length].parse().ok()?;
            signed_year = Some(if *sign == b'-' { -year } else { year });
            // The last four digits stand where an unsigned year would.
            bytes = &bytes[length - 3..];
        }
        let digits = |from: usize, to: usize| -> Option<i64> {
            let part = bytes.get(from..to)?;
            part.iter().try_fold(0i64, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))
        };
        let at = |i: usize, expected: u8| bytes.get(i) == Some(&expected);

        let year = signed_year.or_else(|| digits(0, 4))?;
        let (mut month, mut day, mut ms) = (1, 1, 0);
        let mut end = 4;
        if at(4, b'-') {
            month = digits(5, 7)?;
            end = 7;
            if at(7, b'-') {
                day = digits(8, 10)?;
                end = 10;
            }
        }
        if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
            return None;
        }
        if end == 10 && at(10, b'T') {
            let (hour, minute) = (digits(11, 13)?, digits(14, 16)?);
            if !at(13, b':') || hour > 23 || minute > 59 {
                return None;
            }
            ms = (hour * 60 + minute) * 60_000;
            end = 16;
            if at(16, b':') {
                let second = digits(17, 19)?;
                if second > 59 {
                    return None;
                }
                ms += second * 1000;
                end = 19;
                if at(19, b'.') {
                    let fraction = bytes[20..].iter().take_while(|b| b.is_ascii_digit()).count();
                    if fraction == 0 {
                        return None;
                    }
                    for place in 0..3 {
                        let digit = if place < fraction { i64::from(bytes[20 + place] - b'0') } else { 0 };
                        ms += digit * [100, 10, 1][place];
                    }
                    end = 20 + fraction;
                }
            }
        }
        let offset_ms = match &bytes[end..] {
            [] | [b'Z'] => 0,
            [sign @ (b'+' | b'-'), _, _, b':', _, _] if end > 10 => {
                let (hour, minute) = (digits(end + 1, end + 3)?, digits(end + 4, end + 6)?);
                if hour > 23 || minute > 59 {
                    return None;
                }
                (hour * 60 + minute) * if *sign == b'+' { 60_000 } else { -60_000 }
            }
            _ => return None,
        };
        let day_ms = i128::from(days_from_civil(year, month, day)) * i128::from(DAY_MS);
        i64::try_from(day_ms + i128::from(ms - offset_ms)).ok().map(Instant)
    }
}

/// `YYYY-MM-DDTHH:MM:SS.mmmZ`; years past 9999 or before 0 carry a sign.
impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.0.div_euclid(DAY_MS));
        let ms = self.0.rem_euclid(DAY_MS);
        if (0..=9999).contains(&year) {
            write!(f, "{year:04}")?;
        } else {
            write!(f, "{year:+05}")?;
        }
        let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
        write!(f, "-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1000)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date in the proleptic Gregorian calendar, counting years from March so that the
/// leap day comes last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(Instant::parse(text).map(|instant| instant.to_string()).as_deref(), Some(expected), "{text}");
    }

    #[test]
    fn instants_are_read_as_rfc_3339_and_written_in_full() {
        check("1970", "1970-01-01T00:00:00.000Z");
        check("2013-06", "2013-06-01T00:00:00.000Z");
        check("1993-06-30", "1993-06-30T00:00:00.000Z");
        check("2012-09-28T00:43:45.000Z", "2012-09-28T00:43:45.000Z");
        check("2000-02-29T23:59:59.1239", "2000-02-29T23:59:59.123Z");
        check("2000-01-01T00:30:00+02:00", "1999-12-31T22:30:00.000Z");
        check("0000-03-01", "0000-03-01T00:00:00.000Z");
        assert_eq!(Instant::parse("1970-01-02"), Some(Instant(DAY_MS)));
        check("-0001-12-31", "-0001-12-31T00:00:00.000Z");
        check("+12020-02-29T01:02Z", "+12020-02-29T01:02:00.000Z");
        for extreme in [Instant(i64::MIN), Instant(i64::MAX)] {
            assert_eq!(Instant::parse(&extreme.to_string()), Some(extreme));
        }
        assert_eq!(Instant::parse("1969-12-31T23:59:59.999Z"), Some(Instant(-1)));
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "19",
            "2001-02-29",
            "2001-13-01",
            "2001-1-1",
            "2001-01-01T24:00",
            "2001-01-01T00:00:60",
            "2001-01-01T00:00:00.",
            "2001Zx",
            "+201-01-01",
            "+9999999999-01-01",
            "+999999999-01-01",
            "é01-01-01",
            "2001-01-01x",
        ] {
            assert_eq!(Instant::parse(text), None, "{text}");
        }
    }

    #[test]
    fn every_day_of_eight_centuries_reads_back() {
        for day in -200_000..100_000 {
            let instant = Instant(day * DAY_MS + 12_345);
            assert_eq!(Instant::parse(&instant.to_string()), Some(instant));
        }
    }
}
