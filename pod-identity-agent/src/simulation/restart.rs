use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::node::Node;
use super::pod::{Answer, Limits, Pod};
use super::world::{Mood, World};
use crate::credentials::settings::Settings;
use crate::serve::connection_limits::ConnectionLimits;

#[test]
fn more_pods_than_places_all_get_credentials_as_fast_as_eks_auth_grants() {
    let (pods, per_second) = (200, 40);
    let granted_in = Duration::from_secs(pods / u64::from(per_second));
    for places in [30, 90] {
        let restart = Restart::run(pods as usize, places, per_second);
        println!("{places} places: {restart:?}");
        assert_eq!(restart.violations, Vec::<String>::new(), "{places} places");
        assert_eq!(restart.without, 0, "{places} places");
        // Pods ask every few seconds, and some exchanges are throttled.
        let took = restart.took;
        assert!(took < granted_in * 3 / 2, "{places} places: {took:?}");
    }
}

/// Pods that all ask an agent that has just started, until each has credentials.
#[derive(Debug)]
struct Restart {
    /// Until the last pod had credentials; not longer than [`LONGEST`].
    took: Duration,
    /// Pods without credentials by then.
    without: usize,
    violations: Vec<String>,
}

impl Restart {
    /// There are only so many places for tokens without credentials, and EKS Auth grants so many exchanges per second.
    fn run(pods: usize, places: usize, per_second: u32) -> Self {
        let mut runtime = Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let world = World::new(0, 1);
            world.set_mood(Mood::Granting(per_second));
            let mut settings = Settings::new(0);
            settings.limits.empty = places;
            let connections = ConnectionLimits::default();
            let node = Arc::new(Node::new(&world, settings, connections, false));
            let limits = Limits {
                answered_within: Duration::from_millis(900),
                crowded: false,
                pods,
            };
            let mut random = Rng::with_seed(0);
            let began = Instant::now();
            let mut starting = JoinSet::new();
            for number in 0..pods {
                let mut pod = Pod::new(number, &node, &world, limits, &mut random);
                let pause = Duration::from_millis(random.u64(200..1_500));
                starting.spawn(async move {
                    while began.elapsed() < LONGEST {
                        if let Answer::Set(_) = pod.ask().await {
                            return Some(began.elapsed());
                        }
                        sleep(pause).await;
                    }
                    None
                });
            }
            let times = starting.join_all().await;
            Self {
                took: times.iter().flatten().max().copied().unwrap_or(LONGEST),
                without: times.iter().filter(|time| time.is_none()).count(),
                violations: world.violations(),
            }
        })
    }
}

const LONGEST: Duration = Duration::from_secs(60);
