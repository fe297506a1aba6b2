use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pod_identity_core::{
    AuthorizationToken, Clock, SystemClock, Timestamp, TokenFile, TokenFileError,
};
use zeroize::Zeroizing;

/// What `doctor` sees of the process that it looks into: environment, files, time.
pub(crate) struct Surroundings {
    environment: HashMap<String, String>,
    /// The root directory of another process, or `None` for that of this one.
    root: Option<PathBuf>,
    /// How long one answer is waited for.
    pub(crate) timeout: Duration,
}

impl Surroundings {
    /// Those of this process.
    pub(crate) fn new(
        environment: impl IntoIterator<Item = (String, String)>,
        timeout: Duration,
    ) -> Self {
        Self {
            environment: environment.into_iter().collect(),
            root: None,
            timeout,
        }
    }

    /// Those of another process, as seen from a container that shares its process namespace: EKS adds
    /// nothing to the containers that `kubectl debug` starts.
    ///
    /// # Errors
    /// Fails if its environment cannot be read: there is no such process, or it is another user's.
    #[cfg(target_os = "linux")]
    pub(crate) fn of_process(id: u32, timeout: Duration) -> io::Result<Self> {
        let environment = std::fs::read(format!("/proc/{id}/environ"))?;
        Ok(Self {
            environment: variables_in(&environment).collect(),
            root: Some(format!("/proc/{id}/root").into()),
            timeout,
        })
    }

    /// The value of a variable. A blank one is an unset one.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        let value = self.environment.get(name).map(String::as_str);
        value.filter(|value| !value.trim().is_empty())
    }

    /// The first of several variables that is set, with its name.
    pub(crate) fn first_of<'a>(&self, names: &[&'a str]) -> Option<(&'a str, &str)> {
        names
            .iter()
            .find_map(|name| Some((*name, self.variable(name)?)))
    }

    pub(crate) fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    /// # Errors
    /// [`TokenFileError`], which names the path as the process knows it.
    pub(crate) fn token(&self, path: &str) -> Result<AuthorizationToken, TokenFileError> {
        let file = TokenFile::new(path);
        if self.root.is_none() {
            return file.read();
        }
        let bytes = self.read(path).map_err(|error| file.failed_with(error))?;
        AuthorizationToken::parse(&bytes).map_err(|error| file.failed_with(error))
    }

    /// At most 64 KiB of a file.
    ///
    /// # Errors
    /// Fails if the file cannot be opened or read.
    pub(crate) fn read(&self, path: &str) -> io::Result<Zeroizing<Vec<u8>>> {
        let mut bytes = Zeroizing::new(Vec::new());
        let limit = AuthorizationToken::MAX_BYTES as u64 + 1;
        self.open(Path::new(path))?
            .take(limit)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Symlinks that start at the root are followed in the root of the process: `/var/run` leads to `/run`
    /// in most images.
    #[cfg(target_os = "linux")]
    fn open(&self, path: &Path) -> io::Result<File> {
        use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

        let Some(root) = &self.root else {
            return File::open(path);
        };
        // Without `NONBLOCK` a FIFO would be waited for.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let root = File::open(root)?;
        let file = openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)?;
        Ok(file.into())
    }

    #[cfg(not(target_os = "linux"))]
    fn open(&self, path: &Path) -> io::Result<File> {
        File::open(path)
    }
}

/// `NAME=value`, each ended by a zero byte.
#[cfg(target_os = "linux")]
fn variables_in(environment: &[u8]) -> impl Iterator<Item = (String, String)> {
    environment.split(|byte| *byte == 0).filter_map(|variable| {
        let variable = String::from_utf8_lossy(variable);
        let (name, value) = variable.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn files_of_another_root_are_found_through_its_own_symlinks() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("run/secrets")).unwrap();
        std::fs::create_dir(root.path().join("var")).unwrap();
        std::fs::write(root.path().join("run/secrets/token"), "a.b.c\n").unwrap();
        std::os::unix::fs::symlink("/run", root.path().join("var/run")).unwrap();
        let around = Surroundings {
            environment: HashMap::new(),
            root: Some(root.path().to_owned()),
            timeout: Duration::ZERO,
        };
        let token = around.token("/var/run/secrets/token").unwrap();
        assert_eq!(token.expose(), "a.b.c");
        let missing = around.token("/var/run/none").unwrap_err().to_string();
        assert!(
            missing.starts_with("token file /var/run/none: does not exist"),
            "{missing}"
        );
    }

    #[test]
    fn the_environment_of_a_process_is_read_and_blank_is_unset() {
        let variables: HashMap<_, _> = variables_in(b"A=1\0B= \0C=x=y\0").collect();
        let around = Surroundings::new(variables, Duration::ZERO);
        assert_eq!(around.variable("A"), Some("1"));
        assert_eq!(around.variable("B"), None);
        assert_eq!(around.first_of(&["B", "C"]), Some(("C", "x=y")));
    }
}
