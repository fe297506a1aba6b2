use std::io;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use pod_identity_core::{Backoff, ServiceAccountToken, VerifiedToken};
use serde::Serialize;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

use crate::tokens::key_file::{KeyFile, KeyFileError};
use crate::tokens::key_set::{KeySet, Unverified};
use crate::tokens::key_source::{KeySource, KeysUnavailable};

/// The keys that tokens are verified with: fetched at the start, every quarter of an hour, and when a token
/// names a key that is not known, or has not the signature of the key that it names: a new key may have taken
/// over the name.
///
/// Without a source, or until it answers, there are none, and no token is verified.
#[derive(Debug)]
pub(crate) struct KeyRing {
    /// In this order: a later one is only asked when those before it have no keys.
    sources: Vec<Box<dyn KeySource>>,
    file: Option<Arc<KeyFile>>,
    /// Locked while the file is written, also by a thread that nobody waits for any more.
    disk: Arc<tokio::sync::Mutex<()>>,
    keys: watch::Sender<Arc<KeySet>>,
    /// The index in [`MODES`]. Relaxed: a figure for people, on which nothing depends.
    mode: AtomicU8,
    /// A token has been found that other keys may judge otherwise.
    not_verified: Notify,
    /// Held to read or write it.
    record: Mutex<Record>,
}

/// What the fetches of the keys came to, for people.
#[derive(Debug, Default)]
struct Record {
    confirmed: Option<Confirmed>,
    /// Why the latest fetch failed.
    failure: Option<String>,
    kept: Kept,
}

/// Whether the keys that are used are on the disk.
#[derive(Debug, Clone, Default, PartialEq)]
enum Kept {
    /// Not since they were fetched: keys of the disk are written again, which renews their age.
    #[default]
    NotYet,
    Yes,
    /// The next fetch tries again.
    Failed(String),
}

/// When a source last had the keys that are used.
#[derive(Debug)]
struct Confirmed {
    noted: Instant,
    /// How long ago it was when it was noted: keys of an earlier start are older than this process.
    age: Duration,
}

/// The keys in detail, for people.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct KeyDetails {
    mode: &'static str,
    sources: Vec<&'static str>,
    ids: Vec<String>,
    /// How long ago a source had them.
    age_seconds: Option<f64>,
    failure: Option<String>,
}

impl KeyRing {
    /// Reads the file, if there is one, and asks no source before [`run`](Self::run).
    pub(crate) fn new(sources: Vec<Box<dyn KeySource>>, file: Option<KeyFile>) -> Self {
        let ring = Self {
            sources,
            file: file.map(Arc::new),
            disk: Arc::default(),
            keys: watch::Sender::default(),
            mode: AtomicU8::new(0),
            not_verified: Notify::new(),
            record: Mutex::default(),
        };
        ring.read_file();
        ring
    }

    /// Verifies a token. Where other keys may judge otherwise, they are soon fetched again.
    ///
    /// # Errors
    /// Fails as [`KeySet::verify`].
    pub(crate) fn verify(&self, token: &ServiceAccountToken) -> Result<VerifiedToken, Unverified> {
        let keys = Arc::clone(&self.keys.borrow());
        let verified = keys.verify(token);
        if let Err(Unverified::UnknownKey | Unverified::WrongSignature) = verified {
            self.not_verified.notify_one();
        }
        verified
    }

    /// The keys now; empty while no token is verified.
    pub(crate) fn keys(&self) -> Arc<KeySet> {
        Arc::clone(&self.keys.borrow())
    }

    /// A receiver that is told whenever the keys have been fetched, changed or not.
    pub(crate) fn fetched(&self) -> watch::Receiver<Arc<KeySet>> {
        self.keys.subscribe()
    }

    /// Where the keys come from: a label of [`MODES`].
    pub(crate) fn mode(&self) -> &'static str {
        let mode = usize::from(self.mode.load(Ordering::Relaxed));
        MODES.get(mode).copied().unwrap_or_default()
    }

    /// How long ago a source had the keys that are used. `None` while there are none.
    pub(crate) fn age(&self) -> Option<Duration> {
        let record = self.record();
        let confirmed = record.confirmed.as_ref()?;
        Some(confirmed.noted.elapsed().saturating_add(confirmed.age))
    }

    /// The keys in detail, for people.
    pub(crate) fn details(&self) -> KeyDetails {
        KeyDetails {
            mode: self.mode(),
            sources: self.sources.iter().map(|source| source.name()).collect(),
            ids: self.keys().ids().map(str::to_owned).collect(),
            age_seconds: self.age().map(|age| age.as_secs_f64()),
            failure: self.record().failure.clone(),
        }
    }

    /// Fetches the keys when it is time, until dropped.
    pub(crate) async fn run(&self, seed: u64) {
        if !self.has_sources() {
            info!(
                "tokens are not verified, because no source of the cluster's keys is configured or --verify-tokens is false: EKS Auth verifies each"
            );
            return std::future::pending().await;
        }
        let mut random = fastrand::Rng::with_seed(seed);
        let mut failures = 0;
        let mut logged = None;
        let mut least = LEAST_INTERVAL;
        loop {
            let (began, known) = (Instant::now(), self.keys());
            let pause = match self.fetch().await {
                Ok(()) => {
                    if *self.keys() != *known {
                        least = LEAST_INTERVAL;
                    }
                    if logged.take().is_some() {
                        info!("token keys can be fetched again");
                    }
                    failures = 0;
                    self.record().failure = None;
                    INTERVAL.mul_f64(1.0 - 0.2 * random.f64())
                }
                Err(reason) => {
                    self.record().failure = Some(reason.clone());
                    if logged.as_ref() != Some(&reason) {
                        self.warn_of(&reason);
                        logged = Some(reason);
                    }
                    failures += 1;
                    BACKOFF.delay(failures, random.f64())
                }
            };
            let next = began + pause;
            tokio::select! {
                biased;
                () = sleep_until(next) => least = LEAST_INTERVAL,
                () = self.not_verified.notified() => {
                    let is_soon = began.elapsed() < least;
                    sleep_until(next.min(began + least)).await;
                    if is_soon {
                        least = (2 * least).min(MOST_INTERVAL);
                    }
                }
            }
        }
    }

    async fn fetch(&self) -> Result<(), String> {
        let (keys, source) = self.ask().await?;
        self.take(keys, source).await;
        Ok(())
    }

    /// Whether the keys can come from anywhere.
    pub(crate) fn has_sources(&self) -> bool {
        !self.sources.is_empty()
    }

    /// Asks the sources one after the other, and returns the keys of the first that has some, with its name.
    ///
    /// # Errors
    /// Fails with the reasons of all of them.
    pub(crate) async fn ask_sources(&self) -> Result<(KeySet, &'static str), String> {
        let (keys, source) = self.ask().await?;
        Ok((keys, source.name()))
    }

    async fn ask(&self) -> Result<(KeySet, &dyn KeySource), String> {
        let mut reasons = Vec::new();
        for source in &self.sources {
            let fetched = timeout(TIMEOUT, source.fetch()).await;
            let fetched = fetched.unwrap_or_else(|_elapsed| {
                let seconds = TIMEOUT.as_secs();
                Err(KeysUnavailable(format!("no answer within {seconds} s")))
            });
            let keys = fetched
                .map_err(|error| error.to_string())
                .and_then(|text| KeySet::parse(&text).map_err(|error| error.to_string()));
            match keys {
                Ok(keys) => return Ok((keys, source.as_ref())),
                Err(reason) => reasons.push(format!("{}: {reason}", source.name())),
            }
        }
        Err(reasons.join("; "))
    }

    async fn take(&self, keys: KeySet, origin: &dyn KeySource) {
        let source = origin.name();
        self.set_mode(source);
        self.confirm(Duration::ZERO);
        let known = self.keys();
        let are_new = *known != keys;
        let known = if are_new { Arc::new(keys) } else { known };
        if are_new {
            self.record().kept = Kept::default();
        }
        self.keys.send_replace(Arc::clone(&known));
        // After they are in use: who reads this may rely on it.
        if are_new {
            info!(
                source,
                number = known.len(),
                "tokens are verified with the keys of the cluster"
            );
            for reason in known.ignored().iter().take(MAX_WARNINGS) {
                warn!(source, reason, "a key of the cluster is not used");
            }
        }
        if let Some(file) = &self.file {
            self.keep(file, known, origin.origin()).await;
        }
    }

    /// Writes the keys to the disk, unless they are there.
    async fn keep(&self, file: &Arc<KeyFile>, keys: Arc<KeySet>, origin: String) {
        if self.record().kept == Kept::Yes {
            return;
        }
        let writer = Arc::clone(file);
        let write = move || writer.write(&keys, &origin);
        let kept = match on_disk(&self.disk, DISK_TIMEOUT, write).await {
            Ok(()) => Kept::Yes,
            Err(error) => Kept::Failed(error.to_string()),
        };
        let before = std::mem::replace(&mut self.record().kept, kept.clone());
        if let Kept::Failed(error) = kept
            && before != Kept::Failed(error.clone())
        {
            let path = file.path().display();
            warn!(%path, error, "the keys of the cluster are not kept for the next start");
        }
    }

    fn read_file(&self) {
        let Some(file) = &self.file else {
            return;
        };
        let path = file.path().display();
        let origins: Vec<_> = self.sources.iter().map(|source| source.origin()).collect();
        let reader = Arc::clone(file);
        let read = within(DISK_TIMEOUT, move || {
            let keys = reader.read(&origins)?;
            Ok(keys.map(|keys| (keys, reader.age().unwrap_or_default())))
        });
        match read.map_err(KeyFileError::from).flatten() {
            Ok(Some((keys, age))) => {
                let number = keys.len();
                self.set_mode(DISK);
                self.confirm(age);
                self.keys.send_replace(Arc::new(keys));
                info!(%path, number, "tokens are verified with the keys of the last start");
            }
            Ok(None) => {}
            Err(error) => warn!(%path, %error, "the stored keys of the cluster are not used"),
        }
    }

    fn warn_of(&self, reason: &str) {
        if self.keys.borrow().is_empty() {
            warn!(
                reason,
                "tokens are not verified, because the keys of the cluster are not known: EKS Auth verifies each"
            );
        } else {
            warn!(
                reason,
                "the keys of the cluster cannot be fetched; the known ones are used"
            );
        }
    }

    fn confirm(&self, age: Duration) {
        let noted = Instant::now();
        self.record().confirmed = Some(Confirmed { noted, age });
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_mode(&self, name: &str) {
        let mode = MODES.iter().position(|mode| *mode == name);
        let mode = mode.and_then(|mode| u8::try_from(mode).ok());
        self.mode.store(mode.unwrap_or_default(), Ordering::Relaxed);
    }
}

/// Works on the disk, which may hang, and fails after this time. Threads that hang must not add up: while `disk` is
/// locked, another does, and this fails at once.
async fn on_disk(
    disk: &Arc<tokio::sync::Mutex<()>>,
    limit: Duration,
    work: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> io::Result<()> {
    let Ok(lock) = Arc::clone(disk).try_lock_owned() else {
        return Err(hangs());
    };
    let work = tokio::task::spawn_blocking(move || {
        let done = work();
        drop(lock);
        done
    });
    match timeout(limit, work).await {
        Ok(done) => done.map_err(io::Error::other).flatten(),
        Err(_elapsed) => Err(hangs()),
    }
}

/// The same where there is no runtime to wait in.
fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (done, result) = mpsc::channel();
    let work = move || {
        // Whoever waited may have given up.
        let _given_up = done.send(work());
    };
    std::thread::Builder::new()
        .name("key-file".to_owned())
        .spawn(work)?;
    result.recv_timeout(limit).map_err(|_elapsed| hangs())
}

fn hangs() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the disk does not answer")
}

/// Where keys can come from; the first is that there are none.
const MODES: [&str; 4] = ["off", DISK, "api-server", "issuer"];

/// The mode of keys that are those of an earlier start.
pub(crate) const DISK: &str = "disk";

/// Keys that are older than this have not been renewed when they were due, twice.
pub(crate) const STALE: Duration = Duration::from_secs(2 * INTERVAL.as_secs() + 60);

/// A rotation is noticed within this time, and sooner by the first token that is signed with a new key.
const INTERVAL: Duration = Duration::from_secs(15 * 60);

/// Tokens that name keys which do not exist, or are forged, cause no more fetches than one in this time. A source
/// that has a new key late is asked again after as long.
const LEAST_INTERVAL: Duration = Duration::from_secs(30);

/// Fetches that such tokens cause, and that bring no other keys, become rarer up to this: a token whose key never comes
/// must not make each node of a fleet ask twice a minute.
const MOST_INTERVAL: Duration = Duration::from_secs(240);

const TIMEOUT: Duration = Duration::from_secs(5);

/// A disk that takes longer for so small a file hangs. The start waits for as long, too.
const DISK_TIMEOUT: Duration = Duration::from_secs(2);

/// A broken set may have thousands of keys that cannot be used.
const MAX_WARNINGS: usize = 8;

const BACKOFF: Backoff =
    Backoff::new(Duration::from_secs(1), Duration::from_secs(300)).with_jitter(0.2);

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use pod_identity_core::Timestamp;
    use pod_identity_testkit::{Issuer, SigningKey};
    use tokio::task::JoinSet;
    use tokio::time::sleep;
    use tracing_subscriber::filter::LevelFilter;

    use super::*;
    use crate::telemetry::logging::tests::logged_in_virtual_time;
    use crate::tokens::key_source::Fetching;

    const NOW: Timestamp = Timestamp::from_unix_secs(1_772_366_400);
    const SECOND: Duration = Duration::from_secs(1);

    /// Hands out the keys of an issuer, and takes note of when.
    #[derive(Debug)]
    struct Source {
        issuer: Issuer,
        fetched: Arc<Mutex<Vec<Instant>>>,
        outage: Option<Duration>,
        began: Instant,
    }

    impl KeySource for Source {
        fn fetch(&self) -> Fetching<'_> {
            self.fetched.lock().unwrap().push(Instant::now());
            let is_out = self
                .outage
                .is_some_and(|length| self.began.elapsed() < length);
            let keys = match is_out {
                true => Err(KeysUnavailable("it is down".to_owned())),
                false => Ok(self.issuer.jwks().into_bytes()),
            };
            Box::pin(async { keys })
        }

        fn name(&self) -> &'static str {
            "api-server"
        }

        fn origin(&self) -> String {
            "https://10.0.0.1".to_owned()
        }
    }

    struct Running {
        ring: Arc<KeyRing>,
        issuer: Issuer,
        fetched: Arc<Mutex<Vec<Instant>>>,
        _task: JoinSet<()>,
    }

    async fn start(outage: Option<Duration>) -> Running {
        let (issuer, fetched) = (Issuer::new(), Arc::default());
        let source = Source {
            issuer: issuer.clone(),
            fetched: Arc::clone(&fetched),
            outage,
            began: Instant::now(),
        };
        let ring = Arc::new(KeyRing::new(vec![Box::new(source)], None));
        let mut task = JoinSet::new();
        let running = Arc::clone(&ring);
        task.spawn(async move { running.run(7).await });
        sleep(Duration::from_millis(1)).await;
        Running {
            ring,
            issuer,
            fetched,
            _task: task,
        }
    }

    impl Running {
        fn fetches(&self) -> usize {
            self.fetched.lock().unwrap().len()
        }

        fn token(&self) -> ServiceAccountToken {
            ServiceAccountToken::parse(&self.issuer.token("shop", "cart").mint(NOW)).unwrap()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_key_is_fetched_at_once_but_at_most_every_30_seconds_whatever_is_sent() {
        let running = start(None).await;
        assert_eq!((running.fetches(), running.ring.mode()), (1, "api-server"));
        sleep(MINUTE).await;
        running.issuer.sign_with(SigningKey::OtherRs256);
        let token = running.token();
        assert_eq!(
            running.ring.verify(&token).unwrap_err(),
            Unverified::UnknownKey
        );
        sleep(Duration::from_millis(1)).await;
        assert!(running.ring.verify(&token).is_ok(), "fetched at once");
        assert_eq!(running.fetches(), 2);

        let invented = Issuer::new();
        invented.sign_with(SigningKey::Es256);
        let forged = invented.token("shop", "cart").mint(NOW);
        let forged = ServiceAccountToken::parse(&forged).unwrap();
        for _ in 0..600 {
            running.ring.verify(&forged).unwrap_err();
            sleep(SECOND).await;
        }
        let times = running.fetched.lock().unwrap().clone();
        assert!(times.len() <= 2 + 600 / 30, "{} fetches", times.len());
        let apart = times.windows(2).map(|two| two[1] - two[0]).min();
        assert!(apart >= Some(30 * SECOND), "{apart:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_signature_causes_a_fetch_because_another_key_may_have_taken_over_the_name() {
        let running = start(None).await;
        sleep(MINUTE).await;
        let forged = running.issuer.token("shop", "cart").forged().mint(NOW);
        let forged = ServiceAccountToken::parse(&forged).unwrap();
        for _ in 0..600 {
            let why = running.ring.verify(&forged).unwrap_err();
            assert_eq!(why, Unverified::WrongSignature);
            sleep(SECOND).await;
        }
        // At the start, at once, and after 30, 60, 120 and 240 seconds.
        assert_eq!(running.fetches(), 6);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_the_disk_did_not_take_are_written_after_the_next_fetch() {
        let folder = tempfile::tempdir().unwrap();
        let in_the_way = folder.path().join("keys");
        std::fs::write(&in_the_way, "").unwrap();
        let source = Source {
            issuer: Issuer::new(),
            fetched: Arc::default(),
            outage: None,
            began: Instant::now(),
        };
        let path = in_the_way.join("jwks-cache.json");
        let file = KeyFile::new(path.clone(), "shop".to_owned());
        let ring = Arc::new(KeyRing::new(vec![Box::new(source)], Some(file)));
        let mut task = JoinSet::new();
        let running = Arc::clone(&ring);
        task.spawn(async move { running.run(7).await });
        sleep(MINUTE).await;
        assert_eq!(ring.keys().len(), 1);
        assert!(!path.exists());
        std::fs::remove_file(&in_the_way).unwrap();
        sleep(15 * MINUTE).await;
        assert!(path.exists());
    }

    #[tokio::test(start_paused = true)]
    async fn a_rotation_of_the_keys_is_noticed_without_a_token() {
        let running = start(None).await;
        running.issuer.sign_with(SigningKey::Es256);
        running.issuer.forget_old_keys();
        sleep(15 * MINUTE).await;
        assert!(running.ring.verify(&running.token()).is_ok());
        assert!(!running.ring.keys().has(Issuer::KEY_ID));
    }

    #[test]
    fn an_outage_is_logged_once_and_so_is_its_end_and_the_keys_are_there_soon_after_it() {
        let lines = logged_in_virtual_time(LevelFilter::INFO, async {
            let running = start(Some(10 * MINUTE)).await;
            sleep(9 * MINUTE).await;
            assert_eq!((running.ring.keys().len(), running.ring.mode()), (0, "off"));
            sleep(6 * MINUTE).await;
            assert_eq!(running.ring.keys().len(), 1);
        });
        let said: Vec<_> = lines
            .iter()
            .map(|line| line["msg"].as_str().unwrap())
            .collect();
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].starts_with("tokens are not verified"), "{said:?}");
        assert_eq!(lines[0]["reason"], "api-server: it is down");
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_starts_in_an_outage_has_the_keys_of_the_last_start() {
        let folder = tempfile::tempdir().unwrap();
        let file = || KeyFile::new(folder.path().join("keys.json"), "shop".to_owned());
        let keys = KeySet::parse(Issuer::new().jwks().as_bytes()).unwrap();
        let ring = || {
            let source = Source {
                issuer: Issuer::new(),
                fetched: Arc::default(),
                outage: Some(MINUTE),
                began: Instant::now(),
            };
            KeyRing::new(vec![Box::new(source)], Some(file()))
        };
        file().write(&keys, "https://10.0.0.1").unwrap();
        assert_eq!((ring().keys().len(), ring().mode()), (1, "disk"));
        file().write(&keys, "https://10.0.0.2").unwrap();
        assert_eq!((ring().keys().len(), ring().mode()), (0, "off"));
    }

    #[tokio::test]
    async fn a_disk_that_hangs_is_given_up_and_occupies_one_thread() {
        let limit = Duration::from_millis(10);
        let (end, hanging) = mpsc::channel::<()>();
        let disk = Arc::default();
        let hang = move || hanging.recv().map_err(io::Error::other);
        let error = on_disk(&disk, limit, hang).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let error = on_disk(&disk, limit, || panic!("not another thread")).await;
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::TimedOut);
        end.send(()).unwrap();
        let free = disk.lock().await;
        drop(free);
        on_disk(&disk, MINUTE, || Ok(())).await.unwrap();

        let (_end, hanging) = mpsc::channel::<()>();
        let error = within(limit, move || hanging.recv()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(within(MINUTE, || 7).unwrap(), 7);
    }

    const MINUTE: Duration = Duration::from_secs(60);
}
