use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use pod_identity_core::Timestamp;
use serde::Deserialize;

use super::Queues;
use super::eks_part::{EksPart, Visible};
use super::error::ScenarioError;
use super::happening::{Happening, Which};
use super::order::{Order, Orderable};
use super::pod_parts::{AgentPart, PodPart, Source};
use crate::Issuer;
use crate::agent::service::AgentService;
use crate::eks::service::EksAuthService;
use crate::scenario::timeline::Step;

/// Mocks, their faults, and what happens when, from a TOML file.
///
/// A mock that is [built from it](crate::MockAgentBuilder::scenario) has its settings, unless it is told
/// others, and begins its timeline at the start: every time in it is one by the mock's clock since then.
/// Faults find their requests by that clock. What else happens, such as the rotation of a token, happens
/// by itself within a second; after a [`SettableClock`](crate::SettableClock) was moved,
/// [`catch_up`](crate::MockAgent::catch_up) has it done at once.
///
/// A clone is the same scenario, and each mock begins it anew. All keys are in the project's
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
///     agent_fault = { error = "ThrottlingException", lasting = "5m" }
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
/// // … and whoever asks within the next three minutes is throttled …
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Scenario(Arc<Parts>);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Parts {
    pod: PodPart,
    agent: AgentPart,
    eks: EksPart,
    timeline: Vec<Happening>,
}

impl Scenario {
    /// A scenario from its text.
    ///
    /// # Errors
    /// [`ScenarioError::Invalid`] when it is no TOML, or has a key or a value that there is not.
    pub fn from_toml(text: &str) -> Result<Self, ScenarioError> {
        let parts: Parts = toml::from_str(text).map_err(|error| {
            let span = error.span().unwrap_or_default();
            ScenarioError::at(span, text, error.message())
        })?;
        parts.check_lifetime(text)?;
        parts.check_gates(text)?;
        Ok(Self(Arc::new(parts)))
    }

    /// A scenario from a file.
    ///
    /// # Errors
    /// [`ScenarioError`] when it cannot be read, or as [`from_toml`](Self::from_toml).
    pub fn read(path: impl AsRef<Path>) -> Result<Self, ScenarioError> {
        let path = path.as_ref();
        let text = fs::read_to_string(path).map_err(|source| ScenarioError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Self::from_toml(&text).map_err(|error| error.in_file(path))
    }

    pub(crate) fn pod(&self) -> &PodPart {
        &self.0.pod
    }

    pub(crate) fn agent(&self) -> &AgentPart {
        &self.0.agent
    }

    pub(crate) fn eks(&self) -> &EksPart {
        &self.0.eks
    }

    /// The issuer of its region.
    pub(crate) fn issuer(&self) -> Issuer {
        let region = self.0.eks.region.as_deref();
        region.map(Issuer::for_region).unwrap_or_default()
    }

    /// Injects the agent's faults, and returns what else is to happen to it.
    pub(crate) fn begin_agent(&self, service: &AgentService) -> Vec<Step> {
        let (start, faults) = (service.clock.now(), &service.faults);
        let standing = &self.0.agent.faults;
        let mut steps = self.inject(faults, standing, start, |at| at.agent_fault.as_ref());
        steps.extend(self.others(start, Some(Which::Agent)));
        steps
    }

    /// Injects the faults of EKS Auth, and returns what else is to happen to it.
    pub(crate) fn begin_eks(&self, service: &EksAuthService) -> Vec<Step> {
        let (start, faults) = (service.clock.now(), &service.faults);
        let standing = &self.0.eks.faults;
        let mut steps = self.inject(faults, standing, start, |at| at.eks_fault.as_ref());
        steps.extend(self.others(start, Some(Which::Eks)));
        steps
    }

    /// What is to happen to a token that belongs to neither mock.
    #[cfg(feature = "program")]
    pub(crate) fn begin_pod(&self, start: Timestamp) -> Vec<Step> {
        self.others(start, None).collect()
    }

    fn inject<F: Orderable>(
        &self,
        queues: &impl Queues<F>,
        from_the_start: &[Order<F>],
        start: Timestamp,
        later: impl Fn(&Happening) -> Option<&Order<F>>,
    ) -> Vec<Step> {
        let mut steps = Vec::new();
        for order in from_the_start {
            steps.extend(order.inject(queues, start));
        }
        for happening in &self.0.timeline {
            if let Some(order) = later(happening) {
                steps.extend(order.inject(queues, start + happening.at));
            }
        }
        steps
    }

    fn others(&self, start: Timestamp, which: Option<Which>) -> impl Iterator<Item = Step> {
        let timeline = self.0.timeline.iter();
        timeline.flat_map(move |happening| happening.steps(start, which))
    }
}

impl fmt::Debug for Scenario {
    /// Without its settings: there may be secrets in them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scenario").finish_non_exhaustive()
    }
}

impl Parts {
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

    /// A gate that is released is waited for: its name would be misspelt otherwise.
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
        let mut gates = BTreeSet::new();
        gates.extend(self.agent.faults.iter().filter_map(Order::gate));
        gates.extend(self.eks.faults.iter().filter_map(Order::gate));
        for happening in &self.timeline {
            gates.extend(happening.agent_fault.as_ref().and_then(Order::gate));
            gates.extend(happening.eks_fault.as_ref().and_then(Order::gate));
        }
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
    fn what_is_wrong_is_told_with_its_line_and_what_would_be_right() {
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
                "\"soon\" is no length",
            ),
            ("[agent", 1, "unclosed table"),
            (
                "\n[agnet]",
                2,
                "unknown field `agnet`, expected one of `pod`, `agent`, `eks`, `timeline`",
            ),
            (
                "[pod]\nname = \"x\"",
                2,
                "unknown field `name`, expected one of `namespace`",
            ),
            (
                "[pod]\ntoken_lifetime = \"soon\"",
                2,
                "\"soon\" is no length of time",
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
                "[[eks.faults]]\ngzip = true",
                1,
                "gzip is a fault of the mock agent only",
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
                "arn is no ARN of a role: cart; expected one such as arn:aws",
            ),
            (
                "[[eks.roles]]\narn = \"arn:aws:iam::1:role/x\"\ntrust_policy = \"{\"",
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
        ];
        for (text, line, words) in cases {
            let error = Scenario::from_toml(text).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("line {line}: ")),
                "{text}: {error}"
            );
            assert!(error.contains(words), "{text}: {error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }

    #[test]
    fn a_file_is_named() {
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
    fn a_secret_in_it_is_not_shown() {
        let text = "[eks.node_keys]\nAKIA = \"wJalr\"\n[[agent.faults]]\nbody = \"wJalr\"";
        let scenario = Scenario::from_toml(text).unwrap();
        crate::assert_no_secrets(&format!("{scenario:?}"), &["wJalr"]);
    }
}
