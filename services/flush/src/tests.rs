use std::fs::{self, FileTimes};
use std::future::Future;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex};

use queue::{Directory, Layout, QueueId, Spool};
use server::testing::{self, Harness};

use super::*;

#[derive(Default)]
struct Heard {
    words: Mutex<Vec<String>>,
    deaf: Mutex<bool>,
}

impl Heard {
    fn hear(&self, word: String) -> io::Result<()> {
        if *self.deaf.lock().expect("lock") {
            return Err(io::Error::other("deaf"));
        }
        self.words.lock().expect("lock").push(word);
        Ok(())
    }

    fn words(&self) -> Vec<String> {
        std::mem::take(&mut *self.words.lock().expect("lock"))
    }
}

impl Qmgr for Heard {
    fn unthrottle(&self) -> io::Result<()> {
        self.hear("unthrottle".into())
    }

    fn retry(&self, ids: &[QueueId]) -> io::Result<()> {
        self.hear(ids.iter().map(QueueId::as_str).collect::<Vec<_>>().join(" "))
    }
}

fn flush(root: &Path) -> (Flush, Spool, Arc<Heard>) {
    for directory in Directory::ALL {
        fs::create_dir(root.join(directory.name())).expect("mkdir");
    }
    let text = "fast_flush_domains = example.com, [192.0.2.1]\n";
    let config = Config::from_text(text).expect("configuration");
    let spool = Spool::at(root, Layout::default());
    let heard = Arc::new(Heard::default());
    let work = Work::load(&config).expect("settings").with(spool.clone(), Arc::<Heard>::clone(&heard));
    let flush = Flush { domains: domains(&config).expect("domains"), work };
    (flush, spool, heard)
}

fn deferred(spool: &Spool) -> QueueId {
    let mut new = spool.create(Directory::Incoming).expect("create");
    new.rename(spool, Directory::Deferred).expect("rename");
    new.file().set_modified(SystemTime::now() + Duration::from_secs(5000)).expect("utime");
    new.ready().expect("ready")
}

fn scenario<F: Future<Output = ()>>(root: &Path, run: impl FnOnce(ipc::Connection, Spool, Arc<Heard>) -> F) {
    let (service, spool, heard) = flush(root);
    testing::run(async {
        let startup = Startup::for_tests(Config::from_text("").expect("configuration"), "flush");
        let harness = Harness::with(service, &startup).await;
        let client = ipc::Connection::new(harness.connect().expect("connect"));
        run(client, spool, heard).await;
        harness.finish().await;
    });
}

async fn ask(client: &mut ipc::Connection, request: Request) -> Answer {
    client.send(&request).await.expect("send");
    client.expect().await.expect("answer")
}

#[test]
fn a_site_asks_for_its_mail() {
    let root = tempfile::tempdir().expect("directory");
    scenario(root.path(), |mut client, spool, heard| async move {
        let (one, two) = (deferred(&spool), deferred(&spool));
        let add = |site: &str, id: &QueueId| Request::Add { site: site.into(), queue_id: id.clone() };
        for (site, id) in [("Example.COM", &one), ("sub.example.com", &two), ("example.com", &one)] {
            assert_eq!(ask(&mut client, add(site, id)).await, Answer::Ok);
        }
        assert_eq!(ask(&mut client, add("other.test", &one)).await, Answer::Denied);
        assert_eq!(ask(&mut client, add("bad..name", &one)).await, Answer::Bad);
        assert_eq!(ask(&mut client, Request::SendSite("192.0.2.1".into())).await, Answer::Bad);
        assert_eq!(ask(&mut client, Request::SendSite("[192.0.2.1]".into())).await, Answer::Ok);
        assert_eq!(heard.words(), ["unthrottle"]);
        assert_eq!(ask(&mut client, Request::SendSite("example.com".into())).await, Answer::Ok);
        assert_eq!(heard.words(), ["unthrottle", one.as_str()]);
        let metadata = fs::metadata(spool.path(Directory::Deferred, &one)).expect("stat");
        assert_eq!(metadata.mode() & 0o777, 0o740);
        assert!(metadata.modified().expect("mtime") <= SystemTime::now());
        assert_eq!(ask(&mut client, Request::SendSite("example.com".into())).await, Answer::Ok);
        assert_eq!(heard.words(), ["unthrottle"], "the log is empty now");
        assert_eq!(ask(&mut client, Request::SendMessage(two.clone())).await, Answer::Ok);
        assert_eq!(heard.words(), [two.as_str()]);
    });
}

#[test]
fn nothing_is_forgotten_while_qmgr_is_away() {
    let root = tempfile::tempdir().expect("directory");
    scenario(root.path(), |mut client, spool, heard| async move {
        let id = deferred(&spool);
        let add = Request::Add { site: "example.com".into(), queue_id: id.clone() };
        assert_eq!(ask(&mut client, add).await, Answer::Ok);
        *heard.deaf.lock().expect("lock") = true;
        assert_eq!(ask(&mut client, Request::Purge).await, Answer::Failed);
        *heard.deaf.lock().expect("lock") = false;
        assert_eq!(ask(&mut client, Request::Purge).await, Answer::Ok);
        assert_eq!(heard.words(), [id.as_str()]);
    });
}

#[test]
fn old_logs_are_refreshed_and_removed() {
    let root = tempfile::tempdir().expect("directory");
    let path = root.path().to_owned();
    scenario(root.path(), |mut client, spool, heard| async move {
        let id = deferred(&spool);
        let log = |name: &str, text: &str, age: u64| {
            let path = path.join("flush").join(name);
            fs::write(&path, text).expect("write");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
            let time = SystemTime::now() - Duration::from_secs(age);
            let file = fs::File::options().write(true).open(&path).expect("open");
            file.set_times(FileTimes::new().set_accessed(time).set_modified(time)).expect("utime");
        };
        let line = format!("{id}\nGONE\n");
        log("fresh", &line, 3600);
        log("stale", &line, 13 * 3600);
        log("empty", "", 13 * 3600);
        log("unused", "", 8 * 86_400);
        assert_eq!(ask(&mut client, Request::Refresh).await, Answer::Ok);
        assert_eq!(heard.words(), [id.as_str()]);
        let left = |name: &str| fs::metadata(path.join("flush").join(name)).map(|metadata| metadata.len()).ok();
        assert_eq!(left("fresh"), Some(line.len() as u64));
        assert_eq!((left("stale"), left("empty"), left("unused")), (Some(0), Some(0), None));
    });
}

#[test]
fn sites() {
    for good in ["example.com", "[192.0.2.1]", "[IPv6:2001:db8::1]", "localhost"] {
        assert!(is_site(good), "{good}");
    }
    for bad in ["", "a..b", "[x", "192.0.2.1", "-f", "a/b", "../x"] {
        assert!(!is_site(bad), "{bad}");
    }
}
