use std::fmt;
use std::time::Duration;

use pod_identity_core::wire::eks_auth::{
    AssociationRef, AssumeRoleRequest, AssumeRoleResponse, AssumedRoleUser, ErrorCode, Subject,
};
use pod_identity_core::{ClaimError, Secret, Timestamp, UnverifiedClaims};

use crate::association::{Associated, Associations};
use crate::ids;
use crate::{Issuer, ServiceError, TokenBuilder};

/// A cluster as EKS Auth knows it: the service without its socket.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) name: String,
    pub(crate) region: String,
    pub(crate) account: String,
    pub(crate) issuer: Issuer,
    pub(crate) associations: Associations,
}

impl Cluster {
    /// `AssumeRoleForPodIdentity`. `request` is `None` when the body could not be read; `lifetime`
    /// overrides that of the association.
    pub(crate) fn assume_role(
        &self,
        cluster: &str,
        request: Option<&AssumeRoleRequest>,
        lifetime: Option<Duration>,
        now: Timestamp,
    ) -> Result<AssumeRoleResponse, ServiceError> {
        if cluster != self.name {
            return Err(ServiceError::new(ErrorCode::ResourceNotFound)
                .message(format!("No cluster found for name: {cluster}.")));
        }
        let claims = self.claims(token(request)?, now)?;
        let caller = Caller::of(&claims).ok_or(ErrorCode::InvalidToken)?;
        let associated = self
            .associations
            .of(caller.namespace, caller.service_account)
            .ok_or(ErrorCode::ResourceNotFound)?;
        let lifetime = lifetime.unwrap_or(associated.association.credential_lifetime());
        Ok(self.session(&caller, &associated, now + lifetime))
    }

    fn claims(&self, token: &Secret, now: Timestamp) -> Result<UnverifiedClaims, ServiceError> {
        let claims = self
            .issuer
            .verify(token.expose())
            .map_err(|error| invalid(&error))?;
        // The audience before the times: a token for somebody else never was one for us.
        if !claims
            .audience
            .iter()
            .any(|audience| audience == TokenBuilder::AUDIENCE)
        {
            return Err(invalid(&ClaimError::Audience));
        }
        match claims.check(now, Duration::ZERO, TokenBuilder::AUDIENCE) {
            Ok(()) => Ok(claims),
            Err(ClaimError::Expired) => Err(ErrorCode::ExpiredToken.into()),
            Err(error) => Err(invalid(&error)),
        }
    }

    fn session(
        &self,
        caller: &Caller<'_>,
        associated: &Associated,
        expiry: Timestamp,
    ) -> AssumeRoleResponse {
        let mut rng = fastrand::Rng::new();
        let role_arn = associated.association.effective_role_arn();
        let pod: String = caller.pod.chars().take(10).collect();
        let session = format!("eks-{}-{pod}-{}", self.name, ids::uuid(&mut rng));
        AssumeRoleResponse {
            subject: Subject {
                namespace: caller.namespace.to_owned(),
                service_account: caller.service_account.to_owned(),
            },
            audience: TokenBuilder::AUDIENCE.to_owned(),
            pod_identity_association: AssociationRef {
                association_arn: format!(
                    "arn:aws:eks:{}:{}:podidentityassociation/{}/{}",
                    self.region, self.account, self.name, associated.id
                ),
                association_id: associated.id.clone(),
            },
            assumed_role_user: AssumedRoleUser {
                arn: assumed_role_arn(role_arn, &session),
                assume_role_id: format!("{}:{session}", ids::role_id(role_arn)),
            },
            credentials: ids::session_credentials(&mut rng, expiry),
            workload_identity_provider_arn: None,
        }
    }
}

/// Whom a verified token belongs to.
struct Caller<'a> {
    namespace: &'a str,
    service_account: &'a str,
    pod: &'a str,
}

impl<'a> Caller<'a> {
    fn of(claims: &'a UnverifiedClaims) -> Option<Self> {
        Some(Self {
            namespace: claims.namespace.as_deref()?,
            service_account: claims.service_account.as_deref()?,
            pod: claims.pod.as_deref()?,
        })
    }
}

fn token(request: Option<&AssumeRoleRequest>) -> Result<&Secret, ServiceError> {
    let Some(request) = request else {
        return Err(ErrorCode::InvalidRequest.into());
    };
    if request.token.is_empty() {
        return Err(ErrorCode::InvalidParameter.into());
    }
    Ok(&request.token)
}

fn invalid(cause: &impl fmt::Display) -> ServiceError {
    ServiceError::new(ErrorCode::InvalidToken).message(format!(
        "The token included in the request is invalid: {cause}."
    ))
}

/// `arn:aws:iam::1:role/path/name` becomes `arn:aws:sts::1:assumed-role/name/session`: STS leaves the
/// role's path out.
fn assumed_role_arn(role_arn: &str, session: &str) -> String {
    let (owner, role) = role_arn
        .split_once(":role/")
        .unwrap_or((role_arn, role_arn));
    let owner = owner.replacen(":iam:", ":sts:", 1);
    let name = role.rsplit('/').next().unwrap_or(role);
    format!("{owner}:assumed-role/{name}/{session}")
}
