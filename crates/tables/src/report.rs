//! Warnings of tables: rules that are skipped, tables that cannot be opened, lookups that fail.

/// Writes one `warning:` line to the program's log.
macro_rules! warning {
    ($($arguments:tt)*) => { $crate::report::write(format_args!($($arguments)*)) };
}
pub(crate) use warning;

#[cfg(test)]
thread_local! {
    pub(crate) static WARNINGS: std::cell::RefCell<Vec<String>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Where the macro ends.
pub(crate) fn write(message: std::fmt::Arguments<'_>) {
    #[cfg(test)]
    WARNINGS.with_borrow_mut(|warnings| warnings.push(message.to_string()));
    #[cfg(not(test))]
    {
        use std::io::Write as _;
        // A lost warning must not stop the program.
        let _ = writeln!(std::io::stderr(), "warning: {message}");
    }
}

/// A line that is no warning (`debug:` tables).
pub(crate) fn write_info(message: std::fmt::Arguments<'_>) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{message}");
}

/// The warnings of this test so far.
#[cfg(test)]
pub(crate) fn take() -> Vec<String> {
    WARNINGS.take()
}
