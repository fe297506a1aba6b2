use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A folder of `conformance/clients` that has the program `ask`, and is a column of the table.
#[derive(Debug)]
pub(crate) struct Client {
    /// The title of the column.
    pub(crate) title: &'static str,
    /// Its folder.
    pub(crate) folder: &'static str,
    /// Its package.
    pub(crate) package: &'static str,
    /// The version of the package in its lock file.
    pub(crate) version: String,
    /// The program.
    pub(crate) ask: PathBuf,
    /// The folder that `install` has filled.
    pub(crate) private: PathBuf,
    /// With this many seconds left, the client draws at random whether it renews a set.
    pub(crate) renews_at_random: Range<u64>,
    /// The client draws the pause before a retry at random. The pause can be very short.
    pub(crate) pauses_at_random: bool,
}

impl Client {
    /// Returns every column, in order, whether or not its client is installed.
    pub(crate) fn all() -> io::Result<Vec<Self>> {
        COLUMNS.iter().map(Self::new).collect()
    }

    /// # Errors
    /// Fails if it is not installed.
    pub(crate) fn check_installed(&self) -> io::Result<()> {
        if self.private.join(".installed").exists() {
            return Ok(());
        }
        let cause = format!(
            "{0} is not installed: run conformance/faults/install {0}",
            self.folder
        );
        Err(io::Error::other(cause))
    }

    fn new(column: &Column) -> io::Result<Self> {
        let conformance = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let folder = conformance.join("clients").join(column.folder);
        let private = conformance.join(".cache").join(column.folder);
        let lock = fs::read_to_string(folder.join(column.lock))?;
        let version = following(&lock, column.before).ok_or_else(|| {
            let message = format!("{}: nothing follows {:?}", column.lock, column.before);
            io::Error::other(message)
        })?;
        Ok(Self {
            title: column.title,
            folder: column.folder,
            package: column.package,
            version,
            ask: folder.join("ask").canonicalize()?,
            private: std::path::absolute(private)?,
            renews_at_random: column.renews_at_random.clone(),
            pauses_at_random: column.pauses_at_random,
        })
    }
}

/// Returns the number that follows `prefix`.
fn following(text: &str, prefix: &str) -> Option<String> {
    let (_, rest) = text.split_once(prefix)?;
    let is_number = |letter: &char| letter.is_ascii_digit() || *letter == '.';
    let number: String = rest.chars().take_while(is_number).collect();
    (!number.is_empty()).then_some(number)
}

struct Column {
    title: &'static str,
    folder: &'static str,
    package: &'static str,
    lock: &'static str,
    before: &'static str,
    renews_at_random: Range<u64>,
    pauses_at_random: bool,
}

const COLUMNS: [Column; 6] = [
    Column {
        title: "boto3",
        folder: "boto3",
        package: "botocore",
        lock: "requirements.txt",
        before: "botocore==",
        renews_at_random: 0..0,
        pauses_at_random: false,
    },
    Column {
        title: "JavaScript",
        folder: "js-v3",
        package: "@aws-sdk/credential-providers",
        lock: "package.json",
        before: "\"@aws-sdk/credential-providers\": \"",
        renews_at_random: 0..0,
        pauses_at_random: false,
    },
    Column {
        title: "Go",
        folder: "aws-sdk-go-v2",
        package: "aws-sdk-go-v2/config",
        lock: "go.mod",
        before: "aws-sdk-go-v2/config v",
        renews_at_random: 0..0,
        pauses_at_random: true,
    },
    Column {
        title: "Java",
        folder: "aws-sdk-java-v2",
        package: "software.amazon.awssdk:auth",
        lock: "pom.xml",
        before: "<artifactId>auth</artifactId>\n      <version>",
        // From 15 min before its expiry to 2 min before it.
        renews_at_random: 2 * 60..15 * 60,
        pauses_at_random: false,
    },
    Column {
        title: "Rust",
        folder: "aws-config",
        package: "aws-config",
        lock: "Cargo.toml",
        before: "aws-config = \"=",
        renews_at_random: 0..0,
        pauses_at_random: true,
    },
    Column {
        title: "pod-identity-provider",
        folder: "pod-identity-provider",
        package: "pod-identity-provider",
        lock: "../../../Cargo.toml",
        before: "[workspace.package]\nversion = \"",
        renews_at_random: 0..0,
        pauses_at_random: false,
    },
];
