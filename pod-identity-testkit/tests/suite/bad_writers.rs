//! Token files that kubelet would not write.

use std::fs;

use pod_identity_core::{AuthorizationTokenError, TokenFile, TokenFileProblem as Problem};
use pod_identity_testkit::{ProjectedVolume, TokenDefect};

const TOKEN: &str = "header.claims.signature";

fn volume() -> (ProjectedVolume, TokenFile) {
    let volume = ProjectedVolume::new().unwrap();
    volume.write(TOKEN).unwrap();
    let file = TokenFile::new(volume.token_path());
    (volume, file)
}

#[test]
fn every_defect_is_as_documented_and_the_next_write_repairs_it() {
    let (volume, file) = volume();
    for defect in TokenDefect::ALL {
        volume.spoil(defect).unwrap();
        let bytes = fs::read(volume.token_path());
        let read = file.read();
        match defect {
            TokenDefect::Newline => assert_eq!(bytes.unwrap(), b"header.claims.signature\n"),
            TokenDefect::CrLf => assert_eq!(bytes.unwrap(), b"header.claims.signature\r\n"),
            TokenDefect::Partial => assert_eq!(bytes.unwrap(), b"header.clai"),
            TokenDefect::Empty => assert!(matches!(
                read.unwrap_err().problem(),
                Problem::Content(AuthorizationTokenError::Empty)
            )),
            TokenDefect::TooLarge => {
                assert_eq!(bytes.unwrap().len(), 64 * 1024 + 1);
                assert!(matches!(
                    read.unwrap_err().problem(),
                    Problem::Content(AuthorizationTokenError::TooLarge)
                ));
            }
            TokenDefect::ByteOrderMark | TokenDefect::NotUtf8 => {
                assert!(matches!(
                    read.unwrap_err().problem(),
                    Problem::Content(AuthorizationTokenError::NotText)
                ));
            }
            TokenDefect::Missing | TokenDefect::DanglingLink => {
                assert!(matches!(read.unwrap_err().problem(), Problem::Missing));
            }
            TokenDefect::Directory => {
                assert!(matches!(read.unwrap_err().problem(), Problem::Directory));
            }
            // The superuser can read it anyway.
            TokenDefect::Unreadable => {
                let denied = |error: pod_identity_core::TokenFileError| {
                    matches!(error.problem(), Problem::Denied)
                };
                assert!(read.map_or_else(denied, |token| token.expose() == TOKEN));
            }
            _ => panic!("no check for {defect:?}"),
        }
        volume.write(TOKEN).unwrap();
        assert_eq!(file.read().unwrap().expose(), TOKEN, "after {defect:?}");
    }
}

#[test]
fn defects_do_not_accumulate() {
    let (volume, file) = volume();
    for defect in TokenDefect::ALL.into_iter().rev() {
        volume.spoil(TokenDefect::Directory).unwrap();
        volume.spoil(defect).unwrap();
    }
    volume.spoil(TokenDefect::Newline).unwrap();
    assert_eq!(file.read().unwrap().expose(), TOKEN);
    volume.spoil(TokenDefect::Directory).unwrap();
    volume.replace_file("second").unwrap();
    assert_eq!(file.read().unwrap().expose(), "second");
}

#[cfg(unix)]
#[test]
fn a_token_file_has_the_requested_mode() {
    use std::os::unix::fs::PermissionsExt;

    let (volume, _file) = volume();
    for mode in [0o600, 0o640, 0o644] {
        volume.set_mode(mode);
        volume.write(TOKEN).unwrap();
        let metadata = fs::metadata(volume.token_path()).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, mode);
        volume.spoil(TokenDefect::Unreadable).unwrap();
        let metadata = fs::metadata(volume.token_path()).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0);
    }
}

#[test]
fn a_file_renamed_over_the_link_stays_until_the_next_write() {
    let (volume, file) = volume();
    volume.replace_file("second").unwrap();
    assert_eq!(file.read().unwrap().expose(), "second");
    assert!(fs::symlink_metadata(volume.token_path()).unwrap().is_file());
    volume.replace_file("third").unwrap();
    assert_eq!(file.read().unwrap().expose(), "third");
    volume.write("fourth").unwrap();
    assert_eq!(file.read().unwrap().expose(), "fourth");
    assert_eq!(
        fs::symlink_metadata(volume.token_path())
            .unwrap()
            .is_symlink(),
        cfg!(unix)
    );
}

#[test]
fn a_token_written_in_place_can_be_read_partially() {
    let (volume, file) = volume();
    let mut writing = volume.write_in_place("header.claims.second").unwrap();
    assert!(matches!(
        file.read().unwrap_err().problem(),
        Problem::Content(AuthorizationTokenError::Empty)
    ));
    writing.advance(10).unwrap();
    assert_eq!(file.read().unwrap().expose(), "header.cla");
    assert!(!format!("{writing:?} {volume:?}").contains("claims"));
    writing.advance(1000).unwrap();
    assert_eq!(file.read().unwrap().expose(), "header.claims.second");
    writing.finish().unwrap();
    volume.spoil(TokenDefect::Newline).unwrap();
    assert_eq!(file.read().unwrap().expose(), "header.claims.second");
}
