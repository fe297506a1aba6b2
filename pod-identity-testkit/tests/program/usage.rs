use crate::process::run;

#[tokio::test]
async fn an_invalid_command_line_prints_one_line_and_exits_with_64() {
    for (arguments, expected) in [
        (&[][..], "a command is missing: agent, eks, token, run"),
        (&["agnet"], "did you mean agent?"),
        (&["run"], "<COMMAND>"),
        (
            &["run", "pytest", "-q"],
            "to run the command `pytest`, put `--` before it: run -- pytest",
        ),
        (&["agent", "--port", "x"], "invalid value 'x' for '--port"),
        (
            &["eks", "--associate", "cart"],
            "such as shop/cart=arn:aws:iam::111122223333:role/cart",
        ),
        (&["token", "--namespace", ""], "--namespace"),
    ] {
        let output = run(arguments).await;
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(output.stdout.is_empty());
    }
}

#[tokio::test]
async fn help_and_version_exit_with_0() {
    for arguments in [&["--help"][..], &["--version"], &["agent", "--help"]] {
        let output = run(arguments).await;
        assert_eq!(output.status.code(), Some(0));
        assert!(!output.stdout.is_empty());
        assert!(output.stderr.is_empty());
    }
}
