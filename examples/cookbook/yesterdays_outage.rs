use std::sync::Arc;
use std::time::Duration;

use pod_identity_provider::{Clock, PodIdentityProvider, SystemClock};
use pod_identity_testkit::{Fault, MockAgent, SettableClock};
use tokio::time::sleep;

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn yesterdays_outage_fails_no_caller() {
    let clock = Arc::new(SettableClock::at(SystemClock.now()));
    let agent = MockAgent::builder()
        .in_this_runtime()
        .lifetime(60 * MINUTE)
        .clock(clock.clone());
    let agent = agent.start().await.unwrap();
    let provider = PodIdentityProvider::builder()
        .environment(agent.lookup())
        .clock(clock.clone())
        .build()
        .unwrap();
    for minute in 0..180 {
        match minute {
            40 => agent.inject(Fault::status(503).always().lasting(15 * MINUTE)),
            98 => agent.stop().await,
            110 => agent.restart().await.unwrap(),
            _ => {}
        }
        provider.credentials().await.unwrap();
        clock.advance(MINUTE);
        sleep(MINUTE).await;
    }
    let refused = agent.request_count() - agent.served().len();
    assert!(refused > 0, "it was over before anybody asked");
}
