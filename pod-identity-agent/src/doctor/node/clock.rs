use crate::doctor::findings::CLOCK;
use crate::doctor::node::known::Known;
use crate::doctor::step::Outcome;
use crate::eks_auth::exchange::EksAuth;

/// How far the clock of the node is from that of EKS Auth, by its last answer.
pub(super) async fn check(known: &mut Known) -> Outcome {
    if !known.may_ask || !known.has_cluster {
        return Outcome::Skipped("EKS Auth was not asked");
    }
    let behind = known.eks_auth.clock_skew_seconds();
    let detail = format!("{:.0} s behind that of EKS Auth", behind);
    if behind.abs() < TOLERATED_SECONDS {
        Outcome::Fine(detail)
    } else {
        Outcome::found(&CLOCK, detail)
    }
}

/// AWS refuses signatures that are 5 minutes off.
const TOLERATED_SECONDS: f64 = 240.0;
