//! Every rule by example, with a clock that is moved by hand, and a simulation that checks the bounds at each step.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ipc::master::{Load, ToMaster, ToWorker};

use super::oversight::{ACKNOWLEDGE_BOUND, START_BOUND};
use super::service::{PAUSE, QUICK_ENDS, STRESS_PERIOD};
use super::*;
use crate::limits::{Limits, Wanted};
use crate::programs::{Stage, Style};

fn limits(style: Style, maxproc: Option<u32>) -> Limits {
    let wanted = Wanted {
        process_limit: maxproc,
        default_process_limit: 100,
        default_is_chosen: false,
        session_limit: 1000,
        cores: 2,
    };
    Limits::new(style, wanted)
}

fn policy(name: &str, style: Style, maxproc: Option<u32>) -> Policy {
    Policy {
        key: format!("{name}/unix"),
        name: name.to_owned(),
        listener: name.to_owned(),
        path: format!("/sbin/{name}"),
        limits: limits(style, maxproc),
        wakeup: None,
        stage: Stage::Support,
        public: true,
        throttle: Duration::from_secs(60),
        daemon_timeout: Duration::from_secs(18000),
    }
}

struct Process {
    service: ServiceId,
    share: u32,
    stress: bool,
    told: Vec<ToWorker>,
}

/// The world outside, as far as the actions made it.
struct World {
    supervisor: Supervisor,
    now: Instant,
    watched: BTreeMap<ServiceId, bool>,
    probes: Vec<ServiceId>,
    processes: BTreeMap<WorkerId, Process>,
    terminated: Vec<WorkerId>,
    killed: Vec<WorkerId>,
    closed: Vec<ServiceId>,
    lines: Vec<Line>,
    exited: bool,
}

impl World {
    fn new(policies: Vec<Policy>) -> (World, Vec<ServiceId>) {
        let mut world = World {
            supervisor: Supervisor::new(),
            now: Instant::now(),
            watched: BTreeMap::new(),
            probes: Vec::new(),
            processes: BTreeMap::new(),
            terminated: Vec::new(),
            killed: Vec::new(),
            closed: Vec::new(),
            lines: Vec::new(),
            exited: false,
        };
        let ids = world.configure(policies);
        (world, ids)
    }

    fn configure(&mut self, policies: Vec<Policy>) -> Vec<ServiceId> {
        let numbered: Vec<_> =
            policies.into_iter().map(|policy| (self.supervisor.number(&policy.key), policy)).collect();
        let ids = numbered.iter().map(|(id, _)| *id).collect();
        let actions = self.supervisor.configure(numbered, self.now);
        self.apply(actions);
        ids
    }

    fn event(&mut self, event: Event) {
        let actions = self.supervisor.handle(&event, self.now);
        self.apply(actions);
    }

    fn apply(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Watch(id) => assert_ne!(self.watched.insert(id, true), Some(true), "watched twice"),
                Action::Unwatch(id) => assert_eq!(self.watched.insert(id, false), Some(true), "not watched"),
                Action::Probe(id) => self.probes.push(id),
                Action::Start { service, worker, message } => {
                    let ToWorker::Start { sessions, stress, .. } = message else { panic!("first message") };
                    let process = Process { service, share: sessions, stress, told: Vec::new() };
                    self.processes.insert(worker, process);
                }
                Action::Tell(id, message) => {
                    let process = self.processes.get_mut(&id).expect("told a worker that is there");
                    if let ToWorker::Sessions(share) = message {
                        process.share = share;
                    }
                    process.told.push(message);
                }
                Action::Terminate(id) => self.terminated.push(id),
                Action::Kill(id) => self.killed.push(id),
                Action::PassSyslog(_) | Action::Forget(_) => {}
                Action::Close(id) => self.closed.push(id),
                Action::Log(line) => self.lines.push(line),
                Action::Exit => self.exited = true,
            }
        }
    }

    /// A client comes: the watch reports it, and a probe that follows says that it still waits.
    fn client(&mut self, id: ServiceId) {
        if self.watched.get(&id) == Some(&true) {
            self.event(Event::Waiting(id));
        }
        self.pass(Duration::from_millis(5));
        self.answer_probes(true);
    }

    fn answer_probes(&mut self, waiting: bool) {
        for service in std::mem::take(&mut self.probes) {
            self.event(Event::Probed { service, waiting });
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.event(Event::Tick);
    }

    fn of(&self, id: ServiceId) -> Vec<WorkerId> {
        self.processes.iter().filter(|(_, process)| process.service == id).map(|(worker, _)| *worker).collect()
    }

    fn say(&mut self, worker: WorkerId, message: ToMaster) {
        self.event(Event::Message(worker, message));
    }

    fn ready(&mut self, worker: WorkerId, load: Load) {
        self.say(worker, ToMaster::Ready);
        self.say(worker, ToMaster::Load(load));
    }

    fn end(&mut self, worker: WorkerId, ending: Ending) {
        self.processes.remove(&worker);
        self.event(Event::Ended { worker, pid: 1, ending });
    }

    fn bad_startups(&self) -> usize {
        self.lines.iter().filter(|line| matches!(line, Line::BadStartup { .. })).count()
    }
}

#[test]
fn a_program_starts_when_a_client_waits_and_nobody_has_room() {
    let (mut world, ids) = World::new(vec![policy("smtpd", Style::Sessions, None)]);
    let smtpd = ids[0];
    assert!(world.of(smtpd).is_empty() && world.watched[&smtpd]);
    world.client(smtpd);
    let first = world.of(smtpd)[0];
    assert!(!world.watched[&smtpd], "the worker that starts will take the client");
    world.ready(first, Load::Some);
    assert_eq!(world.of(smtpd).len(), 1);
    world.say(first, ToMaster::Load(Load::Full));
    assert!(world.watched[&smtpd]);
    world.client(smtpd);
    assert_eq!(world.of(smtpd).len(), 2);
}

#[test]
fn a_full_worker_that_takes_the_client_after_all_saves_a_process() {
    let (mut world, ids) = World::new(vec![policy("local", Style::Jobs, Some(10))]);
    world.client(ids[0]);
    let first = world.of(ids[0])[0];
    world.ready(first, Load::Full);
    world.event(Event::Waiting(ids[0]));
    world.pass(Duration::from_millis(5));
    world.answer_probes(false);
    assert_eq!(world.of(ids[0]).len(), 1);
    assert!(world.watched[&ids[0]]);
}

#[test]
fn a_second_core_is_used_only_when_clients_have_to_wait() {
    let (mut world, ids) = World::new(vec![policy("smtpd", Style::Sessions, None)]);
    world.client(ids[0]);
    let first = world.of(ids[0])[0];
    world.ready(first, Load::Some);
    for _ in 0..20 {
        world.pass(Duration::from_secs(1));
        world.answer_probes(false);
    }
    assert_eq!(world.of(ids[0]).len(), 1, "nobody waited");
    for _ in 0..3 {
        world.pass(Duration::from_secs(1));
        world.answer_probes(true);
    }
    assert_eq!(world.of(ids[0]).len(), 2);
    let second = world.of(ids[0])[1];
    world.ready(second, Load::Some);
    for _ in 0..5 {
        world.pass(Duration::from_secs(1));
        world.answer_probes(true);
    }
    assert_eq!(world.of(ids[0]).len(), 2, "two cores, two workers, until both are full");
    world.say(first, ToMaster::Load(Load::Full));
    world.say(second, ToMaster::Load(Load::Full));
    world.client(ids[0]);
    assert_eq!(world.of(ids[0]).len(), 3);
}

#[test]
fn maxproc_bounds_clients_over_all_workers_and_a_waiting_one_is_worth_a_warning() {
    let (mut world, ids) = World::new(vec![policy("smtpd", Style::Sessions, Some(30))]);
    world.client(ids[0]);
    let first = world.of(ids[0])[0];
    world.ready(first, Load::Full);
    world.client(ids[0]);
    let second = world.of(ids[0])[1];
    world.ready(second, Load::Full);
    let shares: Vec<u32> = world.processes.values().map(|process| process.share).collect();
    assert_eq!(shares, [25, 5]);
    world.client(ids[0]);
    assert_eq!(world.of(ids[0]).len(), 2);
    let expected = Line::LimitReached { service: "smtpd".to_owned(), listener: "smtpd".to_owned(), limit: 30 };
    assert_eq!(world.lines, [expected]);
}

#[test]
fn under_stress_full_workers_are_replaced_as_their_clients_leave() {
    let (mut world, ids) = World::new(vec![policy("smtpd", Style::Sessions, Some(10))]);
    world.client(ids[0]);
    let first = world.of(ids[0])[0];
    world.ready(first, Load::Full);
    world.client(ids[0]);
    assert_eq!(world.processes[&first].told, [ToWorker::Drain]);
    world.say(first, ToMaster::Draining);
    assert_eq!(world.of(ids[0]).len(), 1, "its share counts until it says how many clients are left");
    world.say(first, ToMaster::Serving(7));
    world.client(ids[0]);
    let second = world.of(ids[0])[1];
    assert_eq!((world.processes[&second].share, world.processes[&second].stress), (3, true));
    world.ready(second, Load::Full);
    world.say(first, ToMaster::Serving(1));
    assert_eq!(world.processes[&second].share, 9);
    world.end(first, Ending::Exit(0));
    assert_eq!(world.processes[&second].share, 10);
    world.say(second, ToMaster::Load(Load::Some));
    world.pass(STRESS_PERIOD + Duration::from_secs(1));
    assert!(world.processes[&second].told.contains(&ToWorker::Drain), "back to the usual settings");
}

#[test]
fn a_program_that_fails_at_startup_is_throttled_and_tried_again() {
    let (mut world, ids) = World::new(vec![policy("smtpd", Style::Sessions, None)]);
    world.client(ids[0]);
    let first = world.of(ids[0])[0];
    world.end(first, Ending::Exit(1));
    assert_eq!(world.bad_startups(), 1);
    assert!(!world.watched[&ids[0]]);
    world.pass(Duration::from_secs(59));
    assert!(!world.watched[&ids[0]]);
    world.pass(Duration::from_secs(2));
    assert!(world.watched[&ids[0]]);
    world.client(ids[0]);
    assert_eq!(world.of(ids[0]).len(), 1);
}

#[test]
fn a_kill_from_outside_is_no_bad_startup_but_a_crash_loop_is() {
    let (mut world, ids) = World::new(vec![policy("smtpd", Style::Sessions, None)]);
    for _ in 0..20 {
        world.client(ids[0]);
        let worker = world.of(ids[0])[0];
        world.end(worker, Ending::Signal(9));
        world.pass(PAUSE);
    }
    assert_eq!(world.bad_startups(), 0);
    for crash in 1..=QUICK_ENDS {
        world.client(ids[0]);
        let worker = world.of(ids[0])[0];
        world.ready(worker, Load::Some);
        assert_eq!(world.bad_startups(), 0, "crash {crash}");
        world.end(worker, Ending::Signal(11));
    }
    assert_eq!(world.bad_startups(), 1);
}

#[test]
fn wakeups_start_a_program_and_then_go_to_the_one_that_runs() {
    let mut pickup = policy("pickup", Style::Alone, Some(1));
    pickup.wakeup = Some(Wakeup { period: Duration::from_secs(60), only_if_used: false });
    let mut flush = policy("flush", Style::Sessions, Some(0));
    flush.wakeup = Some(Wakeup { period: Duration::from_secs(1000), only_if_used: true });
    let (mut world, ids) = World::new(vec![pickup, flush]);
    let worker = world.of(ids[0])[0];
    assert_eq!(world.processes[&worker].told, [ToWorker::Wakeup]);
    assert!(world.of(ids[1]).is_empty());
    world.ready(worker, Load::Idle);
    world.pass(Duration::from_secs(60));
    assert_eq!(world.processes[&worker].told.len(), 2);
    assert_eq!(world.of(ids[0]).len(), 1);
    world.pass(Duration::from_secs(2000));
    assert!(world.of(ids[1]).is_empty(), "not used yet");
    world.client(ids[1]);
    let flush = world.of(ids[1])[0];
    world.end(flush, Ending::Exit(0));
    world.pass(Duration::from_secs(1001));
    let again = world.of(ids[1])[0];
    assert_eq!(world.processes[&again].told, [ToWorker::Wakeup]);
}

#[test]
fn the_queue_manager_comes_back_without_waiting_for_its_turn() {
    let mut qmgr = policy("qmgr", Style::Alone, Some(1));
    qmgr.wakeup = Some(Wakeup { period: Duration::from_secs(300), only_if_used: false });
    let (mut world, ids) = World::new(vec![qmgr]);
    let first = world.of(ids[0])[0];
    world.ready(first, Load::Some);
    world.end(first, Ending::Signal(9));
    assert!(world.of(ids[0]).is_empty());
    world.pass(Duration::from_secs(1));
    assert_eq!(world.of(ids[0]).len(), 1);
}

#[test]
fn reload_replaces_workers_and_the_only_one_first_has_to_let_go() {
    let mut qmgr = policy("qmgr", Style::Alone, Some(1));
    qmgr.wakeup = Some(Wakeup { period: Duration::from_secs(300), only_if_used: false });
    let policies = vec![qmgr, policy("smtpd", Style::Sessions, None), policy("gone", Style::Sessions, None)];
    let (mut world, ids) = World::new(policies.clone());
    let qmgr = world.of(ids[0])[0];
    world.ready(qmgr, Load::Some);
    world.client(ids[1]);
    let smtpd = world.of(ids[1])[0];
    world.ready(smtpd, Load::Some);
    world.client(ids[2]);
    let gone = world.of(ids[2])[0];
    world.ready(gone, Load::Some);

    assert_eq!(world.configure(policies[..2].to_vec()), ids[..2]);
    assert_eq!(world.supervisor.generation(), 1);
    for worker in [qmgr, smtpd, gone] {
        assert_eq!(world.processes[&worker].told.last(), Some(&ToWorker::Drain));
    }
    assert_eq!(world.closed, [ids[2]]);
    world.client(ids[1]);
    assert_eq!(world.of(ids[1]).len(), 2, "new clients meet the new settings at once");
    assert_eq!(world.of(ids[0]).len(), 1, "there is only ever one qmgr at work");
    world.say(qmgr, ToMaster::Draining);
    assert_eq!(world.of(ids[0]).len(), 2);
    world.end(gone, Ending::Exit(0));
    world.end(qmgr, Ending::Exit(0));
    assert!(world.lines.is_empty());
}

#[test]
fn workers_that_hang_are_killed() {
    let mut service = policy("anvil", Style::Alone, None);
    service.daemon_timeout = Duration::from_secs(1000);
    let (mut world, ids) = World::new(vec![service.clone()]);
    world.client(ids[0]);
    let never_ready = world.of(ids[0])[0];
    world.pass(START_BOUND);
    assert_eq!(world.killed, [never_ready]);
    world.end(never_ready, Ending::Signal(9));
    assert_eq!(world.bad_startups(), 1);

    world.pass(Duration::from_secs(61));
    world.client(ids[0]);
    let silent = world.of(ids[0])[0];
    world.ready(silent, Load::Some);
    world.pass(Duration::from_secs(600));
    world.say(silent, ToMaster::Alive);
    world.pass(Duration::from_secs(600));
    assert_eq!(world.killed.len(), 1);
    world.pass(Duration::from_secs(400));
    assert_eq!(world.killed, [never_ready, silent]);
    world.end(silent, Ending::Signal(9));

    world.client(ids[0]);
    let stubborn = world.of(ids[0])[0];
    world.ready(stubborn, Load::Idle);
    world.configure(vec![service]);
    world.pass(ACKNOWLEDGE_BOUND);
    assert_eq!(world.killed.last(), Some(&stubborn));
}

#[test]
fn an_idle_worker_may_be_silent() {
    let (mut world, ids) = World::new(vec![policy("anvil", Style::Alone, None)]);
    world.client(ids[0]);
    let worker = world.of(ids[0])[0];
    world.ready(worker, Load::Idle);
    world.pass(Duration::from_secs(1_000_000));
    assert!(world.killed.is_empty());
}

#[test]
fn stop_goes_from_intake_to_log() {
    let stages = [Stage::Intake, Stage::Queue, Stage::Support, Stage::Log];
    let policies: Vec<Policy> = stages
        .iter()
        .map(|stage| Policy { stage: *stage, ..policy(&format!("{stage:?}"), Style::Sessions, None) })
        .collect();
    let (mut world, ids) = World::new(policies);
    for id in &ids {
        world.client(*id);
        let worker = world.of(*id)[0];
        world.ready(worker, Load::Some);
    }
    world.event(Event::Stop { immediately: false });
    for id in &ids {
        assert_eq!(world.closed.last(), Some(id), "one stage after the other");
        let worker = world.of(*id)[0];
        assert_eq!(world.processes[&worker].told.last(), Some(&ToWorker::Drain));
        assert!(!world.exited);
        world.end(worker, Ending::Exit(0));
    }
    assert!(world.exited && world.lines.is_empty() && world.terminated.is_empty());
}

#[test]
fn stop_does_not_wait_for_ever() {
    let (mut world, ids) = World::new(vec![policy("smtpd", Style::Sessions, None)]);
    world.client(ids[0]);
    let worker = world.of(ids[0])[0];
    world.ready(worker, Load::Some);
    world.event(Event::Stop { immediately: false });
    let begin = world.now;
    while !world.exited {
        world.now = world.supervisor.next_deadline().expect("a deadline");
        world.event(Event::Tick);
        assert!(world.now.duration_since(begin) < Duration::from_secs(5), "postfix stop waits five seconds");
    }
    assert_eq!((world.terminated, world.killed), (vec![worker], vec![worker]));
}

/// postlogd had left for want of work, and master's own last line waits at its socket.
#[test]
fn last_words_find_somebody_to_write_them() {
    let (mut world, ids) = World::new(vec![
        policy("smtpd", Style::Sessions, None),
        Policy { stage: Stage::Log, ..policy("postlogd", Style::Alone, None) },
    ]);
    world.event(Event::Stop { immediately: false });
    assert!(!world.exited, "somebody has to look first");
    world.answer_probes(true);
    let [worker] = world.of(ids[1])[..] else { panic!("one log daemon") };
    world.ready(worker, Load::Some);
    assert_eq!(world.processes[&worker].told.last(), Some(&ToWorker::Drain));
    assert!(!world.exited);
    world.end(worker, Ending::Exit(0));
    assert!(world.exited && world.lines.is_empty());
}

#[test]
fn nothing_is_started_for_a_log_without_words() {
    let (mut world, ids) = World::new(vec![Policy { stage: Stage::Log, ..policy("postlogd", Style::Alone, None) }]);
    world.event(Event::Stop { immediately: false });
    world.answer_probes(false);
    assert!(world.exited && world.of(ids[0]).is_empty());
}

/// The end of file on the control socket is seen before the end of the process: a program that cannot start is throttled
/// all the same.
#[test]
fn a_closed_control_socket_is_no_orderly_end() {
    let (mut world, ids) = World::new(vec![policy("resolver", Style::Shared, None)]);
    world.client(ids[0]);
    let [worker] = world.of(ids[0])[..] else { panic!("one worker") };
    world.event(Event::Lost(worker));
    world.end(worker, Ending::Exit(1));
    assert!(world.of(ids[0]).is_empty(), "not started again at once");
    assert!(world.lines.iter().any(|line| matches!(line, Line::BadStartup { .. })));
}

#[test]
fn an_immediate_stop_and_a_second_one_do_not_drain() {
    for twice in [false, true] {
        let (mut world, ids) = World::new(vec![policy("smtpd", Style::Sessions, None)]);
        world.client(ids[0]);
        let worker = world.of(ids[0])[0];
        world.ready(worker, Load::Some);
        world.event(Event::Stop { immediately: !twice });
        world.event(Event::Stop { immediately: false });
        assert_eq!(world.terminated, [worker]);
        world.end(worker, Ending::Signal(15));
        assert!(world.exited && world.lines.is_empty());
    }
}

/// Clients come and go, workers crash, drain and report at random: the bounds hold at every moment.
#[test]
fn the_bounds_hold_in_a_simulation() {
    for seed in 1..=40u64 {
        let maxproc = [1, 2, 7, 30, 100][(seed % 5) as usize];
        let style = if seed % 2 == 0 { Style::Sessions } else { Style::Jobs };
        simulate(seed, style, maxproc);
    }
}

fn simulate(seed: u64, style: Style, maxproc: u32) {
    let service = policy("smtpd", style, Some(maxproc));
    let (mut world, ids) = World::new(vec![service.clone()]);
    let mut clients: BTreeMap<WorkerId, u32> = BTreeMap::new();
    let mut draining: Vec<WorkerId> = Vec::new();
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    for step in 0..3000 {
        for worker in world.of(ids[0]) {
            clients.entry(worker).or_insert_with(|| 0);
        }
        clients.retain(|worker, _| world.processes.contains_key(worker));
        let workers = world.of(ids[0]);
        let pick = |n: u64| (!workers.is_empty()).then(|| workers[(n % workers.len() as u64) as usize]);
        match random(20) {
            0..10 => {
                // A client comes: a worker with room takes it, else master is asked.
                let taker = workers
                    .iter()
                    .copied()
                    .find(|worker| !draining.contains(worker) && clients[worker] < world.processes[worker].share);
                match taker {
                    Some(worker) => {
                        *clients.get_mut(&worker).expect("known") += 1;
                        let full = clients[&worker] >= world.processes[&worker].share;
                        world.ready(worker, if full { Load::Full } else { Load::Some });
                    }
                    None => world.client(ids[0]),
                }
            }
            10..16 => {
                // A client leaves.
                if let Some(worker) = pick(random(1000)).filter(|worker| clients[worker] > 0) {
                    let count = clients.get_mut(&worker).expect("known");
                    *count -= 1;
                    let left = *count;
                    if draining.contains(&worker) {
                        world.say(worker, ToMaster::Serving(left));
                        if left == 0 {
                            world.end(worker, Ending::Exit(0));
                        }
                    } else {
                        world.ready(worker, if left == 0 { Load::Idle } else { Load::Some });
                    }
                }
            }
            16 => {
                if let Some(worker) = pick(random(1000)) {
                    world.end(worker, Ending::Signal(9));
                }
            }
            17 => {
                world.configure(vec![service.clone()]);
            }
            18 => world.pass(Duration::from_millis(random(3000))),
            _ => {
                for worker in workers {
                    if world.processes.get(&worker).is_some_and(|p| p.told.contains(&ToWorker::Drain))
                        && !draining.contains(&worker)
                    {
                        draining.push(worker);
                        let left = clients[&worker];
                        world.say(worker, ToMaster::Draining);
                        world.say(worker, ToMaster::Serving(left));
                        if left == 0 {
                            world.end(worker, Ending::Exit(0));
                        }
                    }
                }
            }
        }
        let allowed: u32 = world
            .processes
            .iter()
            .map(|(worker, process)| {
                let have = clients.get(worker).copied().unwrap_or(0);
                if draining.contains(worker) { have } else { process.share.max(have) }
            })
            .sum();
        assert!(allowed <= maxproc, "seed {seed} step {step}: {allowed} clients may be served at once");
        assert!(world.processes.len() <= maxproc as usize, "seed {seed} step {step}");
    }
}
