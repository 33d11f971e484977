//! When a certificate expires.

use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage};

/// The last moment at which a certificate holds (`notAfter`). webpki does not show it, but says it of a certificate that is
/// expired, as all are at the end of time: that is what it looks at first, before anything that it would need an issuer for.
///
/// `None` for what it cannot read, such as a certificate of version 1, or one that would begin after its end.
pub(super) fn expiry(certificate: &CertificateDer<'_>) -> Option<UnixTime> {
    let end_of_time = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX));
    let read = EndEntityCert::try_from(certificate).ok()?;
    match read.verify_for_usage(&[], &[], &[], end_of_time, KeyUsage::server_auth(), None, None) {
        Err(Error::CertExpired { not_after, .. }) => Some(not_after),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn it_is_read_of_every_certificate_whatever_that_is_for() {
        let key = KeyPair::generate().unwrap();
        let kinds: [fn(&mut CertificateParams); 4] = [
            |_| {},
            |params| params.is_ca = IsCa::ExplicitNoCa,
            |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
            |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
        ];
        // Until 2049 years have two digits; the last date is that of certificates that are to have no end (RFC 5280, 4.1.2.5).
        for (year, month, day) in [(1999, 12, 31), (2049, 12, 31), (2050, 1, 1), (9999, 12, 31)] {
            for kind in kinds {
                let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
                params.not_before = date_time_ymd(1990, 1, 1);
                params.not_after = date_time_ymd(year, month, day);
                kind(&mut params);
                let read = expiry(params.self_signed(&key).unwrap().der()).unwrap();
                assert_eq!(i64::try_from(read.as_secs()), Ok(params.not_after.unix_timestamp()), "{year}");
            }
        }
        assert_eq!(expiry(&CertificateDer::from_slice(b"none")), None);
    }
}
