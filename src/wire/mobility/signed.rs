//! The octets of a Mobility Header that its authenticator covers: the "MH Data" of return routability (RFC 3775 section
//! 6.2.7) and of the mobile node's own key (RFC 4285 section 5.1). Found in the octets as they came, since what is
//! emitted again need not be what was signed. Called by `protocol::auth` on both ends.

use super::authentication::MessageAuthentication;
use super::header::{CHECKSUM, KIND_OFFSET, cut, minimum_length};
use super::messages::kind;
use super::options::option_kind;
use crate::wire::tlv::{PADN, Tlvs};

/// The "MH Data" of RFC 3775 section 6.2.7: the Mobility Header at the front of `mh` with checksum zero and
/// without the authenticator's octets. `None` when it is not a Binding Update or Binding Acknowledgement
/// whose last option is a Binding Authorization Data option.
pub fn authorization_input(mh: &[u8]) -> Option<Vec<u8>> {
    let kind = kind_of(mh)?;
    if !matches!(kind, kind::BINDING_UPDATE | kind::BINDING_ACKNOWLEDGEMENT) {
        return None;
    }
    let last =
        Tlvs::new(cut(mh)?, minimum_length(kind)).try_fold(None, |_, option| option.map(Some)).ok()??;
    if last.kind != option_kind::BINDING_AUTHORIZATION_DATA {
        return None;
    }
    without_checksum(mh, last.offset + 2)
}

/// The "MH Data" of RFC 4285 section 5.1: the Mobility Header at the front of `mh` with checksum zero, up to and
/// including the SPI. `None` when it is not a Binding Update or Binding Acknowledgement whose last option is an MN-HA
/// authentication option with a whole SPI; padding may follow that option, since some senders fill up the header after it.
pub fn message_authentication_input(mh: &[u8]) -> Option<Vec<u8>> {
    let kind = kind_of(mh)?;
    if !matches!(kind, kind::BINDING_UPDATE | kind::BINDING_ACKNOWLEDGEMENT) {
        return None;
    }
    let options: Vec<_> = Tlvs::new(cut(mh)?, minimum_length(kind)).collect::<Result<_, _>>().ok()?;
    let last = options.iter().rfind(|option| option.kind > PADN)?;
    let proof = Some(last).filter(|option| option.kind == option_kind::MESSAGE_AUTHENTICATION);
    // One that ends within its SPI is none, and what follows it must not be taken for the rest of it.
    let is_proof = proof
        .and_then(|option| MessageAuthentication::parse(option.data))
        .is_some_and(|proof| proof.subtype == MessageAuthentication::MN_HA);
    is_proof.then(|| without_checksum(mh, last.offset + MessageAuthentication::COVERED)).flatten()
}

/// The MH Type of the Mobility Header at the front of `mh`.
fn kind_of(mh: &[u8]) -> Option<u8> {
    mh.get(KIND_OFFSET).copied()
}

/// The first `length` octets of `mh`, the checksum zero: what authenticators cover.
fn without_checksum(mh: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut input = mh.get(..length)?.to_vec();
    input.get_mut(CHECKSUM)?.fill(0);
    Some(input)
}

#[cfg(test)]
mod tests {
    use super::super::header::tests::update;
    use super::super::{MobilityHeader, MobilityOption, align};
    use super::*;

    #[test]
    fn authorization_input_lacks_checksum_and_authenticator() {
        let options = [
            MobilityOption::NonceIndices { home: 1, care_of: 2 },
            MobilityOption::BindingAuthorizationData(vec![0xaa; 12]),
        ];
        let header = MobilityHeader { checksum: 0xbeef, ..update(align(12, &options)) };
        let bytes = header.emit();
        assert_eq!(bytes.len(), 32);
        let mut expected = bytes.get(..20).unwrap().to_vec();
        expected[4..6].fill(0);
        assert_eq!(authorization_input(&bytes), Some(expected));
    }

    #[test]
    fn authorization_input_wants_the_authorization_last() {
        let options = vec![
            MobilityOption::PadN(vec![0; 4]),
            MobilityOption::BindingAuthorizationData(vec![0xaa; 4]),
            MobilityOption::PadN(vec![0; 6]),
        ];
        assert_eq!(authorization_input(&update(options).emit()), None);
        assert_eq!(authorization_input(&update(Vec::new()).emit()), None);
    }

    #[test]
    fn a_proof_that_ends_within_its_spi_covers_nothing() {
        let update = |length: u8| {
            let mut octets = [59, 3, 5, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 9, length].to_vec();
            octets.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            octets
        };
        assert_eq!(update(5).len(), 32);
        assert_eq!(message_authentication_input(&update(5)).map(|input| input.len()), Some(20));
        assert_eq!(message_authentication_input(&update(4)), None);
    }
}
