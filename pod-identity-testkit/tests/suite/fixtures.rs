//! Tokens and the volume that projects them.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pod_identity_core::{AuthorizationToken, ServiceAccountToken, TokenError, TokenFile};
use pod_identity_testkit::{Issuer, ProjectedVolume, SigningKey, TokenBuilder, VerifyError};

use crate::common::NOW;

#[test]
fn core_parses_every_claim_of_a_minted_token() {
    let issuer = Issuer::for_region("eu-central-1");
    let lifetime = Duration::from_secs(3600);
    let token = issuer
        .token("shop", "cart")
        .pod("cart-0")
        .node("n1")
        .lifetime(lifetime)
        .issued_at(NOW - Duration::from_secs(60))
        .mint(NOW);
    let token = ServiceAccountToken::parse(&token).unwrap();
    let claims = token.claims();
    let issuer = claims.issuer.as_deref().unwrap();
    assert!(
        issuer.starts_with("https://oidc.eks.eu-central-1.amazonaws.com/id/"),
        "{issuer}"
    );
    assert_eq!(
        claims.subject.as_deref(),
        Some("system:serviceaccount:shop:cart")
    );
    assert_eq!(claims.audience, ["pods.eks.amazonaws.com"]);
    assert_eq!(claims.issued_at, Some(NOW - Duration::from_secs(60)));
    assert_eq!(claims.not_before, claims.issued_at);
    assert_eq!(claims.expires_at, NOW - Duration::from_secs(60) + lifetime);
    assert_eq!(claims.namespace.as_deref(), Some("shop"));
    assert_eq!(claims.service_account.as_deref(), Some("cart"));
    assert_eq!(claims.pod.as_deref(), Some("cart-0"));
    assert_eq!(claims.pod_uid.as_ref().map(|uid| uid.len()), Some(36));
    assert_eq!(claims.node.as_deref(), Some("n1"));
}

#[test]
fn a_token_has_the_size_of_a_real_one() {
    let token = Issuer::new().token("shop", "cart").mint(NOW);
    assert!((1000..2300).contains(&token.len()), "{}", token.len());
}

#[test]
fn a_pod_keeps_its_uid_over_rotations_and_each_token_is_unique() {
    let builder = Issuer::new().token("shop", "cart");
    let tokens: HashSet<String> = (0..20).map(|_| builder.mint(NOW)).collect();
    assert_eq!(tokens.len(), 20);
    let uid = |token: &String| {
        ServiceAccountToken::parse(token)
            .unwrap()
            .claims()
            .pod_uid
            .clone()
    };
    assert_eq!(tokens.iter().map(uid).collect::<HashSet<_>>().len(), 1);
    assert!(!tokens.contains(&Issuer::new().token("shop", "cart").mint(NOW)));
}

#[test]
fn tokens_before_kubernetes_1_30_have_no_node_and_no_id() {
    let builder = Issuer::new().token("shop", "cart").before_1_30();
    let token = builder.mint(NOW);
    assert_eq!(token, builder.mint(NOW), "nothing tells two apart");
    assert_eq!(
        ServiceAccountToken::parse(&token).unwrap().claims().node,
        None
    );
}

#[test]
fn an_issuer_verifies_only_its_own_tokens() {
    let issuer = Issuer::new();
    let builder = issuer.token("shop", "cart");
    issuer.verify(&builder.mint(NOW)).unwrap();
    Issuer::new().verify(&builder.mint(NOW)).unwrap();
    let forged = builder.clone().forged().mint(NOW);
    ServiceAccountToken::parse(&forged).unwrap();
    assert_eq!(issuer.verify(&forged), Err(VerifyError::Signature));
    let other = Issuer::for_cluster("us-west-2", "OTHER");
    assert_eq!(other.verify(&builder.mint(NOW)), Err(VerifyError::Issuer));
    assert!(matches!(issuer.verify("x"), Err(VerifyError::Malformed(_))));
}

#[test]
fn every_claim_can_be_replaced_or_left_out_and_a_token_can_be_unsigned() {
    let builder = Issuer::new().token("shop", "cart");
    let parse = |builder: &TokenBuilder| ServiceAccountToken::parse(&builder.mint(NOW));
    let error = |builder: TokenBuilder| parse(&builder).unwrap_err();
    assert_eq!(
        error(builder.clone().without_claim("exp")),
        TokenError::NoExpiry
    );
    assert_eq!(error(builder.clone().unsigned()), TokenError::Unsigned);
    let claims = TokenError::Json { part: "claim" };
    assert_eq!(error(builder.clone().claim("exp", "tomorrow")), claims);

    let other = builder.clone().claim("sub", "me").claim("aud", "sts");
    let other = parse(&other).unwrap().claims().clone();
    assert_eq!(
        (other.subject.as_deref(), other.audience),
        (Some("me"), vec!["sts".to_owned()])
    );
    let no_pod = parse(&builder.clone().without_claim("kubernetes.io")).unwrap();
    assert_eq!(no_pod.claims().pod, None);
    let large = builder.padded(70_000).mint(NOW);
    assert!(large.len() > AuthorizationToken::MAX_BYTES);
    ServiceAccountToken::parse(&large).unwrap();
}

#[test]
fn after_a_key_rotation_old_tokens_are_valid_until_their_key_is_removed() {
    let issuer = Issuer::new();
    let builder = issuer.token("shop", "cart");
    let old = builder.mint(NOW);
    for key in [SigningKey::OtherRs256, SigningKey::Es256] {
        issuer.sign_with(key);
        let new = builder.mint(NOW);
        issuer.verify(&new).unwrap();
        issuer.verify(&old).unwrap();
        assert_eq!(Issuer::new().verify(&new), Err(VerifyError::Signature));
        let forged = builder.clone().forged().mint(NOW);
        assert_eq!(issuer.verify(&forged), Err(VerifyError::Signature));
    }
    issuer.forget_old_keys();
    assert_eq!(issuer.verify(&old), Err(VerifyError::Signature));
    issuer.verify(&builder.mint(NOW)).unwrap();
}

#[test]
fn a_reader_never_gets_a_partial_token_while_it_is_rotated() {
    let volume = ProjectedVolume::new().unwrap();
    let tokens: Vec<String> = (0..200)
        .map(|n| format!("{n}.{}", "x".repeat(1200)))
        .collect();
    volume.write(&tokens[0]).unwrap();

    let file = TokenFile::new(volume.token_path());
    let known: HashSet<String> = tokens.iter().cloned().collect();
    let done = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&done);
    let reader = std::thread::spawn(move || {
        let mut reads = 0_u32;
        while !stop.load(Ordering::Relaxed) {
            let token = file
                .read()
                .unwrap_or_else(|error| panic!("it is never away: {error}"));
            assert!(known.contains(token.expose()), "a partial token");
            reads += 1;
        }
        reads
    });
    for token in &tokens {
        volume.write(token).unwrap();
    }
    done.store(true, Ordering::Relaxed);
    assert!(reader.join().unwrap() > 0);
}

#[cfg(unix)]
#[test]
fn the_volume_is_laid_out_as_kubelet_does_it() {
    use std::os::unix::fs::PermissionsExt;

    let outer = tempfile::tempdir().unwrap();
    let volume = ProjectedVolume::create_in(outer.path().join("volume")).unwrap();
    volume.write("first").unwrap();
    let payload = std::fs::read_link(volume.directory().join("..data")).unwrap();
    volume.write("second").unwrap();

    let link = |name| std::fs::read_link(volume.directory().join(name)).unwrap();
    assert_eq!(
        link("eks-pod-identity-token").to_str(),
        Some("..data/eks-pod-identity-token")
    );
    assert_ne!(link("..data"), payload);
    assert!(
        !volume.directory().join(&payload).exists(),
        "the old directory is gone"
    );
    let name = link("..data").to_str().unwrap().to_owned();
    let shape: String = name
        .chars()
        .map(|char| if char.is_ascii_digit() { '9' } else { char })
        .collect();
    assert_eq!(shape, "..9999_99_99_99_99_99.9999999999");
    let mode = std::fs::metadata(volume.token_path())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o644);
    assert_eq!(std::fs::read(volume.token_path()).unwrap(), b"second");

    let entries = std::fs::read_dir(volume.directory()).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [name.as_str(), "..data", "eks-pod-identity-token"]);
}

#[test]
fn a_removed_token_can_be_written_again() {
    let volume = ProjectedVolume::new().unwrap();
    volume.write("first").unwrap();
    volume.remove().unwrap();
    let file = TokenFile::new(volume.token_path());
    file.read().unwrap_err();
    volume.remove().unwrap_err();
    volume.write("second").unwrap();
    assert_eq!(file.read().unwrap().expose(), "second");
}

#[test]
fn a_reopened_volume_continues_where_it_was() {
    let outer = tempfile::tempdir().unwrap();
    ProjectedVolume::create_in(outer.path())
        .unwrap()
        .write("first")
        .unwrap();
    let volume = ProjectedVolume::create_in(outer.path()).unwrap();
    let file = TokenFile::new(volume.token_path());
    assert_eq!(file.read().unwrap().expose(), "first");
    volume.write("second").unwrap();
    assert_eq!(file.read().unwrap().expose(), "second");
    assert!(std::fs::read_dir(outer.path()).unwrap().count() <= 3);
}

#[test]
fn a_temporary_volume_is_removed_with_its_owner() {
    let volume = ProjectedVolume::new().unwrap();
    volume.write("first").unwrap();
    let directory = volume.directory().to_owned();
    drop(volume);
    assert!(!directory.exists());
}
