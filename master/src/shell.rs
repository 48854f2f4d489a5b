//! The event loop around the start and stop logic: it carries actions out and reports what happens.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use ipc::master::{ToMaster, ToWorker};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, alarm, getpgrp, getpid};

use crate::child::{self, Program};
use crate::instance::Instance;
use crate::listener::Listener;
use crate::supervisor::{Action, Ending, Event, Policy, ServiceId, Supervisor, WorkerId};
use crate::{Error, lines};

/// A loop that does not come round in this time is killed by its alarm clock; the workers then finish and end.
const WATCHDOG_SECONDS: u32 = 1000;
/// Longest sleep, so that the alarm clock is wound in time.
const LONGEST_SLEEP: Duration = Duration::from_secs(WATCHDOG_SECONDS as u64 / 3);
/// Lines that the log did not take are tried again after this time.
const LOG_RETRY: Duration = Duration::from_secs(1);
/// Larger than any message; what fills it is not one.
const PACKET: usize = 512;
/// Packets of one worker per turn: a worker that talks without end does not keep the others waiting.
const PACKETS_PER_TURN: usize = 64;
const SIGNALS: Token = Token(0);

struct Worker {
    service: ServiceId,
    pid: Pid,
    control: Option<(Token, OwnedFd)>,
}

/// A service whose listeners are open.
pub(crate) struct Offered {
    pub(crate) path: String,
    pub(crate) program: Program,
    pub(crate) listeners: Vec<Listener>,
    tokens: Vec<Token>,
}

impl Offered {
    pub(crate) fn new(path: String, program: Program, listeners: Vec<Listener>) -> Offered {
        Offered { path, program, listeners, tokens: Vec::new() }
    }
}

enum Source {
    Listener(ServiceId),
    Control(WorkerId),
}

/// The services whose listeners are open.
pub(crate) struct Offer(Vec<(ServiceId, Policy)>);

pub(crate) struct Shell {
    pub(crate) supervisor: Supervisor,
    pub(crate) offered: BTreeMap<ServiceId, Offered>,
    instance: Instance,
    poll: Poll,
    signals: SignalFd,
    sources: BTreeMap<Token, Source>,
    next_token: usize,
    workers: BTreeMap<WorkerId, Worker>,
    pids: BTreeMap<i32, WorkerId>,
    exit_at: Option<Instant>,
    finished: bool,
}

impl Shell {
    pub(crate) fn new(instance: Instance) -> Result<Shell, Error> {
        let mut mask = SigSet::empty();
        for signal in [
            Signal::SIGHUP,
            Signal::SIGINT,
            Signal::SIGQUIT,
            Signal::SIGTERM,
            Signal::SIGCHLD,
            Signal::SIGUSR1,
            Signal::SIGUSR2,
        ] {
            mask.add(signal);
        }
        sys::signals::defaults().map_err(Error::call("signal"))?;
        mask.thread_block().map_err(|errno| Error::call("sigprocmask")(errno.into()))?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map_err(|errno| Error::call("signalfd")(errno.into()))?;
        let poll = Poll::new().map_err(Error::call("epoll_create"))?;
        poll.registry()
            .register(&mut SourceFd(&signals.as_fd().as_raw_fd()), SIGNALS, Interest::READABLE)
            .map_err(Error::call("epoll_ctl"))?;
        let exit_at = instance.options.exit_after.map(|time| Instant::now() + time);
        Ok(Shell {
            supervisor: Supervisor::new(),
            offered: BTreeMap::new(),
            instance,
            poll,
            signals,
            sources: BTreeMap::new(),
            next_token: 1,
            workers: BTreeMap::new(),
            pids: BTreeMap::new(),
            exit_at,
            finished: false,
        })
    }

    pub(crate) fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Opens what `master.cf` lists.
    pub(crate) fn listen(&mut self) -> Result<Offer, Error> {
        self.instance.offer(&mut self.supervisor, &mut self.offered, false).map(Offer)
    }

    /// Starts what runs from the beginning. Its standard output and error are those of master now.
    pub(crate) fn begin(&mut self, Offer(policies): Offer) {
        let actions = self.supervisor.configure(policies, Instant::now());
        self.carry_out(actions);
    }

    /// Runs until everything has ended.
    pub(crate) fn run(&mut self) -> Result<(), Error> {
        let mut events = Events::with_capacity(256);
        let mut tokens: Vec<Token> = Vec::new();
        while !self.finished {
            log::flush();
            alarm::set(WATCHDOG_SECONDS);
            let now = Instant::now();
            let deadline = [self.supervisor.next_deadline(), self.exit_at].into_iter().flatten().min();
            let longest = if log::is_pending() { LOG_RETRY } else { LONGEST_SLEEP };
            let wait = deadline.map_or(longest, |at| at.saturating_duration_since(now).min(longest));
            match self.poll.poll(&mut events, Some(wait)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::call("epoll_wait")(error)),
            }
            tokens.clear();
            tokens.extend(events.iter().map(mio::event::Event::token));
            for token in &tokens {
                self.source_is_ready(*token);
            }
            if self.exit_at.is_some_and(|at| at <= Instant::now()) {
                // As the reference does: the others end at their convenience, by the end of file of their socket.
                log::info!("master exit time has arrived");
                break;
            }
            self.report(Event::Tick);
        }
        self.end();
        Ok(())
    }

    fn source_is_ready(&mut self, token: Token) {
        if token == SIGNALS {
            self.take_signals();
            return;
        }
        match self.sources.get(&token) {
            Some(Source::Listener(id)) => {
                let id = *id;
                self.report(Event::Waiting(id));
            }
            Some(Source::Control(id)) => {
                let id = *id;
                self.read_control(id);
            }
            None => {}
        }
    }

    // ---- signals and children

    fn take_signals(&mut self) {
        let mut children = false;
        while let Ok(Some(info)) = self.signals.read_signal() {
            let signal = i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok());
            match signal {
                Some(Signal::SIGCHLD) => children = true,
                Some(Signal::SIGHUP) => self.reload(),
                Some(signal @ (Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT)) => {
                    lines::terminating(signal as i32);
                    self.report(Event::Stop { immediately: signal == Signal::SIGQUIT });
                }
                _ => {}
            }
        }
        if children {
            self.reap();
        }
    }

    /// Everybody's remains are collected: as first process of a container master inherits strangers as well.
    fn reap(&mut self) {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED)) {
                Ok(WaitStatus::Exited(pid, status)) => self.ended(pid, Ending::Exit(status)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => self.ended(pid, Ending::Signal(signal as i32)),
                Ok(WaitStatus::Stopped(pid, signal)) => {
                    let service = self.pids.get(&pid.as_raw()).and_then(|id| self.workers.get(id)).map(|w| w.service);
                    if let Some(offered) = service.and_then(|id| self.offered.get(&id)) {
                        lines::stopped(&offered.path, pid.as_raw(), signal as i32);
                    }
                }
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => {
                    log::warning!("waitpid: {}", sys::reason(&errno.into()));
                    return;
                }
            }
        }
    }

    fn ended(&mut self, pid: Pid, ending: Ending) {
        let Some(id) = self.pids.remove(&pid.as_raw()) else { return };
        // Its last words come before its end.
        self.read_control(id);
        self.close_control(id);
        self.workers.remove(&id);
        self.report(Event::Ended { worker: id, pid: pid.as_raw(), ending });
    }

    // ---- control sockets

    fn read_control(&mut self, id: WorkerId) {
        for _ in 0..PACKETS_PER_TURN {
            let Some((_, fd)) = self.workers.get(&id).and_then(|worker| worker.control.as_ref()) else { return };
            let mut packet = [0u8; PACKET];
            // A descriptor that a worker sends along is closed at once.
            let mut descriptors = Vec::new();
            let received = sys::passing::receive(fd.as_fd(), &mut packet, &mut descriptors);
            match received {
                Ok(0) => {
                    // Its end comes with SIGCHLD, and says more: one that fails again and again is throttled.
                    self.close_control(id);
                    self.report(Event::Lost(id));
                    return;
                }
                Ok(length) => match decode(&packet[..length]) {
                    Some(message) => self.report(Event::Message(id, message)),
                    None => {
                        log::warning!("malformed message from process {}", self.pid(id).unwrap_or_default());
                        self.signal(id, Signal::SIGKILL);
                        self.close_control(id);
                        return;
                    }
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.close_control(id);
                    return;
                }
            }
        }
        // More is waiting: the readiness is asked for again, as it is told only once.
        let Some(Worker { control: Some((token, fd)), .. }) = self.workers.get(&id) else { return };
        if let Err(error) = self.poll.registry().reregister(&mut SourceFd(&fd.as_raw_fd()), *token, Interest::READABLE)
        {
            log::warning!("epoll_ctl: {error}");
        }
    }

    fn tell(&mut self, id: WorkerId, message: &ToWorker, descriptors: &[BorrowedFd<'_>]) {
        let Some((_, fd)) = self.workers.get(&id).and_then(|worker| worker.control.as_ref()) else { return };
        let mut bytes = Vec::new();
        if ipc::master::encode(message, &mut bytes).is_err() {
            return;
        }
        match sys::passing::send(fd.as_fd(), &bytes, descriptors) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // Hundreds of messages unread. One more wake-up says nothing new; anything else it would never see.
                if !matches!(message, ToWorker::Wakeup | ToWorker::Syslog) {
                    log::warning!(
                        "process {} does not read its messages -- killing it",
                        self.pid(id).unwrap_or_default()
                    );
                    self.signal(id, Signal::SIGKILL);
                }
            }
            // It is gone, and its end will be reported.
            Err(_) => {}
        }
    }

    fn close_control(&mut self, id: WorkerId) {
        if let Some((token, fd)) = self.workers.get_mut(&id).and_then(|worker| worker.control.take()) {
            self.sources.remove(&token);
            // Closing takes it out of the poll as well; the child has no copy of our end.
            drop(fd);
        }
    }

    // ---- actions

    fn report(&mut self, event: Event) {
        let actions = self.supervisor.handle(&event, Instant::now());
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        let mut waiting: VecDeque<Action> = actions.into();
        while let Some(action) = waiting.pop_front() {
            if let Some(event) = self.perform(action) {
                waiting.extend(self.supervisor.handle(&event, Instant::now()));
            }
        }
    }

    /// Does what is asked; some of it has an answer at once.
    fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Watch(id) => self.watch(id),
            Action::Unwatch(id) => self.unwatch(id),
            Action::Probe(service) => {
                // Master's own lines may be what waits, at the socket of the log.
                log::flush();
                return Some(Event::Probed { service, waiting: self.client_waits(service) });
            }
            Action::Start { service, worker, message } => {
                if !self.start(service, worker, &message) {
                    return Some(Event::NotStarted { worker });
                }
            }
            Action::Tell(id, message) => self.tell(id, &message, &[]),
            Action::Terminate(id) => self.signal(id, Signal::SIGTERM),
            Action::Kill(id) => self.signal(id, Signal::SIGKILL),
            Action::PassSyslog(id) => self.pass_syslog(id),
            Action::Close(id) => {
                self.unwatch(id);
                if let Some(offered) = self.offered.get_mut(&id) {
                    offered.listeners.clear();
                }
            }
            Action::Forget(id) => {
                self.unwatch(id);
                self.offered.remove(&id);
            }
            Action::Log(line) => {
                let pid = match &line {
                    crate::supervisor::Line::Hangs { worker, .. } => self.pid(*worker),
                    _ => None,
                };
                lines::write(&line, pid);
            }
            Action::Exit => self.finished = true,
        }
        None
    }

    fn start(&mut self, service: ServiceId, id: WorkerId, message: &ToWorker) -> bool {
        let Some(offered) = self.offered.get(&service) else { return false };
        let listeners: Vec<BorrowedFd<'_>> = offered.listeners.iter().map(|listener| listener.fd.as_fd()).collect();
        let started = match child::start(&offered.program, &listeners) {
            Ok(started) => started,
            Err(error) => {
                log::warning!("{}: fork: {} -- throttling", offered.path, sys::reason(&error));
                return false;
            }
        };
        log::debug!("start {} pid {}", offered.path, started.pid);
        let token = self.new_token(Source::Control(id));
        let fd = started.control.as_raw_fd();
        if let Err(error) = self.poll.registry().register(&mut SourceFd(&fd), token, Interest::READABLE) {
            log::warning!("epoll_ctl: {error}");
        }
        self.pids.insert(started.pid.as_raw(), id);
        self.workers.insert(id, Worker { service, pid: started.pid, control: Some((token, started.control)) });
        self.tell(id, message, &[]);
        true
    }

    fn signal(&self, id: WorkerId, signal: Signal) {
        if let Some(worker) = self.workers.get(&id) {
            // It is our child and not yet waited for, so the number is still its own.
            let _ = kill(worker.pid, signal);
        }
    }

    fn pass_syslog(&mut self, id: WorkerId) {
        let socket = UnixDatagram::unbound().and_then(|socket| {
            socket.connect("/dev/log")?;
            Ok(socket)
        });
        match socket {
            Ok(socket) => self.tell(id, &ToWorker::Syslog, &[socket.as_fd()]),
            Err(_) => self.tell(id, &ToWorker::Syslog, &[]),
        }
    }

    fn watch(&mut self, id: ServiceId) {
        let Some(offered) = self.offered.get(&id) else { return };
        let fds: Vec<RawFd> = offered.listeners.iter().map(|listener| listener.fd.as_raw_fd()).collect();
        let mut tokens = Vec::new();
        for fd in fds {
            let token = self.new_token(Source::Listener(id));
            match self.poll.registry().register(&mut SourceFd(&fd), token, Interest::READABLE) {
                Ok(()) => {}
                Err(error) => log::warning!("epoll_ctl: {error}"),
            }
            tokens.push(token);
        }
        if let Some(offered) = self.offered.get_mut(&id) {
            offered.tokens = tokens;
        }
    }

    fn unwatch(&mut self, id: ServiceId) {
        let Some(offered) = self.offered.get_mut(&id) else { return };
        let tokens = std::mem::take(&mut offered.tokens);
        if tokens.is_empty() {
            return;
        }
        for listener in &offered.listeners {
            // Not an error when it is not there: the set of listeners may have changed since.
            let _ = self.poll.registry().deregister(&mut SourceFd(&listener.fd.as_raw_fd()));
        }
        for token in tokens {
            self.sources.remove(&token);
        }
    }

    fn client_waits(&self, id: ServiceId) -> bool {
        let Some(offered) = self.offered.get(&id) else { return false };
        let mut fds: Vec<PollFd<'_>> =
            offered.listeners.iter().map(|listener| PollFd::new(listener.fd.as_fd(), PollFlags::POLLIN)).collect();
        nix::poll::poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    fn new_token(&mut self, source: Source) -> Token {
        let token = Token(self.next_token);
        self.next_token += 1;
        self.sources.insert(token, source);
        token
    }

    fn pid(&self, id: WorkerId) -> Option<i32> {
        self.workers.get(&id).map(|worker| worker.pid.as_raw())
    }

    // ---- reload and the end

    /// Takes up new settings. What cannot be read leaves everything as it is.
    fn reload(&mut self) {
        if let Err(error) = self.instance.read_again() {
            log::error!("{error}");
            log::warning!("reload failed: the old configuration stays in effect");
            return;
        }
        self.instance.announce_reload();
        let ids: Vec<ServiceId> = self.offered.keys().copied().collect();
        for id in ids {
            self.unwatch(id);
        }
        match self.instance.offer(&mut self.supervisor, &mut self.offered, true) {
            Ok(policies) => {
                let actions = self.supervisor.configure(policies, Instant::now());
                self.carry_out(actions);
            }
            Err(error) => log::error!("{error}"),
        }
    }

    fn end(&mut self) {
        // Commands that delivery agents have started are of our process group, if it is ours.
        if getpgrp() == getpid() && self.exit_at.is_none() {
            let _ = nix::sys::signal::killpg(getpgrp(), Signal::SIGTERM);
        }
        log::flush();
    }
}

fn decode(packet: &[u8]) -> Option<ToMaster> {
    if packet.len() == PACKET { None } else { ipc::master::decode(packet) }
}
