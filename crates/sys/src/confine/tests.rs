use std::path::Path;
use std::process::Command;

use super::*;

/// Names a directory; set in the process that gives something up.
const DIRECTORY: &str = "SYS_TEST_CONFINED";

fn confinement(directory: &Path) -> Confinement {
    Confinement {
        paths: vec![
            (directory.join("kept"), Access::Write),
            (directory.join("shown"), Access::Read),
            (directory.join("missing"), Access::Read),
            (directory.join("file"), Access::Write),
        ],
        connects: false,
        binds: false,
        calls: Calls { writes: true, internet: true },
    }
}

/// Not a test: the process that gives up what it does not need, when the test below starts it.
#[test]
fn as_a_confined_process() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let directory = Path::new(&directory);
    // Of this machine's account database: files that everybody may read.
    assert!(std::fs::read("/etc/passwd").is_ok());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    // The filter does not let anybody ask afterwards.
    let available = available();
    // The test's own threads are not confined by Landlock, so everything is done here.
    let confined = std::thread::spawn({
        let directory = directory.to_owned();
        move || {
            let confined = enter(&confinement(&directory)).expect("confined");
            if confined.files {
                assert!(std::fs::read("/etc/passwd").is_err(), "outside");
                assert!(std::fs::read(directory.join("secret")).is_err(), "outside");
                assert!(std::fs::write(directory.join("new"), "x").is_err(), "outside");
                assert_eq!(std::fs::read(directory.join("shown/a")).expect("shown"), b"a");
                assert!(std::fs::write(directory.join("shown/a"), "b").is_err(), "shown only");
                assert!(std::fs::remove_file(directory.join("shown/a")).is_err(), "shown only");
                std::fs::write(directory.join("file"), "x").expect("a file by itself");
                let kept = directory.join("kept");
                std::fs::create_dir(kept.join("one")).expect("mkdir");
                std::fs::create_dir(kept.join("two")).expect("mkdir");
                std::fs::write(kept.join("one/a"), "x").expect("write");
                std::fs::rename(kept.join("one/a"), kept.join("two/a")).expect("rename");
                std::fs::OpenOptions::new().write(true).truncate(true).open(kept.join("two/a")).expect("truncate");
                assert!(std::fs::rename(kept.join("two/a"), directory.join("shown/b")).is_err(), "shown only");
                std::fs::remove_dir_all(kept.join("two")).expect("remove");
            }
            if confined.network {
                assert!(std::net::TcpStream::connect(address).is_err(), "a connection");
                assert!(std::net::TcpListener::bind("127.0.0.1:0").is_err(), "a port");
            }
            // A socket without internet stays, and threads.
            let (_a, _b) = std::os::unix::net::UnixStream::pair().expect("a pair");
            std::thread::spawn(|| ()).join().expect("a thread");
            if confined.files || confined.calls {
                assert!(Command::new("/bin/true").status().is_err(), "a program");
            }
            if confined.calls {
                assert_eq!(nix::unistd::setgid(nix::unistd::getgid()), Err(nix::errno::Errno::EPERM));
                assert_eq!(nix::unistd::chroot("/"), Err(nix::errno::Errno::EPERM));
                let parent = nix::unistd::getppid();
                assert_eq!(nix::sys::signal::kill(parent, None), Err(nix::errno::Errno::EPERM));
            }
            confined
        }
    });
    let confined = confined.join().expect("no step fails");
    assert_eq!(confined, available);
}

#[test]
fn what_is_not_kept_is_gone() {
    let directory = tempfile::tempdir().expect("directory");
    for name in ["kept", "shown"] {
        std::fs::create_dir(directory.path().join(name)).expect("mkdir");
    }
    for name in ["shown/a", "secret", "file"] {
        std::fs::write(directory.path().join(name), "a").expect("write");
    }
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "confine::tests::as_a_confined_process", "--nocapture"])
        .env(DIRECTORY, directory.path())
        .output()
        .expect("run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
