use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::Role;
use crate::eks::iam::attempt::{Attempt, Principal};
use crate::eks::iam::trust_policy::TrustPolicy;
use crate::sync::lock;

/// The roles of all accounts. Until the first one is added, every role exists and trusts every principal.
#[derive(Debug, Default)]
pub(crate) struct Roles(Mutex<BTreeMap<String, TrustPolicy>>);

/// Why a role cannot be assumed or associated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RoleProblem {
    Unknown,
    Trust,
}

impl Roles {
    pub(crate) fn new(roles: Vec<Role>) -> Self {
        let roles = roles.into_iter().map(|role| (role.arn, role.trust));
        Self(Mutex::new(roles.collect()))
    }

    /// Returns the ARNs of the roles that are known.
    pub(crate) fn arns(&self) -> Vec<String> {
        lock(&self.0).keys().cloned().collect()
    }

    /// Forgets every role, so that any role exists again and trusts everybody.
    pub(crate) fn clear(&self) {
        lock(&self.0).clear();
    }

    pub(crate) fn put(&self, role: Role) {
        lock(&self.0).insert(role.arn, role.trust);
    }

    /// Checks that an association can name the role: it exists, and its policy names EKS Pod Identity and
    /// both actions. Conditions are evaluated later, for a pod.
    pub(crate) fn accept_for_association(&self, role_arn: &str) -> Result<(), RoleProblem> {
        self.with_trust(role_arn, |trust| {
            let pods = Principal::Service(PODS);
            [ASSUME, TAG]
                .iter()
                .all(|action| trust.names(&pods, action))
        })
    }

    /// Checks that an attempt by EKS Auth or by another role is allowed.
    pub(crate) fn may_assume(
        &self,
        role_arn: &str,
        attempt: &Attempt<'_>,
    ) -> Result<(), RoleProblem> {
        let tags = matches!(attempt.principal, Principal::Service(_)) && !attempt.tags.is_empty();
        self.with_trust(role_arn, |trust| {
            trust.allows(ASSUME, attempt) && (!tags || trust.allows(TAG, attempt))
        })
    }

    fn with_trust(
        &self,
        role_arn: &str,
        is_enough: impl FnOnce(&TrustPolicy) -> bool,
    ) -> Result<(), RoleProblem> {
        let roles = lock(&self.0);
        match roles.get(role_arn) {
            None if roles.is_empty() => Ok(()),
            None => Err(RoleProblem::Unknown),
            Some(trust) if is_enough(trust) => Ok(()),
            Some(_) => Err(RoleProblem::Trust),
        }
    }
}

/// The service principal of EKS Pod Identity.
pub(crate) const PODS: &str = "pods.eks.amazonaws.com";
const ASSUME: &str = "sts:AssumeRole";
const TAG: &str = "sts:TagSession";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_roles_that_are_there_are_known_by_their_arns() {
        let [cart, till] =
            ["cart", "till"].map(|name| format!("arn:aws:iam::111122223333:role/{name}"));
        let role = Role::new(&cart);
        assert_eq!(role.arn(), cart);
        let roles = Roles::new(vec![role]);
        roles.put(Role::new(&till));
        assert_eq!(roles.arns(), [cart, till]);
        roles.clear();
        assert!(roles.arns().is_empty());
    }
}
