//! What to do about a failure of TLS.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError};

use super::Flags;

/// The failure of TLS that an error comes from, if it does.
#[must_use]
pub fn failure<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(failure) = error.downcast_ref::<rustls::Error>() {
            return Some(failure);
        }
        // What an I/O error is made of is not its source: that is the source of what it is made of.
        let within = error.downcast_ref::<io::Error>();
        if let Some(within) = within.and_then(io::Error::get_ref)
            && let Some(failure) = failure(within)
        {
            return Some(failure);
        }
        next = error.source();
    }
    None
}

pub(super) fn no_tls(flags: &Flags) -> String {
    format!(
        "{} does not speak TLS at this address; switch it on there, or {} here",
        flags.peer, flags.off
    )
}

/// What to do about a failure of TLS.
#[must_use]
pub fn advice(failure: &rustls::Error, flags: &Flags) -> String {
    use AlertDescription as Alert;
    use rustls::Error as Tls;
    let peer = flags.peer;
    match failure {
        Tls::InvalidCertificate(wrong) => wrong_certificate(wrong, flags),
        Tls::InvalidMessage(_) => no_tls(flags),
        // OpenSSL says only that the handshake failed when it misses a certificate in TLS 1.2.
        Tls::AlertReceived(Alert::CertificateRequired | Alert::HandshakeFailure) => format!(
            "{peer} wants a certificate from this program; give {} and {}",
            flags.certificate, flags.key
        ),
        Tls::AlertReceived(
            Alert::UnknownCA
            | Alert::BadCertificate
            | Alert::CertificateUnknown
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
            | Alert::UnsupportedCertificate
            | Alert::DecryptError
            | Alert::AccessDenied,
        ) => format!(
            "{peer} does not accept the certificate of {}; give one that its CA has signed and that \
             has not expired",
            flags.certificate
        ),
        Tls::AlertReceived(Alert::ProtocolVersion) | Tls::PeerIncompatible(_) => {
            format!(
                "{peer} speaks neither TLS 1.2 nor 1.3 as this program does; switch them on there"
            )
        }
        _ => format!("the TLS connection to {peer} failed"),
    }
}

fn wrong_certificate(wrong: &CertificateError, flags: &Flags) -> String {
    let peer = flags.peer;
    match wrong {
        CertificateError::UnknownIssuer => format!(
            "the certificate of {peer} is signed by nobody who is trusted here; give the certificate \
             of its CA with {}",
            flags.ca
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!(
                "the certificate of {peer} is not for this host name; use a name that it has, or give \
                 {peer} a certificate for this one"
            )
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => format!(
            "the certificate of {peer} has expired; renew it there, or set this machine's clock"
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => format!(
            "the certificate of {peer} is not valid yet; set this machine's clock, or make another \
             certificate"
        ),
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            format!(
                "{peer} shows a certificate that is a CA's own; give it one that this CA has signed"
            )
        }
        CertificateError::Other(other) if other.to_string().contains("UnsupportedCertVersion") => {
            format!("{peer} shows a certificate of an old form; give it one of X.509 version 3")
        }
        _ => format!("the certificate of {peer} cannot be trusted; give it another one"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use mysql_async::IoError;

    use super::*;

    pub(in super::super) const FLAGS: Flags = Flags {
        peer: "the source",
        on: "--source-db-ssl",
        off: "leave --source-db-ssl out",
        ca: "--source-db-ca",
        certificate: "--source-db-certificate",
        key: "--source-db-key",
    };

    #[test]
    fn a_failure_is_found_within_whatever_it_comes_in() {
        let failure_of_tls = rustls::Error::InvalidCertificate(CertificateError::Expired);
        let inner = io::Error::new(io::ErrorKind::InvalidData, failure_of_tls.clone());
        let outer = mysql_async::Error::Io(IoError::Io(io::Error::other(inner)));
        assert_eq!(failure(&outer), Some(&failure_of_tls));
        let library = mysql_async::Error::from(mysql_async::TlsError::Tls(failure_of_tls.clone()));
        assert_eq!(failure(&library), Some(&failure_of_tls));
        assert_eq!(failure(&io::Error::other("something else")), None);
    }

    #[test]
    fn what_fails_says_what_to_do() {
        use rustls::Error as Tls;
        for (failure, said) in [
            (
                Tls::InvalidCertificate(CertificateError::UnknownIssuer),
                "--source-db-ca",
            ),
            (
                Tls::InvalidCertificate(CertificateError::NotValidForName),
                "name",
            ),
            (Tls::InvalidCertificate(CertificateError::Expired), "renew"),
            (
                Tls::InvalidCertificate(CertificateError::NotValidYet),
                "clock",
            ),
            (
                Tls::InvalidMessage(rustls::InvalidMessage::InvalidContentType),
                "leave --source",
            ),
            (
                Tls::AlertReceived(AlertDescription::CertificateRequired),
                "--source-db-key",
            ),
            (
                Tls::AlertReceived(AlertDescription::UnknownCA),
                "--source-db-certificate",
            ),
            (
                Tls::AlertReceived(AlertDescription::ProtocolVersion),
                "TLS 1.2",
            ),
        ] {
            let advice = advice(&failure, &FLAGS);
            assert!(advice.contains(said), "{failure:?}: {advice}");
        }
    }
}
