//! Every decoder is total: arbitrary bytes give a value or an error, and values keep their
//! invariants.

use proptest::prelude::*;
use scsi::{Capacity, Designators, Inquiry, LunList, Sense, SerialNumber, SupportedPages, advise};

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = Inquiry::decode(&bytes);
        let _ = SupportedPages::decode(&bytes);
        let _ = SerialNumber::decode(&bytes);
        if let Ok(page) = Designators::decode(&bytes) {
            let total: usize = page.0.iter().map(|designator| designator.bytes.len() + 4).sum();
            prop_assert!(total + 4 <= bytes.len());
            let _ = page.naa_names();
        }
        if let Ok(sense) = Sense::decode(&bytes) {
            let _ = advise(scsi::Status::CheckCondition, Some(&sense));
            let _ = sense.to_string();
        }
        if let Ok(list) = LunList::decode(&bytes) {
            prop_assert!(list.luns.len() * 8 + 8 <= bytes.len().max(8));
        }
        if let Ok(capacity) = Capacity::decode(&bytes) {
            let product = capacity.blocks().checked_mul(capacity.block_size().into());
            prop_assert_eq!(product, Some(capacity.bytes()));
        }
    }

    /// Pages with a right header reach the parts behind it.
    #[test]
    fn arbitrary_page_bodies_never_panic(
        page in prop::sample::select(vec![0x00u8, 0x80, 0x83]),
        length in 0u16..300,
        body in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut bytes = vec![0, page];
        bytes.extend(length.to_be_bytes());
        bytes.extend(&body);
        let fits = usize::from(length) <= body.len();
        prop_assert_eq!(SupportedPages::decode(&bytes).is_ok(), page == 0x00 && fits);
        prop_assert_eq!(SerialNumber::decode(&bytes).is_ok(), page == 0x80 && fits);
        if let Ok(list) = Designators::decode(&bytes) {
            prop_assert!(page == 0x83 && fits);
            let _ = list.naa_names();
        }
    }

    #[test]
    fn sense_with_a_known_response_code_never_panics(
        code in 0x70u8..=0x73,
        rest in prop::collection::vec(any::<u8>(), 0..252),
    ) {
        let mut bytes = vec![code];
        bytes.extend(&rest);
        let needed = if code < 0x72 { 2 } else { 3 };
        prop_assert_eq!(Sense::decode(&bytes).is_ok(), rest.len() >= needed);
    }
}
