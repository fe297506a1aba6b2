use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use hashlink::LinkedHashMap;
use pod_identity_core::Timestamp;

/// How many exchanges each source may cause: so many at once, and then so many a second.
///
/// What is at hand costs nothing; only a fetch that EKS Auth has to answer does. The table of sources is
/// bounded: the one that was quiet for longest is forgotten, and what it had used up with it.
#[derive(Debug)]
pub(crate) struct Budgets {
    pod: Budget,
    node: Budget,
    /// Addresses of the node's own interfaces, which host-network pods share.
    node_addresses: HashSet<IpAddr>,
    /// When each source's budget is whole again, the longest quiet first.
    whole_at: LinkedHashMap<IpAddr, Timestamp>,
}

/// So many at once, and so many a second.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Budget {
    /// At once, after a quiet time.
    pub burst: u32,
    /// Each second.
    pub per_second: f64,
}

impl Budget {
    /// What a pod's address may cause: a pod needs one exchange a day.
    pub const POD: Self = Self::new(10, 2.0);
    /// What an address of the node's own may cause; host-network pods share it.
    pub const NODE: Self = Self::new(200, 20.0);

    /// So many at once, and so many a second.
    pub const fn new(burst: u32, per_second: f64) -> Self {
        Self { burst, per_second }
    }

    fn price(self) -> Duration {
        Duration::try_from_secs_f64(1.0 / self.per_second).unwrap_or(LONGEST)
    }
}

impl Budgets {
    /// A loopback address counts as a pod: sidecars' port forwards come from there.
    pub(crate) fn new(
        pod: Budget,
        node: Budget,
        node_addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Self {
        Self {
            pod,
            node,
            node_addresses: node_addresses
                .into_iter()
                .filter(|address| !address.is_loopback())
                .collect(),
            whole_at: LinkedHashMap::new(),
        }
    }

    /// Takes one exchange out of the budget of `source`, if it is there within `patience`: the time to
    /// wait before it is spent. `None`, and nothing is taken, if it is not.
    pub(crate) fn spend(
        &mut self,
        now: Timestamp,
        source: IpAddr,
        patience: Duration,
    ) -> Option<Duration> {
        let budget = if self.node_addresses.contains(&source) {
            self.node
        } else {
            self.pod
        };
        let price = budget.price();
        let credit = price.saturating_mul(budget.burst.saturating_sub(1));
        // A clock that was stepped back must not leave a debt that never ends.
        let longest_debt = credit.saturating_add(price).saturating_add(patience);
        let whole_at = self
            .whole_at
            .remove(&source)
            .unwrap_or(now)
            .clamp(now, now + longest_debt);
        let wait = whole_at.saturating_since(now).saturating_sub(credit);
        let affordable = wait <= patience;
        let whole_at = if affordable {
            whole_at + price
        } else {
            whole_at
        };
        self.whole_at.insert(source, whole_at);
        if self.whole_at.len() > MOST_SOURCES {
            self.whole_at.pop_front();
        }
        affordable.then_some(wait)
    }
}

/// More than the pods that a node can run, several times.
const MOST_SOURCES: usize = 4096;

/// Between two exchanges, where a budget is given as nothing at all.
const LONGEST: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_unix_secs(1_772_366_400);
    const POD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7));
    const NODE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const SECOND: Duration = Duration::from_secs(1);

    fn budgets() -> Budgets {
        Budgets::new(
            Budget::POD,
            Budget::NODE,
            [NODE, std::net::Ipv4Addr::LOCALHOST.into()],
        )
    }

    fn at_once(budgets: &mut Budgets, source: IpAddr) -> usize {
        std::iter::from_fn(|| budgets.spend(START, source, Duration::ZERO))
            .take(10_000)
            .count()
    }

    #[test]
    fn a_pod_has_ten_at_once_and_a_node_address_two_hundred() {
        let mut budgets = budgets();
        assert_eq!(at_once(&mut budgets, POD), 10);
        assert_eq!(at_once(&mut budgets, NODE), 200);
        assert_eq!(
            at_once(&mut budgets, std::net::Ipv4Addr::LOCALHOST.into()),
            10
        );
    }

    #[test]
    fn after_the_burst_a_pod_has_two_each_second_and_waits_for_its_turn() {
        let mut budgets = budgets();
        at_once(&mut budgets, POD);
        assert_eq!(budgets.spend(START, POD, SECOND), Some(SECOND / 2));
        assert_eq!(budgets.spend(START, POD, SECOND), Some(SECOND));
        assert_eq!(
            budgets.spend(START, POD, SECOND),
            None,
            "its patience is at an end"
        );
        assert_eq!(
            budgets.spend(START + 2 * SECOND, POD, Duration::ZERO),
            Some(Duration::ZERO)
        );
        let spent: usize = (3..103)
            .map(|second| {
                let now = START + second * SECOND;
                std::iter::from_fn(|| budgets.spend(now, POD, Duration::ZERO)).count()
            })
            .sum();
        assert!((200..=202).contains(&spent), "{spent} in 100 s");
    }

    #[test]
    fn one_source_does_not_spend_what_is_anothers() {
        let mut budgets = budgets();
        at_once(&mut budgets, POD);
        assert_eq!(at_once(&mut budgets, "10.0.0.8".parse().unwrap()), 10);
    }

    #[test]
    fn a_budget_of_next_to_nothing_is_one_exchange() {
        for next_to_nothing in [0.0, 1e-19, f64::MIN_POSITIVE, f64::NAN] {
            let budget = Budget::new(2, next_to_nothing);
            let mut budgets = Budgets::new(budget, budget, []);
            assert!(budgets.spend(START, POD, SECOND).is_some());
        }
    }

    #[test]
    fn the_table_is_bounded_and_a_clock_stepped_back_leaves_no_debt() {
        let mut budgets = budgets();
        at_once(&mut budgets, POD);
        let hour_ago = START - Duration::from_secs(3600);
        assert!(
            budgets.spend(hour_ago, POD, SECOND).is_none(),
            "what was spent is spent"
        );
        assert!(budgets.spend(hour_ago + 10 * SECOND, POD, SECOND).is_some());
        for last in 0..10_000_u32 {
            budgets.spend(START, IpAddr::from(last.to_be_bytes()), Duration::ZERO);
        }
        assert!(budgets.whole_at.len() <= MOST_SOURCES);
    }
}
