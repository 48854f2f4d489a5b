//! The concurrency window of one destination: how many deliveries it gets at a time.
//!
//! Grows with deliveries that find the destination working and shrinks with those that do not, by the feedback of the
//! transport. A change takes effect at the end of a run of good deliveries, but at the beginning of a run of bad ones, so
//! that too much load is corrected at once. A destination is dead after `failed_cohort_limit` pseudo-cohorts: as many
//! failures in a row as the window is wide count as one.

use super::TransportSettings;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Window {
    size: u32,
    success: f64,
    failure: f64,
    failed_cohorts: f64,
}

impl Window {
    pub(super) fn new(settings: &TransportSettings) -> Window {
        let size = if settings.destination_rate_delay.is_zero() { settings.initial_concurrency.max(1) } else { 1 };
        let size = if settings.concurrency_limit > 0 { size.min(settings.concurrency_limit) } else { size };
        Window { size, success: 0.0, failure: 0.0, failed_cohorts: 0.0 }
    }

    pub(super) fn size(&self) -> u32 {
        self.size
    }

    /// A delivery found the destination working while `busy` deliveries (this one included) were on the way.
    pub(super) fn good(&mut self, busy: u32, settings: &TransportSettings) {
        self.failed_cohorts = 0.0;
        let limit = if settings.destination_rate_delay.is_zero() { settings.concurrency_limit } else { 1 };
        if limit > 0 && self.size >= limit {
            return;
        }
        // A window far above what is used would make negative feedback come too late.
        if self.size >= busy.saturating_add(settings.initial_concurrency) {
            return;
        }
        let feedback = settings.positive_feedback.value(self.size);
        self.success += feedback;
        // Half a step of slack, for rounding.
        while feedback > 0.0 && self.success + feedback / 2.0 >= 1.0 {
            self.size += 1;
            self.success -= 1.0;
            self.failure = 0.0;
        }
        if limit > 0 {
            self.size = self.size.min(limit);
        }
    }

    /// A delivery found the destination not working; true: it is dead now.
    pub(super) fn bad(&mut self, settings: &TransportSettings) -> bool {
        self.success = 0.0;
        self.failed_cohorts += 1.0 / f64::from(self.size);
        // The sum of N times 1/N may stay a little below 1.
        let limit = f64::from(settings.failed_cohort_limit);
        if settings.failed_cohort_limit > 0 && self.failed_cohorts >= limit - 1e-6 {
            return true;
        }
        let feedback = settings.negative_feedback.value(self.size);
        self.failure -= feedback;
        while self.failure < -1e-9 {
            self.size -= 1;
            self.failure += 1.0;
        }
        if self.size < 1 {
            self.size = 1;
            self.failure = 0.0;
        }
        false
    }

    /// The destination is tried again after it was dead; `busy` deliveries are still on the way.
    pub(super) fn revive(&mut self, busy: u32, settings: &TransportSettings) {
        *self = Window::new(settings);
        if busy > 0 && settings.destination_rate_delay.is_zero() {
            self.size = busy;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Feedback;
    use super::*;

    fn settings(positive: Feedback, negative: Feedback, cohorts: u32) -> TransportSettings {
        TransportSettings {
            positive_feedback: positive,
            negative_feedback: negative,
            failed_cohort_limit: cohorts,
            ..TransportSettings::default()
        }
    }

    #[test]
    fn constant_feedback_grows_by_one_up_to_the_limit() {
        let settings = settings(Feedback::Constant(1.0), Feedback::Constant(1.0), 1);
        let mut window = Window::new(&settings);
        for expected in 6..=20 {
            window.good(window.size(), &settings);
            assert_eq!(window.size(), expected);
        }
        window.good(20, &settings);
        assert_eq!(window.size(), 20);
    }

    #[test]
    fn feedback_by_concurrency_takes_a_whole_cohort() {
        let settings = settings(Feedback::PerConcurrency(1.0), Feedback::PerConcurrency(1.0), 0);
        let mut window = Window::new(&settings);
        let sizes: Vec<u32> = (0..11)
            .map(|_| {
                window.good(window.size(), &settings);
                window.size()
            })
            .collect();
        assert_eq!(sizes, [5, 5, 5, 5, 6, 6, 6, 6, 6, 6, 7]);
    }

    #[test]
    fn negative_feedback_acts_at_the_start_of_its_cycle() {
        let settings = settings(Feedback::Constant(1.0), Feedback::Constant(0.25), 0);
        let mut window = Window::new(&settings);
        let sizes: Vec<u32> = (0..9)
            .map(|_| {
                assert!(!window.bad(&settings));
                window.size()
            })
            .collect();
        assert_eq!(sizes, [4, 4, 4, 4, 3, 3, 3, 3, 2]);
    }

    #[test]
    fn square_root_feedback_lies_between() {
        let settings = settings(Feedback::PerSquareRoot(1.0), Feedback::Constant(1.0), 1);
        let mut window = Window::new(&settings);
        let mut steps = 0;
        while window.size() < 9 {
            window.good(window.size(), &settings);
            steps += 1;
        }
        assert!((9..=12).contains(&steps), "{steps}");
    }

    #[test]
    fn one_failed_cohort_is_as_many_failures_as_the_window_is_wide() {
        let settings = settings(Feedback::Constant(1.0), Feedback::Constant(0.0), 1);
        let mut window = Window::new(&settings);
        let deaths: Vec<bool> = (0..5).map(|_| window.bad(&settings)).collect();
        assert_eq!(deaths, [false, false, false, false, true]);
        let mut window = Window::new(&settings);
        for _ in 0..4 {
            window.bad(&settings);
        }
        window.good(5, &settings);
        assert!(!window.bad(&settings), "a good delivery starts the count again");
    }

    #[test]
    fn a_window_never_runs_away_from_what_is_used() {
        let settings = settings(Feedback::Constant(1.0), Feedback::Constant(1.0), 1);
        let mut window = Window::new(&settings);
        for _ in 0..100 {
            window.good(1, &settings);
        }
        assert_eq!(window.size(), 6);
    }

    #[test]
    fn a_rate_delay_is_one_delivery_at_a_time() {
        let settings = TransportSettings {
            destination_rate_delay: std::time::Duration::from_secs(1),
            ..TransportSettings::default()
        };
        let mut window = Window::new(&settings);
        window.good(1, &settings);
        assert_eq!(window.size(), 1);
        window.revive(3, &settings);
        assert_eq!(window.size(), 1);
    }
}
