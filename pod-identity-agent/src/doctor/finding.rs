/// Something that `doctor` can find: what it means, and what to do about it.
///
/// All of them are in [`findings`](super::findings). The page `docs/troubleshooting.md` is made from the
/// same values, so the program and the page cannot differ.
#[derive(Debug)]
pub(crate) struct Finding {
    /// A stable name for scripts, for `--explain` and for links: lower case, with hyphens.
    pub(crate) code: &'static str,
    pub(crate) class: Class,
    /// What is wrong, without anything of the case.
    pub(crate) message: &'static str,
    /// Parts of the messages in which others report the same: SDKs, the agent's answers, its log and its
    /// readiness. The answer of an agent is recognised by them.
    pub(crate) seen: &'static [&'static str],
    pub(crate) cause: &'static str,
    pub(crate) remedy: &'static str,
}

/// Where the chain breaks; each class has an exit code of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Good to know, and no fault.
    Advice,
    /// The environment of the container: variables, shared files, the kind of node.
    Environment,
    /// The projected service-account token.
    Token,
    /// The way from the pod to the agent.
    Network,
    /// The agent, or what answers in its place.
    Agent,
    /// The association, its role, and the trust policy of the role.
    Association,
    /// The node: link, addresses, routes, ports.
    Node,
    /// The way from the agent to EKS Auth, and the agent's own credentials.
    EksAuth,
}

impl Class {
    pub(crate) const ALL: [Self; 8] = [
        Self::Advice,
        Self::Environment,
        Self::Token,
        Self::Network,
        Self::Agent,
        Self::Association,
        Self::Node,
        Self::EksAuth,
    ];

    /// The exit code when the first fault is of this class. 1 is left to a `doctor` that cannot run, 2 to
    /// shells and panics.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Advice => 0,
            Self::Environment => 3,
            Self::Token => 4,
            Self::Network => 5,
            Self::Agent => 6,
            Self::Association => 7,
            Self::Node => 8,
            Self::EksAuth => 9,
        }
    }

    /// The heading of the class, and its name in the JSON report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Advice => "advice",
            Self::Environment => "environment",
            Self::Token => "token",
            Self::Network => "network",
            Self::Agent => "agent",
            Self::Association => "association",
            Self::Node => "node",
            Self::EksAuth => "EKS Auth",
        }
    }
}

/// A finding in one case.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) finding: &'static Finding,
    /// What is particular to the case: a path, an address, a message. It holds no secret.
    pub(crate) detail: String,
}

impl Finding {
    /// Reports print the message before the detail, so a detail that begins with the message loses it.
    pub(crate) fn with(&'static self, detail: impl Into<String>) -> Found {
        let detail = detail.into();
        let new = detail.strip_prefix(self.message).unwrap_or(&detail);
        Found {
            finding: self,
            detail: new.trim_start_matches(": ").to_owned(),
        }
    }

    pub(crate) fn is_fault(&self) -> bool {
        self.class != Class::Advice
    }
}
