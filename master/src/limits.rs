//! From the `maxproc` column to the numbers that master works with.

use crate::programs::Style;

/// A worker's share of the clients is not made smaller than this only to occupy every core.
const SMALLEST_SPREAD_SHARE: u32 = 25;

/// What bounds the workers of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Clients served at once over all workers; `None`: as many as the workers take themselves.
    pub clients: Option<u32>,
    /// Workers that accept at once.
    pub processes: u32,
    /// Most clients that one worker gets; 0: as many as it takes itself (`service_session_limit`).
    pub share: u32,
    /// Workers that may serve before all are full: one per core.
    pub spread: u32,
    /// There may only ever be one worker.
    pub solitary: bool,
}

/// What the configuration says about a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The `maxproc` column; `None` is `-`.
    pub process_limit: Option<u32>,
    /// `default_process_limit`.
    pub default_process_limit: u32,
    /// `default_process_limit` is set in `main.cf`, so that `-` means a number that the user chose.
    pub default_is_chosen: bool,
    /// `<service>_session_limit` or `service_session_limit`.
    pub session_limit: u32,
    /// Cores of this machine.
    pub cores: u32,
}

impl Limits {
    /// The numbers for a program of this style.
    #[must_use]
    pub fn new(style: Style, wanted: Wanted) -> Limits {
        let cores = wanted.cores.max(1);
        let default = wanted.default_process_limit.max(1);
        let processes = match wanted.process_limit {
            Some(0) => u32::MAX,
            Some(n) => n,
            None => default,
        };
        match style {
            Style::Alone => Limits { clients: None, processes: 1, share: 0, spread: 1, solitary: true },
            Style::Shared => {
                Limits { clients: None, processes, share: 0, spread: cores.min(processes), solitary: processes == 1 }
            }
            Style::Jobs => Limits { clients: None, processes, share: 1, spread: processes, solitary: false },
            Style::Sessions => {
                let bound = match wanted.process_limit {
                    Some(0) => None,
                    Some(n) => Some(n),
                    None => wanted.default_is_chosen.then_some(default),
                };
                Limits {
                    clients: bound,
                    processes,
                    share: bound.map_or(0, |n| share(n, cores, wanted.session_limit)),
                    spread: cores.min(processes),
                    solitary: false,
                }
            }
        }
    }
}

/// How many of `clients` one worker gets: all cores have work, but no worker is there for a handful of clients only.
fn share(clients: u32, cores: u32, session_limit: u32) -> u32 {
    let largest = if session_limit == 0 { u32::MAX } else { session_limit };
    clients.div_ceil(cores).max(SMALLEST_SPREAD_SHARE).min(clients).min(largest).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(process_limit: Option<u32>) -> Wanted {
        Wanted { process_limit, default_process_limit: 100, default_is_chosen: false, session_limit: 1000, cores: 4 }
    }

    #[test]
    fn maxproc_bounds_clients_of_session_services() {
        let cases: &[(Option<u32>, Option<u32>, u32)] = &[
            (None, None, 0),
            (Some(0), None, 0),
            (Some(1), Some(1), 1),
            (Some(10), Some(10), 10),
            (Some(30), Some(30), 25),
            (Some(200), Some(200), 50),
            (Some(8000), Some(8000), 1000),
        ];
        for (process_limit, clients, share) in cases {
            let limits = Limits::new(Style::Sessions, wanted(*process_limit));
            assert_eq!((limits.clients, limits.share), (*clients, *share), "maxproc {process_limit:?}");
        }
    }

    #[test]
    fn a_chosen_default_bounds_and_a_built_in_one_does_not() {
        let chosen = Wanted { default_process_limit: 20, default_is_chosen: true, ..wanted(None) };
        assert_eq!(Limits::new(Style::Sessions, chosen).clients, Some(20));
        assert_eq!(Limits::new(Style::Sessions, wanted(None)).clients, None);
        assert_eq!(Limits::new(Style::Sessions, wanted(None)).processes, 100);
    }

    #[test]
    fn a_session_limit_of_one_gives_back_a_process_per_client() {
        let one = Wanted { session_limit: 1, ..wanted(Some(10)) };
        let limits = Limits::new(Style::Sessions, one);
        assert_eq!((limits.clients, limits.share, limits.processes), (Some(10), 1, 10));
    }

    #[test]
    fn one_process_stays_one_process() {
        let limits = Limits::new(Style::Alone, wanted(Some(5)));
        assert!(limits.solitary && limits.processes == 1 && limits.clients.is_none());
        assert!(Limits::new(Style::Shared, wanted(Some(1))).solitary);
        let jobs = Limits::new(Style::Jobs, wanted(Some(2)));
        assert_eq!((jobs.processes, jobs.share), (2, 1));
    }
}
