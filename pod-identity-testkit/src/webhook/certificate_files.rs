use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use crate::http::tls::{Identity, self_signed};

/// Reads a certificate and its key, in PEM. If neither file exists, generates them, so that the next
/// start finds them and the `caBundle` of a registration stays right.
pub(crate) fn load_or_generate(
    certificate: &Path,
    key: &Path,
    names: Vec<String>,
) -> io::Result<Identity> {
    if !certificate.exists() && !key.exists() {
        let (certificate_pem, key_pem) = self_signed(names)?;
        write_new(key, &key_pem, 0o600).map_err(|error| at(key, error))?;
        write_new(certificate, &certificate_pem, 0o644).map_err(|error| at(certificate, error))?;
    }
    let certificate_pem =
        fs::read_to_string(certificate).map_err(|error| at(certificate, error))?;
    let key_pem = fs::read_to_string(key).map_err(|error| at(key, error))?;
    Identity::parse(certificate_pem, &key_pem).map_err(|error| at(certificate, error))
}

/// Creates a file with these permissions from its first byte on.
fn write_new(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _not_of_this_system = mode;
    options.open(path)?.write_all(text.as_bytes())
}

fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
