//! A program that speaks the start-up contract, as simple as it can be: every test service is this one.
//!
//! What it does depends on its name in `master.cf`: `bad` fails at once, `postlog` passes log lines on to the test, all
//! others tell each client who they are and keep the connection until the client closes.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

use ipc::master::{CONTROL_FD, FIRST_LISTENER_FD, Load, ToMaster, ToWorker, decode, encode};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Where a test hears log lines, below the queue directory.
pub(crate) const LOG_SOCKET: &str = "test-log";
/// Where a test hears of wake-ups.
pub(crate) const WAKE_SOCKET: &str = "test-wake";

struct Program {
    name: String,
    queue: String,
    control: OwnedFd,
    start: Option<(u32, bool, u32)>,
    share: u32,
    clients: Vec<UnixStream>,
    draining: bool,
    load: Load,
}

/// Runs the program; `words` are the arguments that master gave.
pub(crate) fn main(words: &[&str], queue: &str) -> i32 {
    let name = words.iter().skip_while(|word| **word != "-n").nth(1).copied().unwrap_or("?").to_owned();
    if name == "bad" {
        return 1;
    }
    let control = sys::inherited::take(CONTROL_FD).expect("control socket");
    let listener = sys::inherited::take(FIRST_LISTENER_FD).expect("listener");
    if name == "postlog" {
        return pass_log_on(&control, &listener.into(), queue);
    }
    let program = Program {
        name,
        queue: queue.to_owned(),
        control,
        start: None,
        share: 0,
        clients: Vec::new(),
        draining: false,
        load: Load::Idle,
    };
    program.serve(&listener.into(), &words.join(" "))
}

fn say(control: &OwnedFd, message: ToMaster) {
    let mut packet = Vec::new();
    encode(&message, &mut packet).expect("serializable");
    sys::passing::send(control.as_fd(), &packet, &[]).expect("master listens");
}

fn hear(control: &OwnedFd) -> Option<ToWorker> {
    let mut packet = [0u8; 512];
    let length = sys::passing::receive(control.as_fd(), &mut packet, &mut Vec::new()).ok()?;
    decode(&packet[..length])
}

fn wait(fds: &mut [PollFd<'_>]) {
    while poll(fds, PollTimeout::NONE) == Err(nix::errno::Errno::EINTR) {}
}

fn is_ready(fd: &PollFd<'_>) -> bool {
    fd.any().unwrap_or(false)
}

fn pass_log_on(control: &OwnedFd, socket: &UnixDatagram, queue: &str) -> i32 {
    say(control, ToMaster::Ready);
    let out = UnixDatagram::unbound().expect("socket");
    let to = format!("{queue}/{LOG_SOCKET}");
    loop {
        let mut fds = [PollFd::new(control.as_fd(), PollFlags::POLLIN), PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        wait(&mut fds);
        let told = is_ready(&fds[0]);
        let mut line = vec![0u8; 64 << 10];
        while let Ok(length) = socket.recv(&mut line) {
            let _ = out.send_to(&line[..length], &to);
        }
        if told && !matches!(hear(control), Some(ToWorker::Start { .. } | ToWorker::Sessions(_))) {
            return 0;
        }
    }
}

impl Program {
    fn serve(mut self, listener: &UnixListener, words: &str) -> i32 {
        say(&self.control, ToMaster::Ready);
        loop {
            let room =
                self.start.is_some() && !self.draining && (self.share == 0 || self.clients.len() < self.share as usize);
            let mut fds = vec![PollFd::new(self.control.as_fd(), PollFlags::POLLIN)];
            let interest = if room { PollFlags::POLLIN } else { PollFlags::empty() };
            fds.push(PollFd::new(listener.as_fd(), interest));
            fds.extend(self.clients.iter().map(|client| PollFd::new(client.as_fd(), PollFlags::POLLIN)));
            wait(&mut fds);
            let ready: Vec<bool> = fds.iter().map(is_ready).collect();
            drop(fds);
            let mut at = 2;
            self.clients.retain(|_| {
                at += 1;
                !ready[at - 1]
            });
            if ready[0] && !self.obey() {
                return 0;
            }
            if room
                && ready[1]
                && let Ok((client, _)) = listener.accept()
            {
                self.greet(client, words);
            }
            self.tell_load();
            if self.draining && self.clients.is_empty() {
                return 0;
            }
        }
    }

    fn obey(&mut self) -> bool {
        match hear(&self.control) {
            Some(ToWorker::Start { sessions, stress, generation, .. }) => {
                self.start = Some((sessions, stress, generation));
                self.share = sessions;
            }
            Some(ToWorker::Sessions(share)) => self.share = share,
            Some(ToWorker::Drain) => {
                self.draining = true;
                say(&self.control, ToMaster::Draining);
                say(&self.control, ToMaster::Serving(self.clients.len() as u32));
            }
            Some(ToWorker::Wakeup) => {
                let socket = UnixDatagram::unbound().expect("socket");
                let _ = socket.send_to(self.name.as_bytes(), format!("{}/{WAKE_SOCKET}", self.queue));
            }
            Some(ToWorker::Syslog) => {}
            None => return false,
        }
        true
    }

    fn greet(&mut self, mut client: UnixStream, words: &str) {
        let (sessions, stress, generation) = self.start.expect("started");
        let pid = std::process::id();
        let uid = nix::unistd::getuid();
        let line = format!("{pid} {uid} {sessions} {stress} {generation} {words}\n");
        client.write_all(line.as_bytes()).expect("client");
        self.clients.push(client);
    }

    fn tell_load(&mut self) {
        let load = match self.clients.len() {
            0 => Load::Idle,
            n if self.share > 0 && n >= self.share as usize => Load::Full,
            _ => Load::Some,
        };
        if load != self.load {
            self.load = load;
            say(&self.control, ToMaster::Load(load));
        }
        if self.draining {
            say(&self.control, ToMaster::Serving(self.clients.len() as u32));
        }
    }
}
