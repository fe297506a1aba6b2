use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use pod_identity_core::wire::eks_auth::{
    AssociationRef, AssumeRoleRequest, AssumeRoleResponse, AssumedRoleUser, ErrorCode, Subject,
};
use pod_identity_core::{ClaimError, Secret, Timestamp, UnverifiedClaims};

use crate::eks::associations::associated::Associated;
use crate::eks::cluster::Cluster;
use crate::eks::granted::Granted;
use crate::eks::iam::attempt::{Attempt, Principal};
use crate::eks::iam::roles::PODS;
use crate::eks::session_tags::session_tags;
use crate::token::ids;
use crate::{Association, ServiceError, TokenBuilder};

/// The one operation of EKS Auth: a token is exchanged for the credentials of its association's role.
impl Cluster {
    /// Answers `AssumeRoleForPodIdentity`. `request` is `None` when the body could not be read; `expiry`
    /// replaces what follows from the association.
    pub(crate) fn assume_role(
        &self,
        cluster: &str,
        request: Option<&AssumeRoleRequest>,
        expiry: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Granted, ServiceError> {
        if cluster != self.name {
            return Err(ServiceError::new(ErrorCode::ResourceNotFound)
                .message(format!("No cluster found for name: {cluster}.")));
        }
        let claims = self.claims(token(request)?, now)?;
        let caller = Caller::of(&claims).ok_or(ErrorCode::InvalidToken)?;
        let associated = self
            .associations
            .of(caller.namespace, caller.service_account, now)
            .ok_or(ErrorCode::ResourceNotFound)?;
        let association = &associated.association;
        let tags = if association.disable_session_tags {
            BTreeMap::new()
        } else {
            session_tags(self.arn(), self.name.clone(), &claims)
        };
        self.check_trust(association, &tags)?;
        let pod = format!("{}/{}", caller.namespace, caller.pod);
        let lifetime = association.credential_lifetime();
        let expiry = expiry.unwrap_or_else(|| self.expiries.next(now, pod, lifetime));
        Ok(Granted {
            response: self.session(&caller, &associated, expiry),
            external_id: self.external_id(association),
            association: associated.association,
            tags,
        })
    }

    /// Checks the trust policies: EKS assumes the role, and the role assumes its target.
    fn check_trust(
        &self,
        association: &Association,
        tags: &BTreeMap<String, String>,
    ) -> Result<(), ServiceError> {
        let by_eks = Attempt {
            principal: Principal::Service(PODS),
            tags,
            context: BTreeMap::from([
                ("aws:sourceaccount", self.account.clone()),
                ("aws:sourcearn", self.arn()),
            ]),
        };
        let denied = |_problem| ServiceError::from(ErrorCode::AccessDenied);
        let role_arn = association.role_arn();
        self.roles.may_assume(role_arn, &by_eks).map_err(denied)?;
        let Some(target) = association.target_role_arn.as_deref() else {
            return Ok(());
        };
        let by_role = Attempt {
            principal: Principal::Role(role_arn),
            tags,
            context: BTreeMap::from([("sts:externalid", self.external_id(association))]),
        };
        self.roles.may_assume(target, &by_role).map_err(denied)
    }

    fn claims(&self, token: &Secret, now: Timestamp) -> Result<UnverifiedClaims, ServiceError> {
        let claims = self
            .issuer
            .verify(token.expose())
            .map_err(|error| invalid(&error))?;
        // The audience first: a token for another audience is invalid, and not expired.
        if !claims
            .audience
            .iter()
            .any(|audience| audience == TokenBuilder::AUDIENCE)
        {
            return Err(invalid(&ClaimError::Audience));
        }
        check_subject(&claims)?;
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
                association_arn: self.association_arn(&associated.id),
                association_id: associated.id.clone(),
            },
            assumed_role_user: AssumedRoleUser {
                arn: assumed_role_arn(role_arn, &session),
                assume_role_id: format!("{}:{session}", ids::role_id(role_arn)),
            },
            credentials: ids::session_credentials(&mut rng, expiry),
            workload_identity_provider_arn: self.workload_identity_provider_arn.clone(),
        }
    }
}

/// The pod of a verified token.
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

/// Assumed: a token whose `sub` contradicts its private claims is not from an API server.
fn check_subject(claims: &UnverifiedClaims) -> Result<(), ServiceError> {
    let expected = match (&claims.namespace, &claims.service_account) {
        (Some(namespace), Some(name)) => format!("system:serviceaccount:{namespace}:{name}"),
        _ => return Err(invalid(&"token has no service account")),
    };
    match &claims.subject {
        Some(subject) if *subject == expected => Ok(()),
        Some(_other) => Err(invalid(&"token subject is not its service account")),
        None => Err(invalid(&"token has no subject")),
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
