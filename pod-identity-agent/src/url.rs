use http::Uri;

/// Whether a URL has a host, and a port only if that is a number of 16 bits. The parser accepts any text as a port and
/// then returns none.
pub(crate) fn is_complete(url: &Uri) -> bool {
    url.authority().is_some_and(|authority| {
        let (host, text) = (authority.host(), authority.as_str());
        let without_user = text.rsplit_once('@').map_or(text, |(_user, rest)| rest);
        !host.is_empty() && (without_user == host || authority.port_u16().is_some())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_with_a_host_and_with_no_port_or_a_number_is_complete() {
        for (url, expected) in [
            ("https://host", true),
            ("https://host:443/path", true),
            ("https://user@host", true),
            ("https://[fd00::1]", true),
            ("https://[fd00::1]:443", true),
            ("https://host:", false),
            ("https://host:99999", false),
            ("https://host:port", false),
            ("https://port:port", false),
            ("https://user@host:host", false),
            ("/path", false),
        ] {
            assert_eq!(is_complete(&url.parse().unwrap()), expected, "{url}");
        }
    }
}
