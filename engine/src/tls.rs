//! The client's side of TLS: whom to believe, who we are, and what to speak.

use crate::error::Error;
use crate::plan;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::fmt;
use std::sync::Arc;

/// Everything a connection needs to shake hands.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    server_name: ServerName<'static>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tls({:?})", self.server_name)
    }
}

fn refuse<T>(field: &str, message: impl fmt::Display) -> Result<T, Error> {
    Err(Error::Plan { path: format!("transport.tls.{field}"), message: message.to_string() })
}

impl Tls {
    /// For connections to `endpoint`, host:port, that speak `protocol`, an ALPN name.
    pub fn new(tls: &plan::Tls, endpoint: &str, protocol: &[u8]) -> Result<Tls, Error> {
        let host = endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host).trim_matches(['[', ']']);
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone());
        let builder = builder.with_safe_default_protocol_versions().or_else(|e| refuse("verify", e))?;
        let builder = if tls.verify {
            builder.with_root_certificates(roots(&tls.roots)?)
        } else {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        };
        let mut config = match &tls.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = certificates("identity.chain", &identity.chain)?;
                let key = key(&identity.key)?;
                builder.with_client_auth_cert(chain, key).or_else(|e| refuse("identity", e))?
            }
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        let name = tls.server_name.as_deref().unwrap_or(host);
        match ServerName::try_from(name.to_owned()) {
            Ok(server_name) => Ok(Tls { config: Arc::new(config), server_name }),
            Err(_) => refuse("server_name", format!("expected a host name or an address, got {name:?}")),
        }
    }

    pub fn connection(&self) -> Result<ClientConnection, rustls::Error> {
        ClientConnection::new(self.config.clone(), self.server_name.clone())
    }
}

fn certificates(field: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    match CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>() {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => refuse(field, "expected at least one PEM certificate, found none"),
        Err(error) => refuse(field, format!("expected PEM certificates: {error}")),
    }
}

fn roots(pem: &str) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    // A system's bundle may hold certificates that rustls does not understand; the others are still good.
    let (added, _) = store.add_parsable_certificates(certificates("roots", pem)?);
    if added == 0 { refuse("roots", "expected at least one usable CA certificate, found none") } else { Ok(store) }
}

fn key(pem: &str) -> Result<PrivateKeyDer<'static>, Error> {
    let labelled = match PrivateKeyDer::from_pem_slice(pem.as_bytes()) {
        Ok(labelled) => labelled,
        Err(_) => return refuse("identity.key", "expected an unencrypted PEM private key"),
    };
    // The content decides: what was wrapped into PEM from DER carries a general label.
    match PrivateKeyDer::try_from(labelled.secret_der().to_vec()) {
        Ok(key) => Ok(key),
        Err(error) => refuse("identity.key", error),
    }
}

/// Believes everybody; signatures are still checked.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
