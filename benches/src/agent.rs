use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use pod_identity_agent::{Agent, EksAuth, Exchange, Listen, Session};
use pod_identity_core::{Clock, Credentials, Secret, SystemClock};
use pod_identity_testkit::{Issuer, ProjectedVolume};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// Our agent on loopback, on its own thread, with an EKS Auth that answers at once, and the token
/// volume of a pod.
#[derive(Debug)]
pub struct LocalAgent {
    address: SocketAddr,
    volume: ProjectedVolume,
    _stop: oneshot::Sender<()>,
}

impl LocalAgent {
    /// Starts it.
    ///
    /// # Errors
    /// Fails if there is no free port or no temporary directory.
    pub fn start() -> io::Result<Self> {
        let volume = ProjectedVolume::new()?;
        volume.write(
            Issuer::new()
                .token("bench", "bench")
                .mint(SystemClock.now()),
        )?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let agent = Agent::builder(AtOnce).listen(Listen::On(listener)).build();
        let (stop, stopped) = oneshot::channel::<()>();
        thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ended = agent.run(pending()) => {}
                    _dropped = stopped => {}
                }
            });
        });
        Ok(Self {
            address,
            volume,
            _stop: stop,
        })
    }

    /// Returns the environment of a pod.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        [
            (
                "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                format!("http://{}/v1/credentials", self.address),
            ),
            (
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
                self.volume.token_path().display().to_string(),
            ),
        ]
    }

    /// The same, to be looked up.
    pub fn lookup(&self, name: &str) -> Option<String> {
        let environment = self.environment();
        let found = environment.into_iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| value)
    }
}

#[derive(Debug)]
struct AtOnce;

impl EksAuth for AtOnce {
    fn assume_role<'a>(&'a self, _token: &'a Secret) -> Exchange<'a> {
        let expires = SystemClock.now() + Duration::from_secs(6 * 3600);
        // About as long as real ones.
        let credentials = Credentials::new(
            "ASIABENCHBENCHBENCH0",
            Secret::from("s".repeat(40)),
            Secret::from("t".repeat(900)),
            expires,
        )
        .with_account_id("111122223333");
        let session = Session::new(credentials, "bench", "bench");
        Box::pin(std::future::ready(Ok(session)))
    }
}
