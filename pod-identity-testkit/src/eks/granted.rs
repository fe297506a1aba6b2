use std::collections::BTreeMap;

use pod_identity_core::wire::eks_auth::{AssumeRoleResponse, AssumedRoleUser, SessionCredentials};

use crate::eks::session::Minted;
use crate::{Association, Session};

/// A role that is granted to a pod: the answer, and what it is made of.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) response: AssumeRoleResponse,
    pub(crate) association: Association,
    /// What the role sends when it assumes the target role.
    pub(crate) external_id: String,
    /// The tags of the session.
    pub(crate) tags: BTreeMap<String, String>,
}

/// What STS made.
#[derive(Debug)]
pub(crate) struct Assumed {
    pub(crate) user: AssumedRoleUser,
    pub(crate) credentials: SessionCredentials,
}

impl Granted {
    /// Returns the name of the session.
    pub(crate) fn session_name(&self) -> &str {
        let arn = &self.response.assumed_role_user.arn;
        arn.rsplit('/').next().unwrap_or(arn)
    }

    /// Replaces the credentials of the mock.
    pub(crate) fn assumed(&mut self, assumed: Assumed) {
        self.response.assumed_role_user = assumed.user;
        self.response.credentials = assumed.credentials;
    }

    /// Returns what is stored of the session.
    pub(crate) fn minted(&self) -> Minted {
        let credentials = &self.response.credentials;
        let user = &self.response.assumed_role_user;
        let association = &self.response.pod_identity_association;
        Minted {
            session: Session {
                access_key_id: credentials.access_key_id.clone(),
                role_arn: self.association.effective_role_arn().to_owned(),
                arn: user.arn.clone(),
                assumed_role_id: user.assume_role_id.clone(),
                association_id: association.association_id.clone(),
                expiration: credentials.expiration,
                tags: self.tags.clone(),
                policy: self.association.policy.clone(),
            },
            secret_access_key: credentials.secret_access_key.clone(),
            session_token: credentials.session_token.clone(),
        }
    }
}
