//! Local time, as log lines and Date headers have it.

/// A moment in local time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// Year, as in 2026.
    pub year: i32,
    /// 0 (January) to 11.
    pub month: usize,
    /// 1 to 31.
    pub day: u32,
    /// 0 (Sunday) to 6.
    pub weekday: usize,
    /// 0 to 23.
    pub hour: u32,
    /// 0 to 59.
    pub minute: u32,
    /// 0 to 60.
    pub second: u32,
    /// Seconds east of Greenwich.
    pub offset: i32,
}

impl Local {
    /// `Sat Nov 21 00:56:43 2026`, as asctime(3) without its line end.
    #[must_use]
    pub fn asctime(&self) -> String {
        const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
        const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        format!(
            "{} {}{:3} {:02}:{:02}:{:02} {}",
            DAYS[self.weekday % 7],
            MONTHS[self.month % 12],
            self.day,
            self.hour,
            self.minute,
            self.second,
            self.year
        )
    }
}

/// Reads the time zone now, so that [`local`] knows it in a jail without `/etc/localtime`.
pub fn load_time_zone() {
    // The first conversion of a process reads the zone and keeps it.
    let _ = local(0);
}

/// `seconds` since the epoch in local time.
#[must_use]
pub fn local(seconds: i64) -> Local {
    // SAFETY: all-zero is a valid tm, and localtime_r writes nothing else.
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    let time = seconds as libc::time_t;
    // SAFETY: both pointers are to live values of the right types.
    unsafe { libc::localtime_r(&raw const time, &raw mut tm) };
    Local {
        year: tm.tm_year + 1900,
        month: tm.tm_mon.clamp(0, 11) as usize,
        day: tm.tm_mday as u32,
        weekday: tm.tm_wday.clamp(0, 6) as usize,
        hour: tm.tm_hour as u32,
        minute: tm.tm_min as u32,
        second: tm.tm_sec as u32,
        offset: tm.tm_gmtoff as i32,
    }
}

/// The abbreviation of the local zone at `seconds` since the epoch (`UTC`, `CEST`); empty when there is none.
#[must_use]
pub fn zone_name(seconds: i64) -> String {
    // SAFETY: all-zero is a valid tm, and localtime_r writes nothing else.
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    let time = seconds as libc::time_t;
    // SAFETY: both pointers are to live values of the right types.
    unsafe { libc::localtime_r(&raw const time, &raw mut tm) };
    if tm.tm_zone.is_null() {
        return String::new();
    }
    // SAFETY: tm_zone is a NUL-terminated string that the C library keeps; it is copied at once.
    let name = unsafe { std::ffi::CStr::from_ptr(tm.tm_zone) };
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_parts_agree_with_the_offset() {
        let seconds = 1_700_000_000;
        let local = super::local(seconds);
        let of_day = i64::from(local.hour * 3600 + local.minute * 60 + local.second);
        assert_eq!((seconds + i64::from(local.offset)).rem_euclid(86_400), of_day);
        assert_eq!(local.year, 2023);
        assert!(super::zone_name(seconds).chars().all(|c| !c.is_control()));
    }
}
