use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::Uri;
use http::uri::Scheme;

/// Names of the environment variables of the container-credentials chain.
pub mod variables {
    /// A path on the ECS agent's address. Takes precedence over [`FULL_URI`].
    pub const RELATIVE_URI: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
    /// An absolute URI.
    pub const FULL_URI: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
    /// The path of a file with the authorization token. Takes precedence over [`TOKEN`].
    pub const TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
    /// The authorization token itself.
    pub const TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
    /// All four names.
    pub const ALL: [&str; 4] = [RELATIVE_URI, FULL_URI, TOKEN_FILE, TOKEN];
}

/// The URI that credentials are fetched from. It is an allowed one.
///
/// `https` is allowed to any host, plain `http` only to loopback addresses and the fixed addresses of the ECS and
/// EKS agents. A value of this type cannot hold another address. A host *name* with `http` is allowed if all
/// addresses that it resolves to are. The caller resolves the name anew for each fetch, and passes the addresses
/// to [`check_resolved`](Self::check_resolved).
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
/// `Debug` prints only scheme, host and port, because on ECS the path of a relative URI is a secret: whoever knows
/// it gets the task's credentials.
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
    /// The ECS agent's address, against which a relative URI is resolved.
    pub const ECS_IPV4: Ipv4Addr = Ipv4Addr::new(169, 254, 170, 2);

    /// Reads the endpoint from the environment, through a lookup function.
    ///
    /// [`variables::RELATIVE_URI`] takes precedence over [`variables::FULL_URI`]. A blank variable counts as unset.
    /// Returns `None` if neither is set. Container credentials are then not configured, also if a token variable
    /// is set, and a chain of providers goes on to the next one.
    ///
    /// # Errors
    /// [`EndpointError`] if the variable is set to a URI that is not allowed. The caller must report it rather than
    /// treat container credentials as not configured.
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

    /// Parses an absolute URI that is given in code, by the same rules.
    ///
    /// # Errors
    /// [`EndpointError`] if the URI is not allowed.
    pub fn parse(uri: &str) -> Result<Self, EndpointError> {
        Self::absolute(uri, "endpoint")
    }

    /// Returns the URI, with its path and query unchanged.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Returns the address to connect to, or the name to resolve.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Returns the port. Defaults to 80 for `http` and 443 for `https`.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns whether the connection uses TLS.
    pub fn is_https(&self) -> bool {
        self.uri.scheme() == Some(&Scheme::HTTPS)
    }

    /// Returns the addresses to connect to, given those that the host name has resolved to. If the host is an
    /// address, returns that address.
    ///
    /// # Errors
    /// [`EndpointError`] if the name resolved to no address or, with plain `http`, to one that is not allowed. The
    /// next resolution may succeed.
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
            // `http` may end the host before its bracket, which leaves more than a port.
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

/// The error for an endpoint that is not allowed. It does not contain the URI, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin} {problem}")]
pub struct EndpointError {
    origin: &'static str,
    problem: EndpointProblem,
}

impl EndpointError {
    /// Returns the name of the environment variable, or `endpoint` for a URI that was given in code.
    pub fn origin(&self) -> &'static str {
        self.origin
    }

    /// Returns what is wrong with the URI.
    pub fn problem(&self) -> &EndpointProblem {
        &self.problem
    }
}

/// What is wrong with an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointProblem {
    /// The text is not a URI. Remedy: correct it.
    #[error("is not a URI such as http://169.254.170.23/v1/credentials")]
    NotAUri,
    /// The URI has no host. Remedy: use an absolute URI, or the variable for relative ones.
    #[error(
        "names no host (URI did not specify a host); give a whole one such as http://169.254.170.23/v1/credentials"
    )]
    NoHost,
    /// The scheme is neither `http` nor `https`.
    #[error("has a scheme other than http and https")]
    Scheme,
    /// The URI contains a user name or password. Remedy: send a token instead.
    #[error("holds user information; the authorization token goes into its own variable")]
    UserInfo,
    /// The URI contains a `#`.
    #[error("holds a fragment (#), which no server would see")]
    Fragment,
    /// The relative URI has no leading slash.
    #[error("must start with a slash: it is a path on http://169.254.170.2")]
    NotAbsolutePath,
    /// The host is not one that a token may be sent to with plain `http`.
    #[error(
        "points at {host}: plain http is only allowed to loopback, ECS and EKS agents; use https or check what set it"
    )]
    Disallowed {
        /// The host, and the address that it resolved to.
        host: String,
    },
    /// The name resolved to no address. A later attempt may succeed.
    #[error("points at {name}, which resolved to no address")]
    Unresolved {
        /// The name.
        name: String,
    },
}

/// Returns whether plain `http` to this address is allowed. An IPv4-mapped IPv6 address counts as the IPv4 address.
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
    fn the_port_is_that_of_the_uri_and_defaults_to_that_of_its_scheme() {
        for (uri, port) in [
            ("http://127.0.0.1/", 80),
            ("http://127.0.0.1:/", 80),
            ("http://[::1]:8080/x", 8080),
            ("https://10.0.0.7/", 443),
            ("https://[2001:db8::1]:8443/", 8443),
        ] {
            let endpoint = from(&[(variables::FULL_URI, uri)]).unwrap().unwrap();
            assert_eq!(endpoint.port(), port, "{uri}");
        }
    }

    #[test]
    fn a_host_is_displayed_without_brackets_and_port() {
        for (uri, host) in [
            ("http://localhost:8080/x", "localhost"),
            ("http://[fd00:ec2::23]:80/", "fd00:ec2::23"),
        ] {
            let endpoint = Endpoint::parse(uri).unwrap();
            assert_eq!(endpoint.host().to_string(), host);
        }
    }

    #[test]
    fn what_is_no_endpoint_names_the_variable_and_the_remedy() {
        for (uri, problem) in [
            ("/credentials", EndpointProblem::NoHost),
            ("credentials", EndpointProblem::NoHost),
            ("http://", EndpointProblem::NotAUri),
            ("http://:80/credentials", EndpointProblem::NoHost),
            ("http://bad host/", EndpointProblem::NotAUri),
            ("http://localhost:99999/", EndpointProblem::NotAUri),
            ("http://localhost:0/", EndpointProblem::NotAUri),
            ("http://[::1%eth0]/", EndpointProblem::NotAUri),
            ("http://agent[::1]:8080/", EndpointProblem::NotAUri),
            ("http://agent[:]:80/", EndpointProblem::NotAUri),
            ("http://agent[x]/", EndpointProblem::NotAUri),
            ("http://[::1]x:80/", EndpointProblem::NotAUri),
            ("ftp://localhost/", EndpointProblem::Scheme),
            ("unix:///run/agent.sock", EndpointProblem::NotAUri),
            ("http://user:hunter2@localhost/", EndpointProblem::UserInfo),
            ("https://localhost/#part", EndpointProblem::Fragment),
        ] {
            let error = from(&[(variables::FULL_URI, uri)]).unwrap_err();
            assert_eq!(error.problem(), &problem, "{uri}");
            assert_eq!(error.origin(), variables::FULL_URI);
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
