use serde::Deserialize;

/// Which agent a [`MockAgent`](crate::MockAgent) is like where the two differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AgentMode {
    /// This project's agent, which refuses more: other methods than `GET` (405), and tokens without `exp`. The
    /// default, because a client that is served by it is served by the official one, too.
    #[default]
    Ours,
    /// The official agent; its answers to valid requests are equal byte for byte: any method, redirects to a cleaned
    /// path, `Host` compared letter by letter, the words of its parser about a token, and a header `Date`.
    ///
    /// Not imitated is what Go's `net/http` does with requests that no AWS SDK sends: another version of HTTP, two
    /// different `Content-Length`, a folded header or a name with a space, more than 200 headers or 128 KiB of them,
    /// another `Transfer-Encoding` than `chunked`, or another `Expect` than `100-continue`. Of errors in a token's
    /// JSON, only the most common have the official text.
    Official,
}
