use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::Uri;
use http::uri::Scheme;

/// Names of the environment variables of the container-credentials chain.
pub mod variables {
    /// A path on the ECS address; wins over [`FULL_URI`].
    pub const RELATIVE_URI: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
    /// A whole URI.
    pub const FULL_URI: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
    /// The path of a file with the authorization token; wins over [`TOKEN`].
    pub const TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
    /// The authorization token itself.
    pub const TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
    /// All of them.
    pub const ALL: [&str; 4] = [RELATIVE_URI, FULL_URI, TOKEN_FILE, TOKEN];
}

/// Where credentials are fetched: a URI that is known to be allowed.
///
/// Plain `http` is allowed to loopback and to the fixed addresses of the ECS and EKS agents only, `https` to
/// any host; a value of this type cannot hold anything else. A host *name* with `http` is allowed once
/// every address it resolves to is, which [`check_resolved`](Self::check_resolved) checks. The caller
/// resolves the name, and does so again for each fetch.
///
/// ```
/// use pod_identity_core::Endpoint;
///
/// let env = |name: &str| (name == "AWS_CONTAINER_CREDENTIALS_FULL_URI")
///     .then(|| "http://169.254.170.23/v1/credentials".to_owned());
/// let endpoint = Endpoint::from_env(env)?.expect("a URI variable is set");
/// assert_eq!(endpoint.uri(), "http://169.254.170.23/v1/credentials");
///
/// let error = Endpoint::parse("http://10.0.0.7/").unwrap_err();
/// assert!(error.to_string().starts_with("endpoint points at 10.0.0.7: plain http is only allowed to"));
/// # Ok::<(), pod_identity_core::EndpointError>(())
/// ```
///
/// `Debug` shows scheme, host and port only: the path of a relative URI is a capability on ECS, where
/// whoever knows it gets the task's credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    uri: Uri,
    host: Host,
    port: u16,
    origin: &'static str,
}

impl Endpoint {
    /// The EKS agent's IPv4 address.
    pub const EKS_IPV4: Ipv4Addr = Ipv4Addr::new(169, 254, 170, 23);
    /// The EKS agent's IPv6 address, `fd00:ec2::23`.
    pub const EKS_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23);
    /// The ECS agent's address, which a relative URI is resolved against.
    pub const ECS_IPV4: Ipv4Addr = Ipv4Addr::new(169, 254, 170, 2);

    /// Reads the endpoint from the environment, through a lookup function.
    ///
    /// [`variables::RELATIVE_URI`] wins over [`variables::FULL_URI`]; a blank variable is an unset
    /// one. `None` means that no URI variable is set: this chain is not configured, whatever the
    /// token variables say, and the next provider may be asked.
    ///
    /// # Errors
    /// [`EndpointError`] when the variable is set to something that is not allowed. That is
    /// configured but failing, and must not be taken for "not configured".
    pub fn from_env(
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, EndpointError> {
        let set = |name| lookup(name).filter(|value| !value.trim().is_empty());
        if let Some(relative) = set(variables::RELATIVE_URI) {
            return Self::relative(relative.trim(), variables::RELATIVE_URI).map(Some);
        }
        set(variables::FULL_URI)
            .map(|full| Self::absolute(full.trim(), variables::FULL_URI))
            .transpose()
    }

    /// An endpoint given in code: an absolute URI under the same rules.
    ///
    /// # Errors
    /// [`EndpointError`] when the URI is not allowed.
    pub fn parse(uri: &str) -> Result<Self, EndpointError> {
        Self::absolute(uri, "endpoint")
    }

    /// The URI, path and query verbatim.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The address to connect to, or the name to resolve.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port. Defaults to 80 or 443.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the connection uses TLS.
    pub fn is_https(&self) -> bool {
        self.uri.scheme() == Some(&Scheme::HTTPS)
    }

    /// Returns the addresses to connect to, given those that the host name has resolved to. For a host that
    /// is an address, it is that address.
    ///
    /// # Errors
    /// [`EndpointError`] when a name resolved to nothing, or, with plain `http`, when any one of its
    /// addresses is not allowed. The next resolution may succeed.
    pub fn check_resolved(
        &self,
        resolved: impl IntoIterator<Item = IpAddr>,
    ) -> Result<Vec<SocketAddr>, EndpointError> {
        let fail = |problem| {
            Err(EndpointError {
                origin: self.origin,
                problem,
            })
        };
        let name = match &self.host {
            Host::Address(address) => return Ok(vec![SocketAddr::new(*address, self.port)]),
            Host::Name(name) => name,
        };
        let mut checked = Vec::new();
        for address in resolved {
            if !self.is_https() && !is_allowed(address) {
                let host = format!("{name} ({address})");
                return fail(EndpointProblem::Disallowed { host });
            }
            checked.push(SocketAddr::new(address, self.port));
        }
        if checked.is_empty() {
            return fail(EndpointProblem::Unresolved { name: name.clone() });
        }
        Ok(checked)
    }

    fn relative(path: &str, origin: &'static str) -> Result<Self, EndpointError> {
        if !path.starts_with('/') {
            return Err(EndpointError {
                origin,
                problem: EndpointProblem::NotAbsolutePath,
            });
        }
        Self::absolute(&format!("http://{}{path}", Self::ECS_IPV4), origin)
    }

    fn absolute(text: &str, origin: &'static str) -> Result<Self, EndpointError> {
        Self::checked(text, origin).map_err(|problem| EndpointError { origin, problem })
    }

    fn checked(text: &str, origin: &'static str) -> Result<Self, EndpointProblem> {
        if text.contains('#') {
            return Err(EndpointProblem::Fragment);
        }
        let uri: Uri = text
            .parse()
            .map_err(|_quotes_input| EndpointProblem::NotAUri)?;
        let Some(authority) = uri.authority() else {
            return Err(EndpointProblem::NoHost);
        };
        if authority.as_str().contains('@') {
            return Err(EndpointProblem::UserInfo);
        }
        let default_port = match uri.scheme_str() {
            Some("http") => 80,
            Some("https") => 443,
            None => return Err(EndpointProblem::NoHost),
            Some(_) => return Err(EndpointProblem::Scheme),
        };
        let host = Host::parse(authority.host())?;
        let port = match authority.as_str().get(authority.host().len()..) {
            None | Some("" | ":") => default_port,
            // A host that ends before its bracket does leaves more than a port.
            Some(port) if port.rfind(':') != Some(0) => return Err(EndpointProblem::NotAUri),
            Some(_) => authority
                .port_u16()
                .filter(|port| *port != 0)
                .ok_or(EndpointProblem::NotAUri)?,
        };
        match &host {
            Host::Address(address) if default_port == 80 && !is_allowed(*address) => {
                Err(EndpointProblem::Disallowed {
                    host: address.to_string(),
                })
            }
            _ => Ok(Self {
                uri,
                host,
                port,
                origin,
            }),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.uri.scheme_str().unwrap_or_default();
        let authority = self
            .uri
            .authority()
            .map_or("", |authority| authority.as_str());
        write!(f, "Endpoint({scheme}://{authority}/…)")
    }
}

/// The host of an [`Endpoint`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Host {
    /// An address to connect to.
    Address(IpAddr),
    /// A name to resolve before every fetch.
    Name(String),
}

impl Host {
    fn parse(text: &str) -> Result<Self, EndpointProblem> {
        if let Some(bracketed) = text.strip_prefix('[') {
            let inner = bracketed
                .strip_suffix(']')
                .ok_or(EndpointProblem::NotAUri)?;
            let address: Ipv6Addr = inner.parse().map_err(|_not_v6| EndpointProblem::NotAUri)?;
            return Ok(Self::Address(address.into()));
        }
        match text.parse::<Ipv4Addr>() {
            Ok(address) => Ok(Self::Address(address.into())),
            Err(_) if text.is_empty() => Err(EndpointProblem::NoHost),
            // `http` allows brackets anywhere; RFC 3986 §3.2.2 has them around an address only.
            Err(_) if text.contains(['[', ']', ':']) => Err(EndpointProblem::NotAUri),
            Err(_) => Ok(Self::Name(text.to_owned())),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// An endpoint that is not allowed. It never holds the URI itself, which may carry a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin} {problem}")]
pub struct EndpointError {
    origin: &'static str,
    problem: EndpointProblem,
}

impl EndpointError {
    /// The environment variable that is wrong, or `endpoint` for a URI given in code.
    pub fn origin(&self) -> &'static str {
        self.origin
    }

    /// What is wrong with it.
    pub fn problem(&self) -> &EndpointProblem {
        &self.problem
    }
}

/// What can be wrong with an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointProblem {
    /// It does not parse. Cure: correct it.
    #[error("is not a URI such as http://169.254.170.23/v1/credentials")]
    NotAUri,
    /// It is a path only. Cure: give a whole URI, or use the variable for relative ones.
    #[error(
        "names no host (URI did not specify a host); give a whole one such as http://169.254.170.23/v1/credentials"
    )]
    NoHost,
    /// Neither `http` nor `https`.
    #[error("has a scheme other than http and https")]
    Scheme,
    /// User name or password in the URI. Cure: send a token instead.
    #[error("holds user information; the authorization token goes into its own variable")]
    UserInfo,
    /// A `#` in the URI.
    #[error("holds a fragment (#), which no server would see")]
    Fragment,
    /// A relative URI without a leading slash.
    #[error("must start with a slash: it is a path on http://169.254.170.2")]
    NotAbsolutePath,
    /// Plain `http` to somewhere a token must not travel in the clear.
    #[error(
        "points at {host}: plain http is only allowed to loopback, ECS and EKS agents; use https or check what set it"
    )]
    Disallowed {
        /// The host, with the address it resolved to.
        host: String,
    },
    /// The name has no address at the moment. Trying again may help.
    #[error("points at {name}, which resolved to no address")]
    Unresolved {
        /// The name.
        name: String,
    },
}

/// Plain http is allowed to loopback and to the agents' own addresses, after undoing IPv4-mapped IPv6.
fn is_allowed(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4 == Endpoint::ECS_IPV4 || v4 == Endpoint::EKS_IPV4,
        IpAddr::V6(v6) => v6.is_loopback() || v6 == Endpoint::EKS_IPV6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(env: &[(&str, &str)]) -> Result<Option<Endpoint>, EndpointError> {
        Endpoint::from_env(|name| {
            env.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn relative_wins_over_full_and_keeps_its_query() {
        let endpoint = from(&[
            (variables::FULL_URI, "http://localhost:8080/x"),
            (variables::RELATIVE_URI, "/credentials?a=1&b=%2F"),
        ]);
        assert_eq!(
            endpoint.unwrap().unwrap().uri(),
            "http://169.254.170.2/credentials?a=1&b=%2F"
        );
    }

    #[test]
    fn debug_does_not_print_the_path_and_query_of_a_uri() {
        let endpoint = from(&[(variables::RELATIVE_URI, "/v2/capability?key=capability")]);
        let debug = format!("{endpoint:?}");
        assert!(debug.contains("http://169.254.170.2/…"), "{debug}");
        assert!(!debug.contains("capability"), "{debug}");
    }

    #[test]
    fn a_blank_variable_is_an_unset_one_and_a_token_alone_configures_nothing() {
        assert_eq!(from(&[]).unwrap(), None);
        assert_eq!(from(&[(variables::TOKEN_FILE, "/token")]).unwrap(), None);
        assert_eq!(
            from(&[(variables::RELATIVE_URI, " "), (variables::FULL_URI, "")]).unwrap(),
            None
        );
        let full = from(&[
            (variables::RELATIVE_URI, ""),
            (variables::FULL_URI, "http://127.0.0.1/"),
        ]);
        assert_eq!(full.unwrap().unwrap().uri(), "http://127.0.0.1/");
    }

    #[test]
    fn plain_http_goes_to_loopback_and_the_agents_only() {
        for allowed in [
            "http://127.0.0.1/",
            "http://127.8.9.1:81/",
            "http://[::1]:8080/x",
            "http://169.254.170.2/",
            "http://169.254.170.23/v1/credentials",
            "http://[fd00:ec2::23]/v1/credentials",
            "http://[::ffff:169.254.170.23]/",
            "http://localhost:8080/credentials",
            "https://10.0.0.7/",
            "https://[2001:db8::1]:8443/",
            "https://mypersonalsite/credentials",
            "HTTP://127.0.0.1/",
        ] {
            assert!(Endpoint::parse(allowed).is_ok(), "{allowed}");
        }
        for refused in [
            "10.0.0.7",
            "169.254.169.254",
            "[fd00:ec2::254]",
            "[::ffff:10.0.0.7]",
            "0.0.0.0",
            "[::]",
        ] {
            let error = Endpoint::parse(&format!("http://{refused}/")).unwrap_err();
            assert!(
                matches!(error.problem(), EndpointProblem::Disallowed { .. }),
                "{error}"
            );
        }
    }

    #[test]
    fn what_is_no_endpoint_names_the_variable_and_the_cure() {
        for (uri, problem) in [
            ("/credentials", EndpointProblem::NoHost),
            ("credentials", EndpointProblem::NoHost),
            ("http://", EndpointProblem::NotAUri),
            ("http://bad host/", EndpointProblem::NotAUri),
            ("http://localhost:99999/", EndpointProblem::NotAUri),
            ("http://localhost:0/", EndpointProblem::NotAUri),
            ("http://[::1%eth0]/", EndpointProblem::NotAUri),
            ("http://agent[::1]:8080/", EndpointProblem::NotAUri),
            ("http://agent[:]:80/", EndpointProblem::NotAUri),
            ("ftp://localhost/", EndpointProblem::Scheme),
            ("unix:///run/agent.sock", EndpointProblem::NotAUri),
            ("http://user:hunter2@localhost/", EndpointProblem::UserInfo),
            ("https://localhost/#part", EndpointProblem::Fragment),
        ] {
            let error = from(&[(variables::FULL_URI, uri)]).unwrap_err();
            assert_eq!(error.problem(), &problem, "{uri}");
            assert!(
                error.to_string().starts_with(variables::FULL_URI),
                "{error}"
            );
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
        let error = from(&[(variables::RELATIVE_URI, "http://localhost/")]).unwrap_err();
        assert_eq!(error.problem(), &EndpointProblem::NotAbsolutePath);
    }

    #[test]
    fn a_name_is_allowed_when_it_resolves_and_every_address_is_allowed() {
        let endpoint = Endpoint::parse("http://agent.internal:8080/x").unwrap();
        let check = |addresses: &[&str]| {
            endpoint.check_resolved(addresses.iter().map(|text| text.parse().unwrap()))
        };
        assert_eq!(check(&["127.0.0.1", "::1"]).unwrap().len(), 2);
        assert_eq!(
            check(&["127.0.0.1"]).unwrap(),
            ["127.0.0.1:8080".parse().unwrap()]
        );
        let error = check(&["127.0.0.1", "10.0.0.7"]).unwrap_err();
        assert!(
            error.to_string().contains("agent.internal (10.0.0.7)"),
            "{error}"
        );
        let error = check(&[]).unwrap_err();
        assert!(matches!(
            error.problem(),
            EndpointProblem::Unresolved { .. }
        ));

        let https = Endpoint::parse("https://agent.internal/").unwrap();
        assert_eq!(
            https.check_resolved(["10.0.0.7".parse().unwrap()]).unwrap(),
            ["10.0.0.7:443".parse().unwrap()]
        );
        assert!(https.check_resolved([]).is_err());

        let fixed = Endpoint::parse("http://[fd00:ec2::23]/").unwrap();
        assert_eq!(
            fixed.check_resolved([]).unwrap(),
            ["[fd00:ec2::23]:80".parse().unwrap()]
        );
    }
}
