use std::collections::BTreeMap;

use pod_identity_core::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::eks::associations::associated::{Associated, Key};
use crate::eks::associations::json::{
    CreateRequest, Described, Listed, Summary, Tags, UpdateRequest,
};
use crate::eks::associations::store::{MAX_ASSOCIATIONS, NotCreated, NotUpdated, TokenReused};
use crate::eks::cluster::Cluster;
use crate::eks::iam::roles::RoleProblem;
use crate::eks::operation::Route;
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
        if let Some(name) = route
            .cluster
            .as_deref()
            .filter(|it| *it != self.cluster.name)
        {
            return Err(ApiErrorCode::ResourceNotFound
                .because(format!("No cluster found for name: {name}.")));
        }
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
        let association = request.association()?;
        check_tags(&association.tags)
            .map_err(|words| ApiErrorCode::InvalidParameter.because(words))?;
        self.check_role(&association.role_arn)?;
        let created = self
            .cluster
            .associations
            .create(request, association, self.now)
            .map_err(|problem| self.not_created(problem))?;
        Ok(self.described(&created))
    }

    fn list(&self, query: &Form) -> Answered {
        let max = max_results(query.get("maxResults"))?;
        let after = query.get("nextToken").map(page_after).transpose()?;
        let is = |name, value: &str| query.get(name).is_none_or(|wanted| wanted == value);
        let wanted = |association: &Association| {
            is("namespace", association.namespace())
                && is("serviceAccount", association.service_account())
        };
        let (page, more) = self.cluster.associations.page(after, max, wanted);
        let next_token = page.last().filter(|_| more).map(next_token);
        let summary = |associated| self.summary(associated);
        Ok(json(&Listed {
            associations: page.iter().map(summary).collect(),
            next_token,
        }))
    }

    fn describe(&self, id: &str) -> Answered {
        check_id(id)?;
        let associated = self.cluster.associations.get(id);
        let associated = associated.ok_or_else(|| no_association(id))?;
        Ok(self.described(&associated))
    }

    fn update(&self, id: &str, request: UpdateRequest) -> Answered {
        check_id(id)?;
        if let Some(role_arn) = request.role_arn.as_deref() {
            self.check_role(role_arn)?;
        }
        let updated = self
            .cluster
            .associations
            .update(id, request, self.now)
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
        let associated = self.cluster.associations.get(id);
        let tags = associated.ok_or_else(|| no_resource(arn))?.association.tags;
        Ok(json(&Tags { tags }))
    }

    fn tag(&self, arn: &str, request: Tags) -> Answered {
        self.retag(arn, |tags| {
            tags.extend(request.tags);
            check_tags(tags).map_err(|words| ApiErrorCode::BadRequest.because(words))
        })
    }

    fn untag(&self, arn: &str, query: &Form) -> Answered {
        self.retag(arn, |tags| {
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

fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    // The reason would quote the body.
    serde_json::from_slice(body).map_err(|_reason| ApiErrorCode::Serialization.into())
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

/// "Maximum number of tags per resource – 50. Maximum key length – 128. Maximum value length – 256. Do
/// not use `aws:` … as a prefix." (the service's model)
fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), String> {
    if tags.len() > 50 {
        return Err("A resource can have at most 50 tags.".to_owned());
    }
    let is_reserved = |key: &str| {
        key.get(..4)
            .is_some_and(|prefix| prefix.eq_ignore_ascii_case("aws:"))
    };
    for (key, value) in tags {
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
            return Err(
                "A tag has a key of 1 to 128 and a value of at most 256 characters.".to_owned(),
            );
        }
        if is_reserved(key) {
            return Err("Tag keys that begin with aws: are reserved.".to_owned());
        }
    }
    Ok(())
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

/// Where the next page begins: after this namespace and service account, neither of which can hold a
/// slash.
fn next_token(last: &Associated) -> String {
    let (namespace, service_account) = last.key();
    let place = format!("{namespace}/{service_account}");
    place.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn page_after(token: &str) -> Result<Key, ApiError> {
    let invalid = || ApiErrorCode::InvalidParameter.because("The parameter nextToken is invalid.");
    let digits: Vec<u8> = token.bytes().collect();
    let bytes: Option<Vec<u8>> = digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    let place = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let (namespace, service_account) = place
        .as_deref()
        .and_then(|place| place.split_once('/'))
        .ok_or_else(invalid)?;
    Ok((namespace.to_owned(), service_account.to_owned()))
}

/// `a-` and 17 more.
const ID_LENGTH: usize = 19;
