use std::ffi::OsString;

use clap::CommandFactory;
use pod_identity_cli::without_user_info;
use serde_json::{Map, Value};

use super::Cli;

/// The flags that a `server` runs with, given or not, by their names. They hold no secret: what a URL has
/// before its `@` is left out.
pub(super) fn of_server(arguments: &[OsString]) -> Value {
    let mut command = Cli::command();
    let Ok(matches) = command.try_get_matches_from_mut(arguments) else {
        return Value::Null;
    };
    let (Some(("server", given)), Some(server)) =
        (matches.subcommand(), command.find_subcommand("server"))
    else {
        return Value::Null;
    };
    let flags = server.get_arguments().filter_map(|flag| {
        let values = given.try_get_raw(flag.get_id().as_str()).ok()??;
        let values: Vec<_> = values
            .map(|value| without_user_info(&value.to_string_lossy()))
            .collect();
        Some((flag.get_long()?.to_owned(), values.join(",").into()))
    });
    Value::Object(flags.collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_shown_with_their_defaults_and_urls_without_passwords() {
        let arguments = [
            "pod-identity-agent",
            "server",
            "--cluster-name=shop",
            "--endpoint=http://me:wJalrXUt@proxy.example/p@th",
            "-b127.0.0.1",
            "-b[::1]",
            "--audit-hits",
        ];
        let flags = of_server(&arguments.map(OsString::from));
        assert_eq!(flags["cluster-name"], "shop");
        assert_eq!(flags["endpoint"], "http://***@proxy.example/p@th");
        assert_eq!(flags["bind-hosts"], "127.0.0.1,[::1]");
        assert_eq!(flags["audit-hits"], "true");
        assert_eq!(flags["max-service-qps"], "3");
    }
}
