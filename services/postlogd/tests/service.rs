//! postlogd as master starts it.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use ipc::master::{Load, ToMaster, ToWorker};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};

struct Postlogd {
    child: Child,
    control: OwnedFd,
}

impl Postlogd {
    /// The shell puts the descriptors where the contract wants them.
    fn start(directory: &Path, socket: &UnixDatagram) -> Postlogd {
        let (control, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).expect("pair");
        let child = Command::new("/bin/sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4<&1 </dev/null >/dev/null"])
            .arg(env!("CARGO_BIN_EXE_postlogd"))
            .args(["-n", "postlog", "-t", "unix-dgram", "-s", "1"])
            .env("MAIL_CONFIG", directory)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::from(OwnedFd::from(socket.try_clone().expect("clone"))))
            .spawn()
            .expect("spawn");
        let postlogd = Postlogd { child, control };
        postlogd.say(&ToWorker::Start { sessions: 0, stress: false, solitary: true, generation: 0, wakeup: None });
        postlogd
    }

    fn say(&self, message: &ToWorker) {
        let packet = postcard::to_allocvec(message).expect("packet");
        send(self.control.as_raw_fd(), &packet, MsgFlags::empty()).expect("send");
    }

    fn hear(&self) -> Option<ToMaster> {
        let mut fds = [PollFd::new(self.control.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, 20_000u16).expect("poll"), 1, "silence");
        let mut packet = [0u8; 64];
        let length = recv(self.control.as_raw_fd(), &mut packet, MsgFlags::empty()).unwrap_or(0);
        (length > 0).then(|| postcard::from_bytes(&packet[..length]).expect("message"))
    }

    fn end(mut self) -> Option<i32> {
        self.child.wait().expect("wait").code()
    }
}

fn place() -> (tempfile::TempDir, UnixDatagram) {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().display();
    fs::create_dir(directory.path().join("public")).expect("public");
    let main_cf = format!("queue_directory = {path}\nmaillog_file = {path}/log\nmaillog_file_prefixes = {path}\n");
    fs::write(directory.path().join("main.cf"), main_cf).expect("main.cf");
    let socket = UnixDatagram::bind(directory.path().join("public/postlog")).expect("bind");
    socket.set_nonblocking(true).expect("nonblocking");
    (directory, socket)
}

#[test]
fn what_was_sent_before_during_and_after_is_written() {
    let (directory, socket) = place();
    let client = UnixDatagram::unbound().expect("socket");
    client.connect(directory.path().join("public/postlog")).expect("connect");
    client.send(b"before\n").expect("send");
    let postlogd = Postlogd::start(directory.path(), &socket);
    assert_eq!(postlogd.hear(), Some(ToMaster::Ready));
    assert_eq!(postlogd.hear(), Some(ToMaster::Load(Load::Some)));
    client.send(b"during\nthe day\n").expect("send");
    assert_eq!(postlogd.hear(), Some(ToMaster::Load(Load::Idle)));
    // Master goes first; others still have something to say.
    let Postlogd { mut child, control } = postlogd;
    drop(control);
    client.send(b"after").expect("send");
    assert_eq!(child.wait().expect("wait").code(), Some(0));
    let text = fs::read_to_string(directory.path().join("log")).expect("log");
    assert_eq!(text, "before\nduring\nthe day\nafter\n");
}

#[test]
fn a_rotated_log_is_for_the_next_process() {
    let (directory, socket) = place();
    let client = UnixDatagram::unbound().expect("socket");
    client.connect(directory.path().join("public/postlog")).expect("connect");
    let log = directory.path().join("log");
    let postlogd = Postlogd::start(directory.path(), &socket);
    assert_eq!(postlogd.hear(), Some(ToMaster::Ready));
    client.send(b"old\n").expect("send");
    assert_eq!(postlogd.hear(), Some(ToMaster::Load(Load::Some)));
    // Reported after a second of silence, when the name may be looked at again.
    assert_eq!(postlogd.hear(), Some(ToMaster::Load(Load::Idle)));
    fs::rename(&log, directory.path().join("log.1")).expect("rename");
    client.send(b"new\n").expect("send");
    assert_eq!(postlogd.hear(), Some(ToMaster::Draining));
    assert_eq!(postlogd.end(), Some(0));
    let successor = Postlogd::start(directory.path(), &socket);
    assert_eq!(successor.hear(), Some(ToMaster::Ready));
    successor.say(&ToWorker::Drain);
    while successor.hear().is_some() {}
    assert_eq!(successor.end(), Some(0));
    assert_eq!(fs::read_to_string(directory.path().join("log.1")).expect("log"), "old\n");
    assert_eq!(fs::read_to_string(&log).expect("log"), "new\n");
}

#[test]
fn a_file_outside_the_prefixes_is_refused() {
    let (directory, socket) = place();
    let path = directory.path().display();
    fs::write(directory.path().join("main.cf"), format!("queue_directory = {path}\nmaillog_file = /etc/x\n"))
        .expect("main.cf");
    let postlogd = Postlogd::start(directory.path(), &socket);
    assert_eq!(postlogd.end(), Some(1));
    assert!(!Path::new("/etc/x").exists());
}
