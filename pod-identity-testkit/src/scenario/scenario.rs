use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::VERSION;
use super::eks_part::{EksPart, Visible};
use super::error::ScenarioError;
use super::expected::Kind;
use super::happening::{Happening, Which};
use super::pod_parts::{AgentPart, PodPart, Source};
use crate::agent::builder::{AgentDefaults, DefaultSource};
use crate::eks::builder::EksAuthDefaults;
use crate::expect::expectation::Expectation;
use crate::mock::action::Action;
use crate::mock::mock_server::Agenda;
use crate::{AgentRequest, Fault, Issuer, MockAgentBuilder, MockEksAuthBuilder, RecordedRequest};

/// Mocks, their faults, and a timeline of events, from a TOML file.
///
/// A mock that is [built from it](crate::MockAgentBuilder::scenario) has its settings, unless the builder
/// sets others. Its timeline begins at the start of the mock: every time is measured by the mock's clock.
/// Faults select their requests by that clock. Other events, such as the rotation of a token, are applied
/// within a second; after a [`SettableClock`](crate::SettableClock) was moved,
/// [`catch_up`](crate::MockAgent::catch_up) applies them at once.
///
/// A clone is the same scenario, and each mock starts it from the beginning. All keys are in the project's
/// `docs/scenario.md`; the program `pod-identity-testkit` takes the same file with `--scenario`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::{sync::Arc, time::Duration};
/// use pod_identity_core::Timestamp;
/// use pod_identity_testkit::{MockAgent, Scenario, SettableClock};
///
/// let scenario = Scenario::from_toml(r#"
///     [agent]
///     credential_lifetime = "59m"
///
///     [[timeline]]
///     at = "10m"
///     agent_fault = { error = "ThrottlingException", lasting = "5m", optional = true }
///
///     [[timeline]]
///     at = "12m"
///     rotate_token = true
/// "#)?;
/// let clock = Arc::new(SettableClock::at(Timestamp::from_unix_secs(1_772_366_400)));
/// let agent = MockAgent::builder().scenario(&scenario).clock(clock.clone()).start().await?;
/// let before = agent.token();
///
/// clock.advance(Duration::from_secs(12 * 60));
/// agent.catch_up().await?;
/// assert_ne!(agent.token(), before);
/// // … every request within the next three minutes is throttled …
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Scenario(Arc<Parts>);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Parts {
    version: Option<Spanned<u32>>,
    pod: PodPart,
    agent: AgentPart,
    eks: EksPart,
    timeline: Vec<Happening>,
}

impl Scenario {
    /// Parses a scenario.
    ///
    /// # Errors
    /// Fails with [`ScenarioError::Invalid`] if it is not TOML, or has an unknown key or value.
    pub fn from_toml(text: &str) -> Result<Self, ScenarioError> {
        let parts: Parts = toml::from_str(text).map_err(|error| {
            let span = error.span().unwrap_or_default();
            ScenarioError::at(span, text, error.message())
        })?;
        parts.check_version(text)?;
        parts.check_lifetime(text)?;
        parts.check_gates(text)?;
        parts.check_expectations(text)?;
        Ok(Self(Arc::new(parts)))
    }

    /// Reads a scenario from a file.
    ///
    /// # Errors
    /// Fails if the file cannot be read, or as [`from_toml`](Self::from_toml).
    pub fn read(path: impl AsRef<Path>) -> Result<Self, ScenarioError> {
        let path = path.as_ref();
        let text = fs::read_to_string(path).map_err(|source| ScenarioError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Self::from_toml(&text).map_err(|error| error.in_file(path))
    }

    /// Returns namespace and service account of its pod.
    pub(crate) fn identity(&self) -> (String, String) {
        self.0.pod.identity()
    }

    /// Returns the lifetime of projected tokens.
    pub(crate) fn token_lifetime(&self) -> Option<Duration> {
        self.0.pod.token_lifetime.map(|time| time.0)
    }

    pub(crate) fn region(&self) -> Option<&str> {
        self.0.eks.region.as_deref()
    }

    fn agent_defaults(&self) -> AgentDefaults {
        let agent = &self.0.agent;
        AgentDefaults {
            issuer: Some(self.region().map(Issuer::for_region).unwrap_or_default()),
            service_account: Some(self.identity()),
            token_lifetime: self.token_lifetime(),
            policy: agent.token_policy.map(|policy| policy.of_issuer()),
            source: match agent.credentials {
                Source::Minted => agent
                    .credential_lifetime
                    .as_ref()
                    .map(|lifetime| DefaultSource::Minted(lifetime.get_ref().0)),
                Source::Eks => Some(DefaultSource::Cluster(Box::new(self.eks_defaults()))),
            },
            mode: agent.mode,
            is_limited: agent.limited,
            expectations: self.agent_expectations(),
        }
    }

    fn eks_defaults(&self) -> EksAuthDefaults {
        self.0.eks.defaults()
    }

    /// Returns what is to be true of the requests to the agent.
    pub(crate) fn agent_expectations(&self) -> Vec<Expectation<AgentRequest>> {
        self.0.agent.expectations()
    }

    /// Returns what is to be true of the requests to the mock of EKS Auth.
    pub(crate) fn eks_expectations(&self) -> Vec<Expectation<RecordedRequest>> {
        self.0.eks.expectations()
    }

    /// Returns the events of the agent.
    pub(crate) fn agent_agenda(&self) -> Agenda {
        let from_start = self.0.agent.faults.iter();
        let later = self.0.timeline.iter().filter_map(|at| {
            let fault = at.agent_fault.as_ref()?;
            Some((at.at, fault.0.clone()))
        });
        self.agenda(from_start.map(|fault| &fault.0), later, Which::Agent)
    }

    /// Returns whether it has faults or expectations that only a mock of EKS Auth plays.
    pub(crate) fn needs_eks_auth(&self) -> bool {
        let eks = &self.0.eks;
        let later = self.0.timeline.iter().any(|at| at.eks_fault.is_some());
        later || !eks.faults.is_empty() || !eks.expectations.is_empty()
    }

    /// Returns the events of the mock of EKS Auth.
    pub(crate) fn eks_agenda(&self) -> Agenda {
        let from_start = self.0.eks.faults.iter();
        let later = self.0.timeline.iter().filter_map(|at| {
            let fault = at.eks_fault.as_ref()?;
            Some((at.at, fault.0.clone()))
        });
        self.agenda(from_start.map(|fault| &fault.0), later, Which::Eks)
    }

    /// Returns the events of a token that belongs to neither mock.
    pub(crate) fn pod_actions(&self) -> Vec<(Duration, Action)> {
        self.actions(None)
    }

    fn agenda<'a>(
        &self,
        from_start: impl Iterator<Item = &'a Fault>,
        later: impl Iterator<Item = (Duration, Fault)>,
        which: Which,
    ) -> Agenda {
        let from_start = from_start.map(|fault| (Duration::ZERO, fault.clone()));
        Agenda {
            faults: from_start.chain(later).collect(),
            actions: self.actions(Some(which)),
        }
    }

    fn actions(&self, which: Option<Which>) -> Vec<(Duration, Action)> {
        let timeline = self.0.timeline.iter();
        timeline
            .flat_map(|happening| happening.actions(which))
            .collect()
    }
}

impl MockAgentBuilder {
    /// Applies the agent, the pod and the timeline of this scenario. Settings of the builder itself, made
    /// before or after, take precedence.
    pub fn scenario(self, scenario: &Scenario) -> Self {
        self.with_defaults(scenario.agent_defaults(), scenario.agent_agenda())
    }
}

impl MockEksAuthBuilder {
    /// Applies the AWS side and the timeline of this scenario. Settings of the builder itself, made before
    /// or after, take precedence; roles and keys accumulate.
    pub fn scenario(self, scenario: &Scenario) -> Self {
        self.with_defaults(scenario.eks_defaults(), scenario.eks_agenda())
    }
}

impl fmt::Debug for Scenario {
    /// Does not show settings: there may be secrets in them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scenario").finish_non_exhaustive()
    }
}

impl Parts {
    fn check_version(&self, text: &str) -> Result<(), ScenarioError> {
        match &self.version {
            Some(version) if *version.get_ref() != VERSION => {
                let cause = format!(
                    "version {} is not known here; this testkit reads version {VERSION}",
                    version.get_ref()
                );
                Err(ScenarioError::at(version.span(), text, cause))
            }
            _ => Ok(()),
        }
    }

    fn check_lifetime(&self, text: &str) -> Result<(), ScenarioError> {
        match &self.agent.credential_lifetime {
            Some(lifetime) if self.agent.credentials == Source::Eks => {
                let cause = "credentials of eks live as long as their association says; give \
                     [[eks.associations]] the credential_lifetime";
                Err(ScenarioError::at(lifetime.span(), text, cause))
            }
            _ => Ok(()),
        }
    }

    fn check_expectations(&self, text: &str) -> Result<(), ScenarioError> {
        let of_agent = self.agent.expectations.iter().map(|it| (it, Kind::Agent));
        let of_eks = self.eks.expectations.iter().map(|it| (it, Kind::Eks));
        for (expected, kind) in of_agent.chain(of_eks) {
            let checked = expected.get_ref().check(kind);
            checked.map_err(|cause| ScenarioError::at(expected.span(), text, cause))?;
        }
        Ok(())
    }

    /// Checks that each gate that is released is one that a fault waits for: otherwise its name is misspelt.
    fn check_gates(&self, text: &str) -> Result<(), ScenarioError> {
        let known = self.gates();
        let released = self.timeline.iter().filter_map(|at| at.release.as_ref());
        for gate in released {
            let name = gate.get_ref().as_str();
            if !known.contains(name) {
                let cause = format!(
                    "nothing waits for the gate {name}; name one that a fault has in `until`, or \
                     the visibility of eks"
                );
                return Err(ScenarioError::at(gate.span(), text, cause));
            }
        }
        Ok(())
    }

    fn gates(&self) -> BTreeSet<&str> {
        let of_agent = self.agent.faults.iter().map(|fault| &fault.0);
        let of_eks = self.eks.faults.iter().map(|fault| &fault.0);
        let later = self.timeline.iter().flat_map(|at| {
            let of_agent = at.agent_fault.as_ref().map(|fault| &fault.0);
            of_agent
                .into_iter()
                .chain(at.eks_fault.as_ref().map(|fault| &fault.0))
        });
        let faults = of_agent.chain(of_eks).chain(later);
        let mut gates: BTreeSet<&str> = faults.filter_map(Fault::gate_name).collect();
        if let Visible::Gate(name) = &self.eks.visibility {
            gates.insert(name);
        }
        gates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_its_line_and_the_remedy() {
        let cases = [
            ("limited = true\n[agent]", 1, "unknown field `limited`"),
            (
                "[[timeline]]\nat = \"1m\"\nrotate_token = true\n[[timeline]]\nrotate_token = true",
                4,
                "missing field `at`",
            ),
            (
                "agent.faults = [\n{ status = 503 },\n{ gzip = 1 },\n]",
                3,
                "invalid type: integer `1`, expected a boolean",
            ),
            (
                "[[agent.faults]]\nstatus = 500\n\n[[agent.faults]]\n\nlatency = \"soon\"",
                6,
                "\"soon\" is not a length",
            ),
            ("[agent", 1, "unclosed table"),
            (
                "[pod]\ntoken_lifetime = \"0s\"",
                2,
                "0s is not a length of time here; write a longer one",
            ),
            (
                "version = 2",
                1,
                "version 2 is not known here; this testkit reads version 1",
            ),
            (
                "\n[agnet]",
                2,
                "unknown field `agnet`, expected one of `version`, `pod`, `agent`, `eks`, `timeline`",
            ),
            (
                "[pod]\nname = \"x\"",
                2,
                "unknown field `name`, expected one of `namespace`",
            ),
            (
                "[pod]\ntoken_lifetime = \"soon\"",
                2,
                "\"soon\" is not a length of time",
            ),
            (
                "[agent]\ntoken_policy = \"none\"",
                2,
                "unknown variant `none`, expected one of `any`",
            ),
            (
                "[agent]\ncredentials = \"aws\"",
                2,
                "expected `minted` or `eks`",
            ),
            (
                "[agent]\ncredentials = \"eks\"\ncredential_lifetime = \"1h\"",
                3,
                "give [[eks.associations]] the credential_lifetime",
            ),
            (
                "[[agent.faults]]\nlatency = \"1s\"\n\n[[agent.faults]]\nstatus = 42",
                4,
                "expected 200 to 599",
            ),
            (
                "[[eks.faults]]\nsame_again = true",
                1,
                "same_again is a fault of the mock agent only",
            ),
            (
                "[eks]\nvisibility = \"late\"",
                2,
                "expected one of `at_once`, `after`, `gate`",
            ),
            (
                "[eks.throttle]\nnode = { per_second = 3 }",
                2,
                "missing field `burst`",
            ),
            (
                "[[eks.roles]]\narn = \"cart\"",
                1,
                "arn is not the ARN of a role: cart; expected one such as arn:aws",
            ),
            (
                "[[eks.roles]]\narn = \"arn:aws:iam::111122223333:role/x\"\ntrust_policy = \"{\"",
                1,
                "trust policy",
            ),
            (
                "[[eks.associations]]\nnamespace = \"shop\"",
                1,
                "missing field `service_account`",
            ),
            ("[[timeline]]\nrotate_token = true", 1, "missing field `at`"),
            (
                "[[timeline]]\nat = \"1m\"",
                1,
                "nothing happens here; expected agent_fault",
            ),
            (
                "[[timeline]]\nat = \"1m\"\nspoil_token = \"gone\"",
                3,
                "unknown variant `gone`",
            ),
            (
                "[[timeline]]\nat = \"1m\"\nagent_fault = { count = 1 }",
                3,
                "there is no fault in it",
            ),
            (
                "[[agent.faults]]\nstatus = 503\nuntil = \"back\"\n[[timeline]]\nat = \"1m\"\nrelease = \"bakc\"",
                6,
                "nothing waits for the gate bakc",
            ),
            (
                "[[agent.expectations]]\ntimes = 1\n\n[[agent.expectations]]\noptional = true",
                4,
                "nothing is expected; name times",
            ),
            (
                "[eks]\nexpectations = [{ token_reread = true }]",
                2,
                "this mock has no expectation token_reread; it is one of agent",
            ),
        ];
        for (text, line, expected) in cases {
            let error = Scenario::from_toml(text).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("line {line}: ")),
                "{text}: {error}"
            );
            assert!(error.contains(expected), "{text}: {error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }

    #[test]
    fn an_error_names_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("outage.toml");
        let missing = Scenario::read(&path).unwrap_err().to_string();
        assert!(
            missing.starts_with(&format!("{}: ", path.display())),
            "{missing}"
        );
        fs::write(&path, "[agent]\nlimited = 1\n").unwrap();
        let wrong = Scenario::read(&path).unwrap_err().to_string();
        assert!(
            wrong.starts_with(&format!("{}:2: ", path.display())),
            "{wrong}"
        );
    }

    #[test]
    fn an_error_does_not_quote_a_secret() {
        let text = "[eks.node_keys]\nAKIA = \"wJalr\"\n[[agent.faults]]\nbody = \"wJalr\"";
        let scenario = Scenario::from_toml(text).unwrap();
        crate::assert_no_secrets(&format!("{scenario:?}"), &["wJalr"]);
    }
}
