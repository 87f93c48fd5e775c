//! TLS and SASL as a broker sees them.

use std::{num::NonZeroU32, sync::Arc};

use kafka_protocol::{
    messages::{SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse},
    protocol::StrBytes,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use ring::{digest, hmac, pbkdf2};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::{
    client::{
        ClientError, Connection, ConnectionConfig, Fault, Identity, Lifetime, Sasl, ScramMechanism, Secret, Tls,
        peer::{Dialogue, Peer, quick},
        sasl::scram,
    },
    wire::ErrorCode,
};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn root(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    fn issue(&self, name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        (certificate.der().clone(), key.into())
    }
}

fn server_builder() -> rustls::ConfigBuilder<rustls::ServerConfig, rustls::WantsVerifier> {
    rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
}

/// Connects to a TLS broker whose certificate is for `name`; the client trusts `root`.
async fn over_tls(authority: &Authority, name: &str, tls: Tls) -> Result<Connection, ClientError> {
    let (certificate, key) = authority.issue(name);
    let server = server_builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    let peer = Peer::listen_tls(server).await;
    let config = ConnectionConfig { tls: Some(tls), ..quick() };
    let (address, lifetime) = (peer.address(), Lifetime::default());
    let (connection, ()) = tokio::join!(Connection::open(&config, &address, None, &lifetime), async {
        if let Ok(mut dialogue) = peer.accept().await {
            dialogue.negotiate(&crate::client::peer::every_api()).await;
        }
    });
    connection
}

#[tokio::test]
async fn a_broker_with_a_certificate_of_a_trusted_root_is_accepted() {
    let authority = Authority::new();
    let tls = Tls::new([authority.root()], None).unwrap();
    over_tls(&authority, "127.0.0.1", tls.clone()).await.unwrap();
    over_tls(&authority, "broker.internal", tls.with_server_name("broker.internal").unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_broker_with_another_certificate_is_refused_for_good() {
    let authority = Authority::new();
    let check = async |name: &str, root: CertificateDer<'static>| {
        let error = over_tls(&authority, name, Tls::new([root], None).unwrap()).await.unwrap_err();
        assert!(matches!(error, ClientError::Tls { .. }), "{error:?}");
        assert!(!error.retry_can_help());
    };
    check("127.0.0.1", Authority::new().root()).await;
    check("127.0.0.2", authority.root()).await;
}

#[tokio::test]
async fn a_broker_that_asks_for_a_certificate_gets_ours() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("127.0.0.1");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.root()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let server = server_builder().with_client_cert_verifier(verifier).with_single_cert(vec![certificate], key).unwrap();
    let peer = Peer::listen_tls(server).await;
    let (leaf, key) = authority.issue("relay");
    let tls = Tls::new([authority.root()], Some(Identity { chain: vec![leaf], key })).unwrap();
    let config = ConnectionConfig { tls: Some(tls), ..quick() };
    let (address, lifetime) = (peer.address(), Lifetime::default());
    let (connection, _) = tokio::join!(Connection::open(&config, &address, None, &lifetime), peer.ready());
    connection.unwrap();
}

/// Logs in as `user`; the broker does `serve` once the mechanism is agreed on.
async fn login(sasl: Sasl, serve: impl AsyncFnOnce(&mut Dialogue)) -> Result<Connection, ClientError> {
    let mechanism = sasl.mechanism_name();
    let peer = Peer::listen().await;
    let config = ConnectionConfig { sasl: Some(sasl), ..quick() };
    let (address, lifetime) = (peer.address(), Lifetime::default());
    let (connection, ()) = tokio::join!(Connection::open(&config, &address, None, &lifetime), async {
        let mut dialogue = peer.ready().await;
        let (header, request) = dialogue.expect::<SaslHandshakeRequest>().await;
        assert_eq!(request.mechanism.as_str(), mechanism);
        dialogue.answer::<SaslHandshakeRequest>(&header, &SaslHandshakeResponse::default()).await;
        serve(&mut dialogue).await;
        drop(dialogue);
    });
    connection
}

async fn step(dialogue: &mut Dialogue, answer: impl FnOnce(&[u8]) -> Vec<u8>) {
    let (header, request) = dialogue.expect::<SaslAuthenticateRequest>().await;
    let response = SaslAuthenticateResponse::default().with_auth_bytes(answer(&request.auth_bytes).into());
    dialogue.answer::<SaslAuthenticateRequest>(&header, &response).await;
}

fn plain() -> Sasl {
    Sasl::Plain { username: "user".into(), password: Secret::new("pencil") }
}

fn scram(mechanism: ScramMechanism) -> Sasl {
    Sasl::Scram { mechanism, username: "user".into(), password: Secret::new("pencil") }
}

#[tokio::test]
async fn plain_sends_the_password_and_is_done() {
    login(plain(), async |dialogue| {
        step(dialogue, |message| {
            assert_eq!(message, b"\0user\0pencil");
            Vec::new()
        })
        .await;
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_refused_login_says_so_without_the_password() {
    let error = login(plain(), async |dialogue| {
        let (header, _) = dialogue.expect::<SaslAuthenticateRequest>().await;
        let response = SaslAuthenticateResponse::default()
            .with_error_code(ErrorCode::SASL_AUTHENTICATION_FAILED.0)
            .with_error_message(Some(StrBytes::from_static_str("no such\nuser")));
        dialogue.answer::<SaslAuthenticateRequest>(&header, &response).await;
    })
    .await
    .unwrap_err();
    let text = error.to_string();
    assert!(text.ends_with("authentication by PLAIN failed: SASL_AUTHENTICATION_FAILED: no suchuser"), "{text}");
    assert!(!format!("{error:?}").contains("pencil"));
    assert_eq!((error.fault(), error.retry_can_help()), (Fault::Caller, false));
}

#[tokio::test]
async fn a_mechanism_that_the_broker_does_not_offer_is_named_with_those_it_does() {
    let peer = Peer::listen().await;
    let config = ConnectionConfig { sasl: Some(plain()), ..quick() };
    let (address, lifetime) = (peer.address(), Lifetime::default());
    let (connection, ()) = tokio::join!(Connection::open(&config, &address, None, &lifetime), async {
        let mut dialogue = peer.ready().await;
        let (header, _) = dialogue.expect::<SaslHandshakeRequest>().await;
        let response = SaslHandshakeResponse::default()
            .with_error_code(ErrorCode::UNSUPPORTED_SASL_MECHANISM.0)
            .with_mechanisms(vec![StrBytes::from_static_str("SCRAM-SHA-512")]);
        dialogue.answer::<SaslHandshakeRequest>(&header, &response).await;
    });
    let text = connection.unwrap_err().to_string();
    assert!(text.ends_with("UNSUPPORTED_SASL_MECHANISM, the broker offers SCRAM-SHA-512"), "{text}");
}

/// A broker's half of SCRAM with a password of its own.
async fn serve_scram(dialogue: &mut Dialogue, mechanism: ScramMechanism, password: &str) {
    let (hmac_algorithm, pbkdf2_algorithm, bytes) = match mechanism {
        ScramMechanism::Sha256 => (hmac::HMAC_SHA256, pbkdf2::PBKDF2_HMAC_SHA256, digest::SHA256_OUTPUT_LEN),
        ScramMechanism::Sha512 => (hmac::HMAC_SHA512, pbkdf2::PBKDF2_HMAC_SHA512, digest::SHA512_OUTPUT_LEN),
    };
    let mut bare = String::new();
    let mut server_first = String::new();
    step(dialogue, |message| {
        bare = String::from_utf8(message.to_vec()).unwrap().strip_prefix("n,,").unwrap().to_owned();
        let nonce = bare.split_once("r=").unwrap().1;
        server_first = format!("r={nonce}server,s=c2FsdA==,i=4096");
        server_first.clone().into_bytes()
    })
    .await;
    step(dialogue, |message| {
        let message = String::from_utf8(message.to_vec()).unwrap();
        let (without_proof, _) = message.split_once(",p=").unwrap();
        let mut salted = vec![0; bytes];
        pbkdf2::derive(pbkdf2_algorithm, NonZeroU32::new(4096).unwrap(), b"salt", password.as_bytes(), &mut salted);
        let server_key = hmac::sign(&hmac::Key::new(hmac_algorithm, &salted), b"Server Key");
        let auth = format!("{bare},{server_first},{without_proof}");
        let signature = hmac::sign(&hmac::Key::new(hmac_algorithm, server_key.as_ref()), auth.as_bytes());
        format!("v={}", scram::base64_encode(signature.as_ref())).into_bytes()
    })
    .await;
}

#[tokio::test]
async fn scram_is_done_when_both_sides_know_the_password() {
    for mechanism in [ScramMechanism::Sha256, ScramMechanism::Sha512] {
        login(scram(mechanism), async |dialogue| serve_scram(dialogue, mechanism, "pencil").await).await.unwrap();
    }
}

#[tokio::test]
async fn scram_refuses_a_broker_that_only_pretends_to_know_the_password() {
    let mechanism = ScramMechanism::Sha256;
    let error =
        login(scram(mechanism), async |dialogue| serve_scram(dialogue, mechanism, "guess").await).await.unwrap_err();
    assert!(matches!(error, ClientError::Authentication { .. }), "{error:?}");
    assert!(error.to_string().contains("signature is wrong"), "{error}");
}
