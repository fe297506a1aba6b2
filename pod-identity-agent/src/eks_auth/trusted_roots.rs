use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::{Arc, Once};

use aws_smithy_http_client::tls::TrustStore;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_native_certs::{CertificateResult, ErrorKind, load_native_certs};
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tracing::warn;

use crate::eks_auth::unavailable::{Cause, Unavailable};
use crate::node::resources::{is_too_many_open_files, remedy};

/// Returns the certificates in the file that `AWS_CA_BUNDLE` names, and no others, as the AWS CLI does.
///
/// # Errors
/// Fails if the file cannot be read, or holds no certificate, or one that cannot be used.
pub(super) fn of_bundle(path: &Path) -> Result<TrustStore, Unavailable> {
    let unusable = |source: Cause| Unavailable::CaBundle {
        path: path.to_owned(),
        source,
    };
    let pem = std::fs::read(path).map_err(|error| unusable(Arc::new(error)))?;
    check_certificates(&pem)
        .map_err(|message| unusable(Arc::from(Box::<dyn Error + Send + Sync>::from(message))))?;
    Ok(TrustStore::empty().with_pem_certificate(pem))
}

/// Returns the root certificates of the system, or of the files that `SSL_CERT_FILE` and `SSL_CERT_DIR` name.
///
/// The AWS client can read them itself, but does so once in the life of the process: what it cannot read then, because
/// all open files are in use, it never trusts.
///
/// # Errors
/// Fails if one of the files cannot be read now, but perhaps later.
pub(super) fn of_system() -> Result<TrustStore, Unavailable> {
    let (pem, not_trusted) = usable(load_native_certs())?;
    // Once, because several clients are made.
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        if let Some(error) = not_trusted.first() {
            let count = not_trusted.len();
            warn!(
                error,
                count, "root certificates cannot be used, and are not trusted"
            );
        }
        if pem.is_empty() {
            let remedy =
                "install ca-certificates, or name a file with AWS_CA_BUNDLE or SSL_CERT_FILE";
            warn!(
                remedy,
                "there are no root certificates: no server is trusted over TLS"
            );
        }
    });
    Ok(match pem.is_empty() {
        true => TrustStore::empty(),
        false => TrustStore::empty().with_pem_certificate(pem),
    })
}

/// Returns what can be used, in PEM, and why the rest cannot.
fn usable(found: CertificateResult) -> Result<(String, Vec<String>), Unavailable> {
    let mut not_trusted = Vec::new();
    for error in found.errors {
        if let ErrorKind::Io { inner, .. } = &error.kind
            && (is_too_many_open_files(inner) || inner.kind() == io::ErrorKind::OutOfMemory)
        {
            let reason = format!("{error}{}", remedy(inner));
            return Err(Unavailable::SystemRoots {
                source: Arc::from(Box::<dyn Error + Send + Sync>::from(reason)),
            });
        }
        not_trusted.push(error.to_string());
    }
    // Allocated once: a buffer that grows leaves freed pieces, which stay resident.
    let encoded = |der: &CertificateDer| BEGIN.len() + der.len().div_ceil(3) * 4 + END.len();
    let mut pem = String::with_capacity(found.certs.iter().map(encoded).sum());
    for certificate in found.certs {
        let start = pem.len();
        pem.push_str(BEGIN);
        STANDARD.encode_string(&certificate, &mut pem);
        pem.push_str(END);
        // The AWS client panics at what rustls cannot use.
        if let Err(error) = RootCertStore::empty().add(certificate) {
            pem.truncate(start);
            not_trusted.push(error.to_string());
        }
    }
    Ok((pem, not_trusted))
}

const BEGIN: &str = "-----BEGIN CERTIFICATE-----\n";

const END: &str = "\n-----END CERTIFICATE-----\n";

/// The AWS client panics at a bundle with a certificate that rustls cannot use.
fn check_certificates(pem: &[u8]) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for (number, certificate) in (1..).zip(CertificateDer::pem_slice_iter(pem)) {
        certificate
            .map_err(|error| format!("{error:?}"))
            .and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()))
            .map_err(|error| {
                format!("its certificate {number} is not usable, remove or correct it: {error}")
            })?;
    }
    if roots.is_empty() {
        return Err("it holds no PEM certificate".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bundle: &Path) -> String {
        let error = of_bundle(bundle).unwrap_err();
        error.to_string()
    }

    fn found(certificates: &[&[u8]], errors: &[i32]) -> CertificateResult {
        let mut found = CertificateResult::default();
        let certificates = certificates.iter().map(|der| der.to_vec().into());
        found.certs = certificates.collect();
        let errors = errors.iter().map(|errno| rustls_native_certs::Error {
            context: "failed to open file",
            kind: ErrorKind::Io {
                inner: io::Error::from_raw_os_error(*errno),
                path: "/etc/ssl/cert.pem".into(),
            },
        });
        found.errors = errors.collect();
        found
    }

    fn certificate() -> rcgen::Certificate {
        let valid = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        valid.unwrap().cert
    }

    #[test]
    fn roots_that_cannot_be_used_are_left_out() {
        let valid = certificate();
        let (pem, not_trusted) = usable(found(&[b"none", valid.der()], &[ENOENT])).unwrap();
        let trusted: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        assert_eq!(trusted.unwrap(), [valid.der().clone()]);
        assert_eq!(not_trusted.len(), 2, "{not_trusted:?}");
        assert!(
            not_trusted[0].contains("/etc/ssl/cert.pem"),
            "{not_trusted:?}"
        );
        let (pem, not_trusted) = usable(found(&[], &[])).unwrap();
        assert_eq!((pem.as_str(), not_trusted.len()), ("", 0));
    }

    #[cfg(unix)]
    #[test]
    fn without_open_files_roots_are_not_forgotten_but_an_error() {
        let valid = certificate();
        for certificates in [&[][..], &[valid.der().as_ref()]] {
            let error = usable(found(certificates, &[ENOENT, EMFILE])).unwrap_err();
            let (for_pods, in_full) = (error.to_string(), error.in_full());
            assert!(
                for_pods.contains("root certificates of this system"),
                "{for_pods}"
            );
            assert!(!for_pods.contains("/etc/ssl"), "{for_pods}");
            assert!(in_full.contains("(os error 24)"), "{in_full}");
            assert!(
                in_full.contains("raise the limit of open files"),
                "{in_full}"
            );
            assert!(in_full.contains("/etc/ssl/cert.pem"), "{in_full}");
        }
    }

    const ENOENT: i32 = 2;

    #[cfg(unix)]
    const EMFILE: i32 = 24;

    #[test]
    fn an_unusable_ca_bundle_is_named_in_the_error() {
        let missing = refused(Path::new("/nonexistent/ca.pem"));
        assert!(
            missing.starts_with("AWS_CA_BUNDLE names /nonexistent/ca.pem, which cannot be used: "),
            "{missing}"
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        let empty = refused(file.path());
        assert!(empty.ends_with("it holds no PEM certificate"), "{empty}");
    }

    #[test]
    fn an_unusable_certificate_is_an_error_and_not_a_panic() {
        let valid = certificate().pem();
        let file = tempfile::NamedTempFile::new().unwrap();
        for bad in [
            "-----BEGIN CERTIFICATE-----\nbm8gY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\nbm8gY2Vy",
        ] {
            std::fs::write(file.path(), format!("{valid}{bad}")).unwrap();
            let error = refused(file.path());
            assert!(error.contains("its certificate 2 is not usable"), "{error}");
        }
        std::fs::write(file.path(), valid).unwrap();
        of_bundle(file.path()).unwrap();
    }
}
