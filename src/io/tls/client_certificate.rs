//! The certificate that the gateway shows to servers that ask who it is, and how such a pair of
//! certificate and key is read, also that of the listener.
//!
//! Read and checked as a pair: a key that does not belong to its certificate would only show as
//! an alert of the server, long after it was put there.

use std::path::Path;
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, SignatureScheme};

use crate::core::endpoint::ClientCertificate;
use crate::io::tls::roots;
use crate::io::tls::verifier;

/// What is shown to a server that asks for a certificate, and remembers that one was asked for.
#[derive(Debug)]
pub(super) struct Own(Option<Arc<CertifiedKey>>);

impl Own {
    /// Reads certificate and key; without a certificate there is nothing to show.
    ///
    /// # Errors
    /// Names the file that is wrong and says what to do.
    pub(super) fn read(
        files: Option<&ClientCertificate>,
        provider: &CryptoProvider,
    ) -> Result<Self, String> {
        let names = ("client_certificate", "client_key");
        let pair = files.map(|files| read_pair(files, names, provider));
        let pair = pair.transpose()?;
        Ok(Self(pair.map(Arc::new)))
    }

    /// Returns the certificate itself.
    pub(super) fn leaf(&self) -> Option<&CertificateDer<'static>> {
        self.0.as_ref()?.cert.first()
    }
}

impl ResolvesClientCert for Own {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let own = self.0.as_ref();
        // The server's list of issuers is a hint, which many leave empty or out of date.
        let usable = own.filter(|own| own.key.choose_scheme(schemes).is_some());
        verifier::note_asked(usable.is_some());
        usable.cloned()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

/// Reads a certificate with its chain, and its key; `names` are those of their keys in bridge.toml.
///
/// # Errors
/// Names the file that is wrong and says what to do.
pub(super) fn read_pair(
    files: &ClientCertificate,
    names: (&str, &str),
    provider: &CryptoProvider,
) -> Result<CertifiedKey, String> {
    let (certificate_name, key_name) = names;
    let chain = read_chain(certificate_name, &files.chain)?;
    let key = read_key(key_name, &files.key)?;
    let (shown, of) = (files.key.display(), files.chain.display());
    CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => format!(
            "{key_name} `{shown}` is not the key of the first certificate in `{of}`; name the two \
             that belong together"
        ),
        Error::InvalidCertificate(_) => format!(
            "{certificate_name} `{of}`: the first certificate is malformed; export it again"
        ),
        _ => format!(
            "{key_name} `{shown}` is a kind of key that can not be used; use ECDSA P-256 or P-384, \
             Ed25519, or RSA of 2048 to 4096 bits"
        ),
    })
}

fn read_chain(name: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = roots::read(name, file)?;
    let shown = file.display();
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        _ => Err(format!(
            "{name} `{shown}` holds no certificate; expected PEM with BEGIN CERTIFICATE"
        )),
    }
}

fn read_key(name: &str, file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let text = roots::read(name, file)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| {
        let shown = file.display();
        let encrypted = text
            .windows(b"ENCRYPTED".len())
            .any(|part| part == b"ENCRYPTED");
        match encrypted {
            true => format!(
                "{name} `{shown}` is encrypted; decrypt it with \
                 `openssl pkey -in <file> -out <file>`"
            ),
            false => format!(
                "{name} `{shown}` holds no key; expected PEM with BEGIN PRIVATE KEY, BEGIN RSA \
                 PRIVATE KEY or BEGIN EC PRIVATE KEY"
            ),
        }
    })
}

#[cfg(test)]
mod tests {
    use rustls::crypto::ring::default_provider;

    use super::*;
    use crate::io::http::support::certificates::TemporaryFile;

    /// `openssl genrsa -traditional`, and a certificate for it: rcgen makes no RSA keys.
    const PKCS1: &str = "\
-----BEGIN RSA PRIVATE KEY-----\n\
MIIEoAIBAAKCAQEAphxKUiywqhJNu2BO9s3Jr115h1G/JduX4keP9iH1Lr/82Rt2\n\
bScxqR0oGGl7UaGpwWBN9Xm94Xtd66vcvX0f5MZG1N5AnnM3SBQDbElRwWJXmxgc\n\
rt4AlRmV+9E94EvttOP3ERSQZ6PIv8sBk7M2GxT77yvs5YlrLj9N1tX99DpkSfc8\n\
sUR8oKHR+mt1y8S9zcUlg89tu0DQ9dnTlZpxr/Cr4KeZM2aIF4+MDQatQaSveSa9\n\
DLsJzWmW7bPA59aVnvp/w/8icxVBsyveTPfXj2zSI2bZnpSvZYSObVi5byDgbkrB\n\
+YGUrN0hmjcqAYyu6ptrtuHN/rfWS6S9UDgtTQIDAQABAoIBADVQwT4M4AtGYrKw\n\
n8exl3l07CvVvh99kwtq4rcigRqnPpXErcctHFBmblcfjBhQZjcOHRecIqj7utKI\n\
0An13kXEqjlquJzi6Cx3V/3qrpX+ZZX/MD2kPdWdZ7lymISkekBkJwnRauQI+scs\n\
dm4cyFH68z36AEhQShmG8gnxl1hK3TJdoZo7FXncNiuMVROcCls2V6vNLW3CCjFV\n\
1K65Y+2Rh9xfh68bmYcdrI9l6vvpPLCyKRnPfxBFkI4Oma9ugbHI7+yrE34CDjmT\n\
7SDuo38WBowgZiiukf0C0mlWhEG+BUevuordginQiIxtctP7huclxk3D5vExK1Xa\n\
yxCfLVUCgYEA1NTmCO73KrV/i+c6aCHnL5L5WrPnYxIDbuHLd6ulUN18EN28AFcU\n\
JgXJjN2m/Nx0wwvU3RHfaLLn3blr+l1jSGXh7MndAdCPmWcevZqwVfn1SCs6IN4X\n\
QezKnY4ZRtlTLCwr7JHpxzrEi1eursfghP2mfsbtsju2si3VVO6RgnsCgYEAx81v\n\
4vyyzHLcE2B6d/JQLMSHoN80yLlJW/PBkJ3CUmdpvpYHYYb05WbEgPqyBAfpgvw8\n\
eFOk9lvKy59QuUl+6RVImes8qzEEJsxrrnf8p39SsSrzCy39DFvJtVVigK/xFSYU\n\
iOuBTKtAPsTTxnTHYLIIV/rRq5y9ca1COOmjSNcCgYA0NCBUcqDntesaGtZlsmMt\n\
dSR6jgQkdceny/SHXu/GvPzweiLiBnnntaWxSrDp9v0g1mcY7ohY+wEKjq+gkoWG\n\
vY7D8OOnzUtbukJ9CVNVU2FJmWjBpRgZUIaGTNOAYFAZVqBTf5rTBmQtNY2gS2CT\n\
3k+Xax3kiOcQH1PjaD0CvwJ/Xm+7co399KRVYNM5D3h4bLB3apIVYMoy4kNUOgZW\n\
0pwOXwaKdo5TMhpgxpW3jjAvLroJ2tWuIsNAFv42KV2TnpdwuU92XXPNgokcXFpa\n\
ENEdRKAIQEB8WlsH+61f4XNHf7d//TdS5eoLc5+UeTi5A/sh9nOWpoZvBEvgAQZt\n\
JwKBgCAzy7y3iTt1FWdxWNYc3fw37Qp4iX7SYXBCxo0AeuHboirazwHjRLzFH3Vv\n\
5j3l/pxJTiVVefg0tx7N3aei+AxPxE2jsMEBaG7hgVI0fBcvPouXQ4LpGxBwEy56\n\
XNR9cjuFHG4M/NcBA/K3TybyUM24CIyBx/XqcQCUXvi9LdXk\n\
-----END RSA PRIVATE KEY-----\n\
";
    const CHAIN: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIDATCCAemgAwIBAgIUPoMBRltg6pYMtGiVYss+Ir2EVM4wDQYJKoZIhvcNAQEL\n\
BQAwEjEQMA4GA1UEAwwHZ2F0ZXdheTAgFw0yNjExMjMxNzQxNTNaGA8yMDg5MTEx\n\
MjE3NDE1M1owEjEQMA4GA1UEAwwHZ2F0ZXdheTCCASIwDQYJKoZIhvcNAQEBBQAD\n\
ggEPADCCAQoCggEBAKYcSlIssKoSTbtgTvbNya9deYdRvyXbl+JHj/Yh9S6//Nkb\n\
dm0nMakdKBhpe1GhqcFgTfV5veF7Xeur3L19H+TGRtTeQJ5zN0gUA2xJUcFiV5sY\n\
HK7eAJUZlfvRPeBL7bTj9xEUkGejyL/LAZOzNhsU++8r7OWJay4/TdbV/fQ6ZEn3\n\
PLFEfKCh0fprdcvEvc3FJYPPbbtA0PXZ05Waca/wq+CnmTNmiBePjA0GrUGkr3km\n\
vQy7Cc1plu2zwOfWlZ76f8P/InMVQbMr3kz3149s0iNm2Z6Ur2WEjm1YuW8g4G5K\n\
wfmBlKzdIZo3KgGMruqba7bhzf631kukvVA4LU0CAwEAAaNNMEswHQYDVR0OBBYE\n\
FADMDjUhIVSm8aIY5w1VGXLDwVvNMB8GA1UdIwQYMBaAFADMDjUhIVSm8aIY5w1V\n\
GXLDwVvNMAkGA1UdEwQCMAAwDQYJKoZIhvcNAQELBQADggEBAI7A9vaM+XSSYBJu\n\
0dN+ddafzurTD91aQ2H5weuI+GYjT/ow4WBnechRIloFZPJ4qhOMOCTq/3W/47WS\n\
S5rz+9t+1HGUh/Je1onpdG7X4rpu/23tSBRVHKzbp/q56VgL6KiDq3tARLKSkczK\n\
+dChb8/dymO9FhvYPJvY7ozifKBcu36R03fJV7LyzxC8qrAcjl1ISUHXB9OIAOWf\n\
n+OIAVfEnuPIDU5/Zn+7noKcR89JqdC4BUd6GQuQl1pGPGL0AKI1e0rA0IpwMO7F\n\
DoUDd1S5Eg31qzh2jYlSvkQTLVKjJJULn1jtWlbrQ2b7FyX0QKQYcFoAwqAkHJpq\n\
rAxTV6E=\n\
-----END CERTIFICATE-----\n\
";

    #[test]
    fn an_rsa_key_as_pkcs1_belongs_to_its_certificate() {
        let (chain, key) = (
            TemporaryFile::new("own.pem", CHAIN.as_bytes()),
            TemporaryFile::new("own.key", PKCS1.as_bytes()),
        );
        let files = ClientCertificate {
            chain: chain.path().to_owned(),
            key: key.path().to_owned(),
        };
        let own = Own::read(Some(&files), &default_provider()).unwrap();
        let pss = [SignatureScheme::RSA_PSS_SHA256];
        assert!(own.resolve(&[], &pss).is_some());
        assert!(verifier::take_witness().shown);
        let ed25519 = [SignatureScheme::ED25519];
        assert!(own.resolve(&[], &ed25519).is_none());
        let witness = verifier::take_witness();
        assert_eq!((witness.asked, witness.shown), (true, false));
    }
}
