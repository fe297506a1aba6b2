use std::collections::BTreeMap;

use pod_identity_core::{JsonObject, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::eks::associations::associated::{Associated, Key};
use crate::eks::associations::json::{
    CreateRequest, Described, Listed, Summary, Tags, UpdateRequest,
};
use crate::eks::associations::rules;
use crate::eks::associations::store::{MAX_ASSOCIATIONS, NotCreated, NotUpdated, TokenReused};
use crate::eks::cluster::Cluster;
use crate::eks::iam::roles::RoleProblem;
use crate::eks::route::Route;
use crate::http::form::Form;
use crate::{ApiError, ApiErrorCode, Association, Operation};

/// The associations API of EKS for one cluster: the service without its socket.
#[derive(Debug)]
pub(crate) struct AssociationsApi<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) now: Timestamp,
}

/// The body of a success.
type Answered = Result<String, ApiError>;

impl AssociationsApi<'_> {
    pub(crate) fn call(&self, route: &Route, query: &str, body: &[u8]) -> Answered {
        let resource = route.resource.as_deref().unwrap_or_default();
        let query = Form::parse(query.as_bytes());
        match route.operation {
            Operation::CreatePodIdentityAssociation => self.create(parsed(body)?),
            Operation::ListPodIdentityAssociations => self.list(&query),
            Operation::DescribePodIdentityAssociation => self.describe(resource),
            Operation::UpdatePodIdentityAssociation => self.update(resource, parsed(body)?),
            Operation::DeletePodIdentityAssociation => self.delete(resource),
            Operation::ListTagsForResource => self.tags(resource),
            Operation::TagResource => self.tag(resource, parsed(body)?),
            Operation::UntagResource => self.untag(resource, &query),
            _ => Err(ApiErrorCode::InvalidRequest.because("Unknown operation")),
        }
    }

    fn create(&self, request: CreateRequest) -> Answered {
        let created = self.create_for(request, None)?;
        Ok(self.described(&created))
    }

    /// Creates an association, which may belong to an add-on.
    pub(crate) fn create_for(
        &self,
        request: CreateRequest,
        owner_arn: Option<&str>,
    ) -> Result<Associated, ApiError> {
        let mut association = request.association()?;
        association.owner_arn = owner_arn.map(str::to_owned);
        rules::check(&association, self.cluster.owner())?;
        self.check_role(&association.role_arn)?;
        self.cluster
            .associations
            .create(request, association, self.now)
            .map_err(|problem| self.not_created(problem))
    }

    fn list(&self, query: &Form) -> Answered {
        let max = max_results(query.get("maxResults"))?;
        let after = query.get("nextToken").map(page_after).transpose()?;
        let is = |name, value: &str| query.get(name).is_none_or(|wanted| wanted == value);
        let wanted = |association: &Association| {
            is("namespace", association.namespace())
                && is("serviceAccount", association.service_account())
        };
        let (page, more) = self.cluster.associations.page(after, max, self.now, wanted);
        let next_token = page.last().filter(|_| more).map(next_token);
        let summary = |associated| self.summary(associated);
        Ok(json(&Listed {
            associations: page.iter().map(summary).collect(),
            next_token,
        }))
    }

    fn describe(&self, id: &str) -> Answered {
        check_id(id)?;
        let associated = self.cluster.associations.get(id, self.now);
        let associated = associated.ok_or_else(|| no_association(id))?;
        Ok(self.described(&associated))
    }

    fn update(&self, id: &str, request: UpdateRequest) -> Answered {
        check_id(id)?;
        if request.is_empty() {
            // Assumed.
            return Err(ApiErrorCode::InvalidParameter.because(
                "The request should have at least one of roleArn, targetRoleArn, policy and \
                 disableSessionTags.",
            ));
        }
        let changes_role = request.role_arn.is_some();
        let check = |association: &Association| {
            rules::check_update(association, self.cluster.owner())?;
            match changes_role {
                true => self.check_role(&association.role_arn),
                false => Ok(()),
            }
        };
        let updated = self
            .cluster
            .associations
            .update(id, request, self.now, check)
            .map_err(|problem| match problem {
                NotUpdated::Unknown => no_association(id),
                NotUpdated::Refused(error) => error,
                NotUpdated::TokenReused(reused) => reused.into(),
            })?;
        Ok(self.described(&updated))
    }

    fn delete(&self, id: &str) -> Answered {
        check_id(id)?;
        let deleted = self.cluster.associations.delete(id, self.now);
        let deleted = deleted.ok_or_else(|| no_association(id))?;
        Ok(self.described(&deleted))
    }

    fn tags(&self, arn: &str) -> Answered {
        let id = self.id_in(arn)?;
        let associated = self.cluster.associations.get(id, self.now);
        let tags = associated.ok_or_else(|| no_resource(arn))?.association.tags;
        Ok(json(&Tags { tags }))
    }

    fn tag(&self, arn: &str, request: Tags) -> Answered {
        self.retag(arn, |tags| {
            if request.tags.is_empty() {
                return Err(ApiErrorCode::BadRequest.because("The request has no tags."));
            }
            tags.extend(request.tags);
            rules::check_tags(tags).map_err(|reason| ApiErrorCode::BadRequest.because(reason))
        })
    }

    fn untag(&self, arn: &str, query: &Form) -> Answered {
        self.retag(arn, |tags| {
            if query.get("tagKeys").is_none() {
                return Err(ApiErrorCode::BadRequest.because("The request has no tagKeys."));
            }
            for key in query.all("tagKeys") {
                tags.remove(key);
            }
            Ok(())
        })
    }

    fn retag(
        &self,
        arn: &str,
        change: impl FnOnce(&mut BTreeMap<String, String>) -> Result<(), ApiError>,
    ) -> Answered {
        let id = self.id_in(arn)?;
        self.cluster
            .associations
            .change(id, self.now, |association| change(&mut association.tags))
            .ok_or_else(|| no_resource(arn))??;
        Ok("{}".to_owned())
    }

    fn id_in<'a>(&self, arn: &'a str) -> Result<&'a str, ApiError> {
        if arn.splitn(6, ':').count() < 6 || !arn.starts_with("arn:") {
            // Assumed: the tag calls have this error for a malformed request.
            let message = format!("The resourceArn {arn} is not an ARN.");
            return Err(ApiErrorCode::BadRequest.because(message));
        }
        let id = arn.rsplit('/').next().unwrap_or_default();
        if arn == self.cluster.association_arn(id) {
            Ok(id)
        } else {
            Err(no_resource(arn))
        }
    }

    fn check_role(&self, role_arn: &str) -> Result<(), ApiError> {
        let accepted = self.cluster.roles.accept_for_association(role_arn);
        accepted.map_err(|problem| {
            ApiErrorCode::InvalidParameter.because(match problem {
                // Seen, both.
                RoleProblem::Unknown => "Role provided in the request does not exist",
                RoleProblem::Trust => "Trust policy of the role provided is invalid",
            })
        })
    }

    fn not_created(&self, problem: NotCreated) -> ApiError {
        match problem {
            // Seen.
            NotCreated::Exists(id) => {
                ApiErrorCode::ResourceInUse.because(format!("Association already exists: {id}"))
            }
            NotCreated::Full => ApiErrorCode::ResourceLimitExceeded.because(format!(
                "The cluster {} has reached its limit of {MAX_ASSOCIATIONS} pod identity \
                 associations.",
                self.cluster.name
            )),
            NotCreated::TokenReused(reused) => reused.into(),
        }
    }

    fn described(&self, associated: &Associated) -> String {
        let association = &associated.association;
        let external_id = association.target_role_arn.as_ref();
        let external_id = external_id.map(|_| self.cluster.external_id(association));
        json(&Described::new(
            self.summary(associated),
            associated,
            external_id,
        ))
    }

    fn summary<'b>(&'b self, associated: &'b Associated) -> Summary<'b> {
        let arn = self.cluster.association_arn(&associated.id);
        Summary::new(&self.cluster.name, arn, associated)
    }
}

impl From<TokenReused> for ApiError {
    fn from(_: TokenReused) -> Self {
        ApiErrorCode::InvalidRequest
            .because("The clientRequestToken was used before with other parameters.")
    }
}

pub(super) fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    // The reason would quote the body.
    let read = serde_json::from_slice(body).map_err(|_reason| ApiErrorCode::Serialization)?;
    let JsonObject(read) = read;
    Ok(read)
}

fn json(body: &impl Serialize) -> String {
    serde_json::to_string(body).expect("a response must serialize")
}

fn check_id(id: &str) -> Result<(), ApiError> {
    if id.chars().count() == ID_LENGTH {
        Ok(())
    } else {
        // Seen.
        Err(ApiErrorCode::InvalidParameter
            .because("The parameter associationId should be 19 characters long."))
    }
}

fn no_association(id: &str) -> ApiError {
    ApiErrorCode::ResourceNotFound.because(format!("No association found for id: {id}."))
}

fn no_resource(arn: &str) -> ApiError {
    ApiErrorCode::NotFound.because(format!("No resource found for ARN: {arn}."))
}

fn max_results(text: Option<&str>) -> Result<usize, ApiError> {
    let max = text.map_or(Ok(100), str::parse::<usize>);
    max.ok()
        .filter(|max| (1..=100).contains(max))
        .ok_or_else(|| {
            ApiErrorCode::InvalidParameter
                .because("The parameter maxResults should be between 1 and 100.")
        })
}

/// Where the next page begins: after this namespace and service account, in JSON because a test may have
/// added names with any character, and in hexadecimal digits because it goes into a query.
fn next_token(last: &Associated) -> String {
    let key = serde_json::to_vec(&last.key()).expect("two strings must serialize");
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn page_after(token: &str) -> Result<Key, ApiError> {
    let digits: Vec<u8> = token.bytes().collect();
    let bytes: Option<Vec<u8>> = digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    bytes
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .ok_or_else(|| {
            ApiErrorCode::InvalidParameter.because("The parameter nextToken is invalid.")
        })
}

/// `a-` and 17 more.
const ID_LENGTH: usize = 19;
