//! Stamps: the times at which rows were changed, by the source's clock.

use std::fmt;

use jiff::{Timestamp, civil, tz::TimeZone};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const MICROS: u64 = 1_000_000;

/// A TIMESTAMP value: microseconds since 1970-01-01 UTC.
///
/// [`Stamp::ZERO`] is the zero date `0000-00-00 00:00:00`, which sorts before every time; no
/// TIMESTAMP column can hold 1970-01-01 00:00:00 itself, so the two are never confused.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime, example = "2014-09-01T01:23:45.678Z"))]
pub struct Stamp(u64);

/// Text that is not a time.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{0:?} is not a time; write 2014-09-01, 2014-09-01 01:23:45 (UTC), a fraction of up to six \
     digits behind it, or RFC 3339 such as 2014-09-01T01:23:45+02:00"
)]
pub struct StampError(String);

impl Stamp {
    /// The zero date, before every time.
    pub const ZERO: Self = Self(0);

    /// A stamp from microseconds since 1970-01-01 UTC.
    #[must_use]
    pub fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970-01-01 UTC.
    #[must_use]
    pub fn micros(self) -> u64 {
        self.0
    }

    /// Takes what a session with time_zone '+00:00' answers: `2014-09-01 01:23:45[.ffffff]`.
    ///
    /// # Errors
    /// When the text is not of that form.
    pub fn from_sql(text: &[u8]) -> Result<Self, StampError> {
        let text = std::str::from_utf8(text)
            .map_err(|_| StampError(String::from_utf8_lossy(text).into_owned()))?;
        if is_zero(text) {
            return Ok(Self::ZERO);
        }
        text.parse::<civil::DateTime>()
            .ok()
            .and_then(utc)
            .ok_or_else(|| StampError(text.to_owned()))
    }

    /// Takes what a person or a program wrote: a date, a UTC date and time with a space or a `T`,
    /// a fraction of up to six digits, or RFC 3339 with an offset. The `+` of an offset may have
    /// become a space on its way through a URL.
    ///
    /// # Errors
    /// When it is none of these. A time before 1970 is [`Stamp::ZERO`].
    pub fn parse(text: &str) -> Result<Self, StampError> {
        let error = || StampError(text.to_owned());
        let trimmed = text.trim();
        if is_zero(trimmed) {
            return Ok(Self::ZERO);
        }
        let fraction = trimmed.rsplit_once('.').map_or("", |(_, rest)| rest);
        if fraction.bytes().take_while(u8::is_ascii_digit).count() > 6 || !trimmed.is_ascii() {
            return Err(error());
        }
        if let Ok(date) = trimmed.parse::<civil::Date>()
            && trimmed.len() == "2014-09-01".len()
        {
            return utc(date.to_datetime(civil::Time::midnight())).ok_or_else(error);
        }
        let mut candidate = trimmed.to_owned();
        if let Some((front, offset)) = trimmed.rsplit_once(' ')
            && front.len() > "2014-09-01".len()
            && offset.len() == "02:00".len()
        {
            candidate = format!("{front}+{offset}");
        }
        if let Ok(instant) = candidate.parse::<Timestamp>() {
            return Ok(Self(u64::try_from(instant.as_microsecond()).unwrap_or(0)));
        }
        let plain = candidate.len() >= "2014-09-01 01:23:45".len()
            && candidate
                .bytes()
                .all(|b| b.is_ascii_digit() || b"-: T.".contains(&b));
        candidate
            .parse::<civil::DateTime>()
            .ok()
            .filter(|_| plain)
            .and_then(utc)
            .ok_or_else(error)
    }

    /// This time without what a column of that many fractional digits (0 to 6) cannot hold.
    #[must_use]
    pub fn floor(self, precision: u8) -> Self {
        let step = step(precision);
        Self(self.0 / step * step)
    }

    /// The least time above this one that a column of that many fractional digits can hold.
    #[must_use]
    pub fn next(self, precision: u8) -> Self {
        Self(self.floor(precision).0.saturating_add(step(precision)))
    }

    /// This time less some microseconds, not below zero.
    #[must_use]
    pub fn minus_micros(self, micros: u64) -> Self {
        Self(self.0.saturating_sub(micros))
    }

    /// The seconds from `earlier` to this time, negative when it is the later one.
    #[must_use]
    pub fn seconds_since(self, earlier: Self) -> f64 {
        let difference = i128::from(self.0) - i128::from(earlier.0);
        // Exact to the microsecond for 285 years, and only shown to people.
        difference as f64 / MICROS as f64
    }

    /// The form that SQL takes, without quotes: `2014-09-01 01:23:45.000000`.
    #[must_use]
    pub fn sql(self) -> String {
        if self == Self::ZERO {
            return "0000-00-00 00:00:00".to_owned();
        }
        self.civil().strftime("%Y-%m-%d %H:%M:%S.%6f").to_string()
    }

    fn civil(self) -> civil::DateTime {
        let micros = i64::try_from(self.0).unwrap_or(i64::MAX);
        let instant = Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX);
        TimeZone::UTC.to_datetime(instant)
    }
}

/// Whether it is the zero date, with or without a time of day.
fn is_zero(text: &str) -> bool {
    text.strip_prefix("0000-00-00")
        .is_some_and(|time| time.bytes().all(|byte| b"0:. TZ".contains(&byte)))
}

fn step(precision: u8) -> u64 {
    10_u64.pow(6_u32.saturating_sub(u32::from(precision)))
}

fn utc(time: civil::DateTime) -> Option<Stamp> {
    let instant = TimeZone::UTC.to_timestamp(time).ok()?;
    Some(Stamp(u64::try_from(instant.as_microsecond()).unwrap_or(0)))
}

/// RFC 3339 in UTC, with as many digits as it needs; the zero date as it is.
impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ZERO {
            return f.write_str("0000-00-00 00:00:00");
        }
        let time = self.civil();
        write!(f, "{}", time.strftime("%Y-%m-%dT%H:%M:%S"))?;
        let fraction = self.0 % MICROS;
        if fraction != 0 {
            write!(f, ".{}", format!("{fraction:06}").trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Stamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_write_times_in_many_ways() {
        for (text, shown) in [
            ("2014-09-01", "2014-09-01T00:00:00Z"),
            ("2014-09-01 01:23:45", "2014-09-01T01:23:45Z"),
            ("2014-09-01T01:23:45", "2014-09-01T01:23:45Z"),
            ("2014-09-01 01:23:45.5", "2014-09-01T01:23:45.5Z"),
            ("2014-09-01 01:23:45.000001", "2014-09-01T01:23:45.000001Z"),
            ("2014-09-01T01:23:45Z", "2014-09-01T01:23:45Z"),
            ("2014-09-01T01:23:45+02:00", "2014-08-31T23:23:45Z"),
            ("2014-09-01T01:23:45 02:00", "2014-08-31T23:23:45Z"),
            ("2014-09-01 01:23:45 02:00", "2014-08-31T23:23:45Z"),
            ("2014-09-01T01:23:45.25-07:30", "2014-09-01T08:53:45.25Z"),
            ("0000-00-00 00:00:00", "0000-00-00 00:00:00"),
            ("1960-01-01", "0000-00-00 00:00:00"),
            ("2106-02-07 06:28:15", "2106-02-07T06:28:15Z"),
        ] {
            assert_eq!(Stamp::parse(text).unwrap().to_string(), shown, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "yesterday",
            "2014-13-01",
            "2014-02-30",
            "2014-09-01 25:00:00",
            "1409534625",
            "2014-09-01 01:23:45.1234567",
            "2014-09-01 01",
            "2014-09-01x",
            "２０14-09-01",
            "2014-09-01 01:23:45[Europe/Berlin]",
            "0000-00-00 OR 1",
        ] {
            assert!(Stamp::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_stamp_goes_to_sql_and_back() {
        for text in [
            "2014-09-01 01:23:45.000000",
            "1970-01-01 00:00:01.000001",
            "0000-00-00 00:00:00",
        ] {
            assert_eq!(Stamp::from_sql(text.as_bytes()).unwrap().sql(), text);
        }
    }

    #[test]
    fn a_stamp_is_floored_to_its_column() {
        let stamp = Stamp::parse("2014-09-01 01:23:45.678912").unwrap();
        for (precision, floor, next) in [
            (0, "2014-09-01T01:23:45Z", "2014-09-01T01:23:46Z"),
            (3, "2014-09-01T01:23:45.678Z", "2014-09-01T01:23:45.679Z"),
            (
                6,
                "2014-09-01T01:23:45.678912Z",
                "2014-09-01T01:23:45.678913Z",
            ),
        ] {
            assert_eq!(stamp.floor(precision).to_string(), floor, "{precision}");
            assert_eq!(stamp.next(precision).to_string(), next, "{precision}");
        }
    }
}
