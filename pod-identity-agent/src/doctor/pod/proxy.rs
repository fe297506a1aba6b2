use hyper_util::client::proxy::matcher::Matcher;

use crate::doctor::findings::PROXIED;
use crate::doctor::pod::known::Known;
use crate::doctor::step::Outcome;

/// Whether a client that honours the proxy of the environment sends it the token.
pub(super) async fn check(known: &mut Known) -> Outcome {
    let Some(endpoint) = &known.endpoint else {
        return Outcome::Skipped("no variable names an agent");
    };
    let of = |names: [&'static str; 2]| known.around.first_of(&names);
    let all = of(["ALL_PROXY", "all_proxy"]);
    // Clients that can tell CGI apart read the lower-case name only; most read either.
    let http = of(["http_proxy", "HTTP_PROXY"]);
    let https = of(["HTTPS_PROXY", "https_proxy"]);
    let no = of(["NO_PROXY", "no_proxy"]);
    let value = |variable: Option<(&str, &str)>| {
        variable.map_or(String::new(), |(_, value)| value.to_owned())
    };
    let matcher = Matcher::builder()
        .all(value(all))
        .http(value(http))
        .https(value(https))
        .no(value(no))
        .build();
    if matcher.intercept(endpoint.uri()).is_none() {
        return Outcome::Fine("the agent is asked directly".to_owned());
    }
    let of_scheme = if endpoint.is_https() { https } else { http };
    // The value may hold a password.
    let name = of_scheme.or(all).map_or("a proxy", |(name, _)| name);
    let host = endpoint.host();
    Outcome::found(
        &PROXIED,
        format!("{name} is set, and {host} is not in NO_PROXY"),
    )
}
