//! Dates as RFC 5322 3.3 has them.

/// A time zone at some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Zone<'a> {
    /// Seconds east of Greenwich.
    pub offset: i32,
    /// The abbreviation that goes into a comment (`UTC`, `CEST`); empty for none.
    pub name: &'a str,
}

const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `seconds` since the epoch, in a zone: `Fri, 20 Nov 2026 10:25:43 +0000 (UTC)`.
#[must_use]
pub fn format(seconds: i64, zone: Zone<'_>) -> String {
    let local = seconds + i64::from(zone.offset);
    let Utc { year, month, day, hour, minute, second } = Utc::of(local);
    let weekday = (local.div_euclid(86_400) + 4).rem_euclid(7);
    let minutes = zone.offset.unsigned_abs() / 60;
    let comment = if zone.name.is_empty() { String::new() } else { format!(" ({})", zone.name) };
    format!(
        "{}, {day} {} {year:04} {hour:02}:{minute:02}:{second:02} {}{:02}{:02}{comment}",
        DAYS[weekday as usize],
        MONTHS[month as usize - 1],
        if zone.offset < 0 { '-' } else { '+' },
        minutes / 60,
        minutes % 60,
    )
}

/// A moment in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Utc {
    /// Year, as in 2026.
    pub year: i64,
    /// 1 to 12.
    pub month: i64,
    /// 1 to 31.
    pub day: i64,
    /// 0 to 23.
    pub hour: i64,
    /// 0 to 59.
    pub minute: i64,
    /// 0 to 59.
    pub second: i64,
}

impl Utc {
    /// `seconds` since the epoch.
    #[must_use]
    pub fn of(seconds: i64) -> Utc {
        let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = civil(days);
        Utc { year, month, day, hour: rest / 3600, minute: rest / 60 % 60, second: rest % 60 }
    }
}

/// The date of a day counted from 1970-01-01, in the proleptic Gregorian calendar: (year, month 1-12, day 1-31).
///
/// Years are counted from March, so that the leap day is the last of its year.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let utc = Zone { offset: 0, name: "UTC" };
        let cases = [
            (0, utc, "Thu, 1 Jan 1970 00:00:00 +0000 (UTC)"),
            (1_795_170_343, utc, "Fri, 20 Nov 2026 10:25:43 +0000 (UTC)"),
            (951_782_400, utc, "Tue, 29 Feb 2000 00:00:00 +0000 (UTC)"),
            (1_795_170_343, Zone { offset: 7200, name: "CEST" }, "Fri, 20 Nov 2026 12:25:43 +0200 (CEST)"),
            (1_795_170_343, Zone { offset: -12_600, name: "" }, "Fri, 20 Nov 2026 06:55:43 -0330"),
            (-1, utc, "Wed, 31 Dec 1969 23:59:59 +0000 (UTC)"),
        ];
        for (seconds, zone, text) in cases {
            assert_eq!(format(seconds, zone), text);
        }
    }
}
