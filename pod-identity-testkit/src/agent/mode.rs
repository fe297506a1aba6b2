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
    /// The official agent, byte for byte: any method, redirects to a cleaned path, `Host` compared letter by letter,
    /// the words of its parser about a token, and a header `Date`.
    ///
    /// Not imitated are the answers of Go's `net/http` to what is not a valid request: another version of
    /// HTTP, a header name with a space, or `Expect`. Of errors in a token's JSON, only the most common
    /// have the official text.
    Official,
}
