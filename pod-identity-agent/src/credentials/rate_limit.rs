use std::net::IpAddr;
use std::time::Duration;

use hashlink::LinkedHashMap;
use pod_identity_core::{PodDigest, Timestamp, TokenBucket};

use crate::credentials::details::{MAX_LISTED, Source, Sources};
use crate::node::addresses::NODE;

/// How many exchanges with EKS Auth each source may cause: a token bucket for each.
///
/// Every attempt is charged when it begins. One that earned credentials gives its cost back: a client that
/// asks for many pods, such as a CSI driver, is served as fast as EKS Auth answers, while one with forged
/// tokens is held to its budget. What is given back is bounded too, by a bucket with the budget of the node,
/// because where nothing is kept (a cache of size 0) good tokens could cause exchanges without end.
///
/// Tokens with a wrong signature have a bucket of the same size: they cost no exchange, but a verification
/// each. Within it, each pod that such tokens claim to be of has a bucket with the budget of a pod, so that whoever
/// sends them in the name of one pod leaves the others their verifications.
///
/// The tables are bounded: the source that was quiet for longest is forgotten, and with it what it had used up;
/// and so is the claim.
#[derive(Debug)]
pub(crate) struct Budgets {
    pod: Budget,
    node: Budget,
    /// The source that was quiet for longest comes first.
    accounts: LinkedHashMap<IpAddr, Account>,
    /// For tokens with a wrong signature, by source and claimed pod. The one that was quiet for longest comes first.
    claims: LinkedHashMap<(IpAddr, Option<PodDigest>), TokenBucket>,
}

#[derive(Debug)]
struct Account {
    exchanges: TokenBucket,
    refunds: TokenBucket,
    forged: TokenBucket,
    in_flight: usize,
}

/// A token bucket: `burst` at once, refilled at `per_second`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Budget {
    /// Exchanges at once, after a quiet time.
    pub burst: u32,
    /// Exchanges that are added each second, up to the burst.
    pub per_second: f64,
}

impl Budget {
    /// The default for the address of a pod. A pod needs one exchange for each of its daily tokens.
    pub const POD: Self = Self::new(10, 2.0);
    /// The default for the node itself, whose addresses all host-network pods share.
    pub const NODE: Self = Self::new(200, 20.0);

    /// A budget of `burst` exchanges at once, and `per_second` after that.
    pub const fn new(burst: u32, per_second: f64) -> Self {
        Self { burst, per_second }
    }

    fn bucket(self) -> TokenBucket {
        TokenBucket::new(self.burst.max(1), self.per_second)
    }
}

impl Budgets {
    pub(crate) fn new(pod: Budget, node: Budget) -> Self {
        Self {
            pod,
            node,
            accounts: LinkedHashMap::new(),
            claims: LinkedHashMap::new(),
        }
    }

    /// Charges the source for an exchange that begins now.
    ///
    /// # Errors
    /// When the source cannot afford it: the time when it can.
    pub(crate) fn try_charge(&mut self, now: Timestamp, source: IpAddr) -> Result<(), Timestamp> {
        let account = self.account(source);
        if !account.exchanges.try_take(now) {
            return Err(account.exchanges.ready_at(now));
        }
        account.in_flight += 1;
        Ok(())
    }

    /// An exchange that was charged is over; `earned` if it brought credentials.
    pub(crate) fn finish(&mut self, now: Timestamp, source: IpAddr, earned: bool) {
        let account = self.account(source);
        account.in_flight = account.in_flight.saturating_sub(1);
        if earned && account.refunds.try_take(now) {
            account.exchanges.refund(now);
        }
    }

    /// Whether a token of this source may be verified that claims to be of this pod. `is_known`: credentials are
    /// held for that pod. There are only so many of them, so that invented ones cannot use up their verifications.
    pub(crate) fn may_verify(
        &mut self,
        now: Timestamp,
        source: IpAddr,
        claimed: Option<PodDigest>,
        is_known: bool,
    ) -> MayVerify {
        let is_spent = |bucket: Option<&mut TokenBucket>| {
            bucket.is_some_and(|one| {
                one.notice_step(now);
                !one.wait_for(now, 1).is_zero()
            })
        };
        let of_source = self.accounts.get_mut(&source);
        let is_source_spent = is_spent(of_source.map(|account| &mut account.forged));
        if is_spent(self.claims.get_mut(&(source, claimed))) {
            MayVerify::No
        } else if is_known || !is_source_spent {
            MayVerify::Yes
        } else {
            MayVerify::NotHere
        }
    }

    /// Charges the source, and the pod that it claims to be, for a token with a wrong signature.
    pub(crate) fn charge_forged(
        &mut self,
        now: Timestamp,
        source: IpAddr,
        claimed: Option<PodDigest>,
    ) {
        // Where threads have verified at once, one of them may find nothing left.
        let _was_left = self.account(source).forged.try_take(now);
        let mut bucket = match self.claims.remove(&(source, claimed)) {
            Some(bucket) => bucket,
            None => self.pod.bucket(),
        };
        let _was_left = bucket.try_take(now);
        self.claims.insert((source, claimed), bucket);
        if self.claims.len() > MAX_CLAIMS {
            self.claims.pop_front();
        }
    }

    /// How long one more exchange has to wait for the budget, after the `ahead` that wait already.
    pub(crate) fn wait(&mut self, now: Timestamp, source: IpAddr, ahead: usize) -> Duration {
        let count = u32::try_from(ahead.saturating_add(1)).unwrap_or(u32::MAX);
        match self.accounts.get_mut(&source) {
            Some(account) => {
                // Nobody charges a source that is told to wait for longer than a client does.
                account.exchanges.notice_step(now);
                account.exchanges.wait_for(now, count)
            }
            None => self.budget(source).bucket().wait_for(now, count),
        }
    }

    /// Whether an exchange of this source is under way.
    pub(crate) fn is_in_flight(&self, source: IpAddr) -> bool {
        let account = self.accounts.get(&source);
        account.is_some_and(|account| account.in_flight > 0)
    }

    /// The sources that asked lately, with what they may do.
    pub(crate) fn sources(&self, now: Timestamp) -> Sources {
        let of = |(source, account): (&IpAddr, &Account)| Source {
            source: match *source {
                NODE => "node".to_owned(),
                address => address.to_string(),
            },
            exchanges_in_flight: account.in_flight,
            next_exchange_in_seconds: account.exchanges.wait_for(now, 1).as_secs_f64(),
            next_verification_in_seconds: account.forged.wait_for(now, 1).as_secs_f64(),
        };
        Sources {
            known: self.accounts.len(),
            latest: self
                .accounts
                .iter()
                .rev()
                .take(MAX_LISTED)
                .map(of)
                .collect(),
        }
    }

    /// The flag that sets the budget of this source.
    pub(crate) fn flag(&self, source: IpAddr) -> &'static str {
        if source == NODE {
            "--node-budget"
        } else {
            "--pod-budget"
        }
    }

    fn budget(&self, source: IpAddr) -> Budget {
        if source == NODE { self.node } else { self.pod }
    }

    fn account(&mut self, source: IpAddr) -> &mut Account {
        if self.accounts.to_back(&source).is_none() {
            if self.accounts.len() >= MAX_SOURCES {
                self.accounts.pop_front();
            }
            let account = Account {
                exchanges: self.budget(source).bucket(),
                refunds: self.node.bucket(),
                forged: self.budget(source).bucket(),
                in_flight: 0,
            };
            self.accounts.insert(source, account);
        }
        let account = self.accounts.get_mut(&source);
        account.expect("an account that is there or was just made must be found")
    }
}

/// What becomes of a token that is not verified yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MayVerify {
    Yes,
    /// Too many tokens with a wrong signature have claimed to be of its pod.
    No,
    /// Too many have come from its source, in other names: it is left to EKS Auth.
    NotHere,
}

/// With [`Budget::NODE`], one source uses up fewer buckets than this in the time in which the first is full again.
const MAX_CLAIMS: usize = 1024;

/// More than the pods that a node can run, several times.
const MAX_SOURCES: usize = 4096;

#[cfg(test)]
mod tests {
    use pod_identity_core::{BoundPod, ServiceAccountToken};
    use pod_identity_testkit::Issuer;

    use super::*;

    const START: Timestamp = Timestamp::from_unix_secs(1_772_366_400);
    const POD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7));
    const SECOND: Duration = Duration::from_secs(1);

    fn budgets() -> Budgets {
        Budgets::new(Budget::POD, Budget::NODE)
    }

    /// Exchanges that begin at once, and fail.
    fn failing(budgets: &mut Budgets, now: Timestamp, source: IpAddr) -> usize {
        std::iter::from_fn(|| {
            budgets.try_charge(now, source).ok()?;
            budgets.finish(now, source, false);
            Some(())
        })
        .take(10_000)
        .count()
    }

    #[test]
    fn a_pod_has_a_burst_of_10_and_the_node_of_200() {
        let mut budgets = budgets();
        assert_eq!(failing(&mut budgets, START, POD), 10);
        assert_eq!(failing(&mut budgets, START, NODE), 200);
        let localhost = std::net::Ipv4Addr::LOCALHOST.into();
        assert_eq!(failing(&mut budgets, START, localhost), 10);
    }

    #[test]
    fn after_its_burst_a_pod_gets_two_exchanges_per_second_and_a_retry_delay() {
        let mut budgets = budgets();
        assert_eq!(budgets.wait(START, POD, 0), Duration::ZERO);
        failing(&mut budgets, START, POD);
        assert_eq!(budgets.try_charge(START, POD), Err(START + SECOND / 2));
        assert_eq!(budgets.wait(START, POD, 0), SECOND / 2);
        assert_eq!(budgets.wait(START, POD, 3), 2 * SECOND);
        let spent: usize = (1..101)
            .map(|second| failing(&mut budgets, START + second * SECOND, POD))
            .sum();
        assert_eq!(spent, 200, "in 100 s");
    }

    #[test]
    fn one_source_does_not_spend_the_budget_of_another() {
        let mut budgets = budgets();
        failing(&mut budgets, START, POD);
        assert_eq!(
            failing(&mut budgets, START, "10.0.0.8".parse().unwrap()),
            10
        );
    }

    #[test]
    fn a_successful_exchange_costs_nothing_up_to_the_budget_of_the_node() {
        let mut budgets = budgets();
        let mut earned = 0;
        while budgets.try_charge(START, POD).is_ok() {
            assert!(budgets.is_in_flight(POD));
            budgets.finish(START, POD, true);
            assert!(!budgets.is_in_flight(POD));
            earned += 1;
        }
        assert_eq!(earned, 200 + 10);
    }

    #[test]
    fn forged_tokens_are_verified_within_a_budget_that_leaves_the_exchanges_alone() {
        let mut budgets = budgets();
        for _ in 0..10 {
            assert_eq!(may_verify(&mut budgets, START, POD), MayVerify::Yes);
            budgets.charge_forged(START, POD, None);
        }
        assert_eq!(may_verify(&mut budgets, START, POD), MayVerify::No);
        let later = START + SECOND / 2;
        assert_eq!(may_verify(&mut budgets, later, POD), MayVerify::Yes);
        assert_eq!(may_verify(&mut budgets, START, NODE), MayVerify::Yes);
        assert_eq!(failing(&mut budgets, START, POD), 10);
    }

    fn may_verify(budgets: &mut Budgets, now: Timestamp, source: IpAddr) -> MayVerify {
        budgets.may_verify(now, source, None, false)
    }

    #[test]
    fn forged_tokens_in_the_name_of_one_pod_leave_the_verifications_of_others_alone() {
        let mut budgets = budgets();
        let claimed = |number: usize| {
            let token = Issuer::new()
                .token("shop", "cart")
                .pod(format!("cart-{number}"));
            let token = ServiceAccountToken::parse(&token.mint(START)).unwrap();
            Some(PodDigest::of(&BoundPod::of(token.claims()).unwrap()))
        };
        let [forged, other, known] = [0, 1, 2].map(claimed);
        let may = |budgets: &mut Budgets, claimed| {
            budgets.may_verify(START, NODE, claimed, claimed == known)
        };
        for _ in 0..10 {
            budgets.charge_forged(START, NODE, forged);
        }
        let verdicts = [forged, other, known].map(|claimed| may(&mut budgets, claimed));
        assert_eq!(verdicts, [MayVerify::No, MayVerify::Yes, MayVerify::Yes]);
        for _ in 10..200 {
            budgets.charge_forged(START, NODE, forged);
        }
        let verdicts = [forged, other, known].map(|claimed| may(&mut budgets, claimed));
        assert_eq!(
            verdicts,
            [MayVerify::No, MayVerify::NotHere, MayVerify::Yes]
        );
    }

    #[test]
    fn a_budget_that_is_spent_when_the_clock_is_stepped_back_is_refilled_from_then_on() {
        let mut budgets = budgets();
        failing(&mut budgets, START, POD);
        for _ in 0..10 {
            budgets.charge_forged(START, POD, None);
        }
        let hour_ago = START - Duration::from_secs(3600);
        assert_eq!(budgets.wait(hour_ago, POD, 0), SECOND / 2);
        assert_eq!(may_verify(&mut budgets, hour_ago, POD), MayVerify::No);
        let later = hour_ago + SECOND / 2;
        assert_eq!(budgets.wait(later, POD, 0), Duration::ZERO);
        assert_eq!(may_verify(&mut budgets, later, POD), MayVerify::Yes);
    }

    #[test]
    fn the_smallest_budget_allows_one_exchange() {
        for next_to_nothing in [0.0, 1e-19, f64::MIN_POSITIVE, f64::NAN] {
            let budget = Budget::new(0, next_to_nothing);
            let mut budgets = Budgets::new(budget, budget);
            assert_eq!(failing(&mut budgets, START, POD), 1);
        }
    }

    #[test]
    fn the_table_is_bounded_and_a_clock_stepped_back_leaves_no_debt() {
        let mut budgets = budgets();
        failing(&mut budgets, START, POD);
        let hour_ago = START - Duration::from_secs(3600);
        assert!(
            budgets.try_charge(hour_ago, POD).is_err(),
            "what was spent is spent"
        );
        assert!(budgets.try_charge(hour_ago + 10 * SECOND, POD).is_ok());
        for last in 0..10_000_u32 {
            let source = IpAddr::from(last.to_be_bytes());
            assert!(budgets.try_charge(START, source).is_ok());
        }
        assert!(budgets.accounts.len() <= MAX_SOURCES);
    }

    #[test]
    fn the_claims_of_forged_tokens_are_bounded_and_the_quietest_is_forgotten_first() {
        let mut budgets = budgets();
        let source = |number: usize| IpAddr::from((number as u32).to_be_bytes());
        for number in 0..=MAX_CLAIMS {
            budgets.charge_forged(START, source(number), None);
        }
        assert_eq!(budgets.claims.len(), MAX_CLAIMS);
        let is_known = |number| budgets.claims.contains_key(&(source(number), None));
        assert_eq!([0, 1, MAX_CLAIMS].map(is_known), [false, true, true]);
    }

    #[test]
    fn the_quietest_source_is_forgotten_first_and_only_when_there_is_no_room() {
        let mut budgets = budgets();
        let source = |number: usize| IpAddr::from((number as u32).to_be_bytes());
        for number in 0..MAX_SOURCES {
            budgets.try_charge(START, source(number)).unwrap();
        }
        assert!(budgets.is_in_flight(source(0)));
        budgets.try_charge(START, source(MAX_SOURCES)).unwrap();
        let in_flight = [0, 1, MAX_SOURCES].map(|number| budgets.is_in_flight(source(number)));
        assert_eq!(in_flight, [false, true, true]);
    }

    #[test]
    fn each_source_is_told_the_flag_of_its_own_budget() {
        let budgets = budgets();
        assert_eq!(budgets.flag(POD), "--pod-budget");
        assert_eq!(budgets.flag(NODE), "--node-budget");
    }
}
