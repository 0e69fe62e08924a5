//! The login phase against a scripted target: what must be refused, and all CHAP algorithms.

#![allow(clippy::unwrap_used)] // helpers of tests

mod common;

use common::{SECOND, config, feed, login_response, numbers, pdu, sent, text};
use iscsi::{
    ChapAlgorithm, ChapConfig, Config, ConfigError, Connection, Event, IscsiError, Secret, Time,
};
use model::ErrorKind;
use sha3::Digest;

const SECURITY_MORE: u8 = 0x00;
const TO_OPERATIONAL: u8 = 0x81;
const TO_FULL: u8 = 0x87;

fn chap(algorithms: &[ChapAlgorithm]) -> Config {
    Config {
        chap: Some(ChapConfig {
            user: "user".into(),
            secret: Secret::new("our secret is long"),
            mutual: Some(("them".into(), Secret::new("their secret is long"))),
            algorithms: algorithms.to_vec(),
            challenge: std::array::from_fn(|n| u8::try_from(n * 7).unwrap()),
            identifier: 200,
            answered: Vec::new(),
        }),
        ..config()
    }
}

fn start(config: Config) -> Connection<u32> {
    Connection::new(config, Time::ZERO).unwrap()
}

/// The text of the one login request that is waiting.
fn request(connection: &mut Connection<u32>) -> String {
    let pdus = sent(connection);
    assert_eq!(pdus.len(), 1);
    assert_eq!(pdus[0][0], 0x43, "login request, immediate");
    String::from_utf8(pdus[0][48..].to_vec()).unwrap()
}

fn answer(connection: &mut Connection<u32>, flags: u8, stat: u32, pairs: &[&str]) {
    feed(connection, &login_response(flags, stat, pairs), usize::MAX, SECOND);
}

fn error(connection: &mut Connection<u32>) -> IscsiError {
    match connection.poll_event() {
        Some(Event::Closed(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn hash(number: &str, parts: &[&[u8]]) -> Vec<u8> {
    let message = parts.concat();
    match number {
        "5" => md5::Md5::digest(message).to_vec(),
        "6" => sha1::Sha1::digest(message).to_vec(),
        "7" => sha2::Sha256::digest(message).to_vec(),
        _ => sha3::Sha3_256::digest(message).to_vec(),
    }
}

fn value<'a>(text: &'a str, key: &str) -> &'a str {
    text.split('\0').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('=')).unwrap()
}

/// Brings a mutual login to the target's own answer; returns what it has to prove.
fn up_to_proof(connection: &mut Connection<u32>, number: &str) -> Vec<u8> {
    assert!(request(connection).contains("AuthMethod=CHAP\0"));
    answer(connection, SECURITY_MORE, 0, &["AuthMethod=CHAP", "TargetPortalGroupTag=1"]);
    assert!(value(&request(connection), "CHAP_A").contains(number));
    let challenge = "0x00112233445566778899aabbccddeeff";
    let algorithm = format!("CHAP_A={number}");
    let chap_c = format!("CHAP_C={challenge}");
    answer(connection, SECURITY_MORE, 1, &[&algorithm, "CHAP_I=17", &chap_c]);
    let response = request(connection);
    let challenge = hex::decode(&challenge[2..]).unwrap();
    let wanted = hash(number, &[&[17], b"our secret is long", &challenge]);
    assert_eq!(value(&response, "CHAP_N"), "user");
    assert_eq!(value(&response, "CHAP_R"), format!("0x{}", hex::encode(wanted)));
    let ours = hex::decode(&value(&response, "CHAP_C")[2..]).unwrap();
    hash(number, &[&[200], b"their secret is long", &ours])
}

#[test]
fn mutual_chap_with_every_algorithm() {
    for number in ["5", "6", "7", "8"] {
        let mut connection = start(chap(&ChapAlgorithm::STRONGEST_FIRST));
        let proof = up_to_proof(&mut connection, number);
        let proof = format!("CHAP_R=0x{}", hex::encode(proof));
        answer(&mut connection, TO_OPERATIONAL, 2, &["CHAP_N=them", &proof]);
        assert!(request(&mut connection).contains("MaxRecvDataSegmentLength=8192\0"));
        answer(&mut connection, TO_FULL, 3, &["MaxRecvDataSegmentLength=512", "HeaderDigest=None"]);
        let Some(Event::LoggedIn(agreed)) = connection.poll_event() else { panic!("no login") };
        assert_eq!((agreed.max_send_data, agreed.portal_group), (512, Some(1)));
        assert!(!agreed.header_digest);
    }
}

#[test]
fn a_target_that_cannot_prove_itself_is_refused() {
    let right = |c: &mut Connection<u32>| format!("CHAP_R=0x{}", hex::encode(up_to_proof(c, "5")));
    let cases: [(&str, bool); 4] =
        [("CHAP_N=them", false), ("CHAP_N=other", true), ("X=y", true), ("CHAP_N=them", true)];
    for (number, (name, with_proof)) in cases.into_iter().enumerate() {
        let mut connection = start(chap(&[ChapAlgorithm::Md5]));
        let mut proof = right(&mut connection);
        if number == 3 {
            let last = if proof.ends_with('0') { "1" } else { "0" };
            proof.replace_range(proof.len() - 1.., last);
        }
        let pairs: Vec<&str> = if with_proof { vec![name, &proof] } else { vec![name] };
        answer(&mut connection, TO_OPERATIONAL, 2, &pairs);
        assert_eq!(error(&mut connection), IscsiError::TargetNotAuthentic, "case {number}");
    }
}

#[test]
fn a_target_cannot_talk_us_out_of_chap() {
    // Choosing None, moving on without a challenge, or moving on before its own proof.
    let mut connection = start(chap(&[ChapAlgorithm::Md5]));
    answer(&mut connection, SECURITY_MORE, 0, &["AuthMethod=None"]);
    assert_eq!(error(&mut connection).kind(), ErrorKind::Misbehaved);
    for flags in [TO_OPERATIONAL, TO_FULL] {
        let mut connection = start(chap(&[ChapAlgorithm::Md5]));
        answer(&mut connection, flags, 0, &["AuthMethod=CHAP"]);
        assert_eq!(error(&mut connection).kind(), ErrorKind::Misbehaved);
        let mut connection = start(chap(&[ChapAlgorithm::Md5]));
        answer(&mut connection, SECURITY_MORE, 0, &["AuthMethod=CHAP"]);
        answer(&mut connection, flags, 1, &["CHAP_A=5", "CHAP_I=1", "CHAP_C=0x00"]);
        assert_eq!(error(&mut connection).kind(), ErrorKind::Misbehaved);
    }
}

#[test]
fn a_weaker_algorithm_than_offered_and_our_own_challenge_are_refused() {
    let mut connection = start(chap(&[ChapAlgorithm::Sha256]));
    answer(&mut connection, SECURITY_MORE, 0, &["AuthMethod=CHAP"]);
    answer(&mut connection, SECURITY_MORE, 1, &["CHAP_A=5", "CHAP_I=1", "CHAP_C=0x00"]);
    let chosen = "5".to_owned();
    assert_eq!(error(&mut connection), IscsiError::NoCommonAlgorithm { chosen });
    let mut connection = start(chap(&[ChapAlgorithm::Md5]));
    answer(&mut connection, SECURITY_MORE, 0, &["AuthMethod=CHAP"]);
    let ours: Vec<u8> = (0..16).map(|n| n * 7).collect();
    let reflected = format!("CHAP_C=0x{}", hex::encode(ours));
    answer(&mut connection, SECURITY_MORE, 1, &["CHAP_A=5", "CHAP_I=1", &reflected]);
    assert_eq!(error(&mut connection).kind(), ErrorKind::Misbehaved);
}

#[test]
fn configurations_that_would_be_unsafe_are_not_tried() {
    let with = |change: fn(&mut ChapConfig)| {
        let mut config = chap(&[ChapAlgorithm::Md5]);
        change(config.chap.as_mut().unwrap());
        config.check().unwrap_err()
    };
    let short = with(|chap| chap.secret = Secret::new("elevenbytes"));
    assert_eq!(short, ConfigError::ShortSecret { whose: "our", min: 12 });
    let same = with(|chap| chap.mutual.as_mut().unwrap().1 = chap.secret.clone());
    assert_eq!(same, ConfigError::SameSecret);
    assert_eq!(with(|chap| chap.algorithms.clear()), ConfigError::NoAlgorithm);
    for name in ["", "them", "iqn.a b", "iqn.a\0TargetName=iqn.b"] {
        let config = Config { target: Some(name.into()), ..config() };
        assert!(config.check().is_err(), "{name:?}");
    }
}

#[test]
fn statuses_say_what_to_do() {
    for (status, kind) in [
        (0x0201, ErrorKind::Refused),
        (0x0202, ErrorKind::Refused),
        (0x0203, ErrorKind::NotFound),
        (0x0206, ErrorKind::Busy),
        (0x0301, ErrorKind::Retryable),
        (0x7700, ErrorKind::Misbehaved),
    ] {
        let mut connection = start(config());
        let fields = [&numbers(0, 1, 1)[..], &[(16, 0xf000), (36, status << 16)]].concat();
        feed(&mut connection, &pdu(0x23, 0, &fields, &[]), usize::MAX, SECOND);
        assert_eq!(error(&mut connection).kind(), kind, "{status:04x}");
    }
    let mut connection = start(config());
    let fields = [&numbers(0, 1, 1)[..], &[(16, 0xf000), (36, 0x0101 << 16)]].concat();
    let elsewhere = text(&["TargetAddress=10.0.0.2:3260,1"]);
    feed(&mut connection, &pdu(0x23, 0, &fields, &elsewhere), usize::MAX, SECOND);
    let IscsiError::Redirected { address, permanent } = error(&mut connection) else { panic!() };
    assert_eq!((address.portal.as_str(), permanent), ("10.0.0.2:3260", false));
}

#[test]
fn a_target_that_hangs_up_is_said_to_want_chap_where_there_is_none() {
    for (config, said) in [(config(), "may want CHAP"), (chap(&[ChapAlgorithm::Md5]), "secret")] {
        let mut connection = start(config);
        request(&mut connection);
        connection.received(0, SECOND);
        let error = error(&mut connection);
        assert_eq!(error.kind(), ErrorKind::Retryable, "it may come back");
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[test]
fn redirections_name_a_portal() {
    for (detail, texts, wanted) in [
        (1, &["TargetAddress=10.0.0.2"][..], Some(("10.0.0.2:3260", false))),
        (2, &["TargetAddress=[fd00::2]:3261,9"], Some(("[fd00::2]:3261", true))),
        (2, &["TargetAlias=x", "TargetAddress=a:1", "TargetAddress=b:2"], Some(("a:1", true))),
        (1, &["TargetAlias=x"], None),
        (1, &[], None),
    ] {
        let mut connection = start(config());
        let fields = [&numbers(0, 1, 1)[..], &[(16, 0xf000), (36, (0x100 + detail) << 16)]];
        let bytes = pdu(0x23, 0, &fields.concat(), &text(texts));
        feed(&mut connection, &bytes, usize::MAX, SECOND);
        match (error(&mut connection), wanted) {
            (IscsiError::Redirected { address, permanent }, Some(wanted)) => {
                assert_eq!((address.portal.as_str(), permanent), wanted);
            }
            (error, wanted) => {
                assert!(wanted.is_none() && error.kind() == ErrorKind::Misbehaved, "{error:?}");
            }
        }
    }
}

#[test]
fn a_challenge_is_answered_once() {
    let answered = |answered: Vec<Vec<u8>>| {
        let mut config = chap(&[ChapAlgorithm::Md5]);
        config.chap.as_mut().unwrap().answered = answered;
        let mut connection = start(config);
        answer(&mut connection, SECURITY_MORE, 0, &["AuthMethod=CHAP"]);
        answer(&mut connection, SECURITY_MORE, 1, &["CHAP_A=5", "CHAP_I=1", "CHAP_C=0x0102"]);
        connection
    };
    let first = answered(vec![vec![9, 9]]);
    assert_eq!(first.challenge(), Some(&[1, 2][..]));
    let mut again = answered(vec![vec![9, 9], vec![1, 2]]);
    assert_eq!(error(&mut again), IscsiError::ChallengeRepeated);
    // In the same login there is no second challenge, whatever it is.
    let mut second = answered(Vec::new());
    sent(&mut second);
    answer(&mut second, SECURITY_MORE, 2, &["CHAP_A=5", "CHAP_I=2", "CHAP_C=0x0304"]);
    assert_eq!(error(&mut second), IscsiError::TargetNotAuthentic);
    assert!(sent(&mut second).is_empty());
}

#[test]
fn an_answer_to_another_login_is_refused() {
    let mut connection = start(config());
    let fields = [&numbers(0, 1, 1)[..], &[(16, 0xf001)]].concat();
    let bytes = pdu(0x23, TO_OPERATIONAL, &fields, &text(&["AuthMethod=None"]));
    feed(&mut connection, &bytes, usize::MAX, SECOND);
    assert_eq!(error(&mut connection).kind(), ErrorKind::Misbehaved);
}

#[test]
fn a_key_may_be_negotiated_once_in_a_login() {
    let mut connection = start(config());
    answer(&mut connection, TO_OPERATIONAL, 0, &["AuthMethod=None"]);
    sent(&mut connection);
    let information = ["TargetAlias=array", "TargetPortalGroupTag=2"];
    answer(&mut connection, 0x04, 1, &[information[0], information[1], "InitialR2T=No"]);
    sent(&mut connection);
    answer(&mut connection, 0x04, 2, &information); // what only informs may be repeated
    assert_eq!(sent(&mut connection).len(), 1);
    answer(&mut connection, TO_FULL, 3, &["InitialR2T=No"]);
    assert_eq!(error(&mut connection).kind(), ErrorKind::Misbehaved);
}

#[test]
fn what_a_target_asks_is_answered() {
    let discovery = Config { target: None, ..config() };
    for (config, question, wanted) in [
        (config(), "iSCSIProtocolLevel=2", "iSCSIProtocolLevel=1\0"),
        (config(), "TaskReporting=FastAbort", "TaskReporting=RFC3720\0"),
        (config(), "IFMarker=No", "IFMarker=NotUnderstood\0"),
        (discovery.clone(), "InitialR2T=Yes", "InitialR2T=Irrelevant\0"),
        (discovery, "MaxBurstLength=1024", "MaxBurstLength=Irrelevant\0"),
    ] {
        let mut connection = start(config);
        answer(&mut connection, TO_OPERATIONAL, 0, &["AuthMethod=None"]);
        sent(&mut connection);
        answer(&mut connection, 0x04, 1, &[question]);
        assert_eq!(request(&mut connection).trim_end_matches('\0'), wanted.trim_end_matches('\0'));
    }
}

#[test]
fn what_we_offer_is_what_the_standard_names() {
    let mut connection = start(config());
    let first = request(&mut connection);
    for key in ["InitiatorName", "InitiatorAlias", "SessionType", "TargetName", "AuthMethod"] {
        assert!(!value(&first, key).is_empty());
    }
    answer(&mut connection, TO_OPERATIONAL, 0, &["AuthMethod=None"]);
    let second = request(&mut connection);
    for (key, wanted) in [
        ("HeaderDigest", "None,CRC32C"),
        ("DataDigest", "None,CRC32C"),
        ("MaxConnections", "1"),
        ("ErrorRecoveryLevel", "0"),
        ("MaxRecvDataSegmentLength", "8192"),
        ("InitialR2T", "No"),
        ("ImmediateData", "Yes"),
        ("MaxBurstLength", "1048576"),
        ("FirstBurstLength", "262144"),
        ("MaxOutstandingR2T", "1"),
        ("DefaultTime2Wait", "0"),
        ("DefaultTime2Retain", "0"),
        ("DataPDUInOrder", "Yes"),
        ("DataSequenceInOrder", "Yes"),
    ] {
        assert_eq!(value(&second, key), wanted, "{key}");
    }
    // A declined key leaves its default.
    let declined = ["MaxBurstLength=Reject", "InitialR2T=Irrelevant", "HeaderDigest=NotUnderstood"];
    answer(&mut connection, TO_FULL, 1, &declined);
    assert!(matches!(connection.poll_event(), Some(Event::LoggedIn(a)) if !a.header_digest));
}

#[test]
fn text_may_come_in_parts_but_not_for_ever() {
    let mut connection = start(config());
    request(&mut connection);
    answer(&mut connection, TO_OPERATIONAL, 0, &["AuthMethod=None"]);
    request(&mut connection);
    // C bit: more follows; the value is cut in two.
    let fields = [&numbers(1, 1, 1)[..], &[(16, 0xf000)]].concat();
    feed(&mut connection, &pdu(0x23, 0x44, &fields, b"MaxRecvDataSegm"), usize::MAX, SECOND);
    assert_eq!(request(&mut connection), "", "an empty request asks for the rest");
    answer(&mut connection, TO_FULL, 2, &["entLength=4096"]);
    assert!(matches!(connection.poll_event(), Some(Event::LoggedIn(a)) if a.max_send_data == 4096));

    // Both the end and more to come.
    let mut connection = start(config());
    answer(&mut connection, 0x81 | 0x40, 0, &["AuthMethod=None"]);
    assert_eq!(error(&mut connection).kind(), ErrorKind::Misbehaved);

    let mut connection = start(config());
    for stat in 0..40 {
        let fields = [&numbers(stat, 1, 1)[..], &[(16, 0xf000)]].concat();
        feed(&mut connection, &pdu(0x23, 0x40, &fields, &[b'x'; 8192]), usize::MAX, SECOND);
    }
    assert_eq!(error(&mut connection).kind(), ErrorKind::Misbehaved);
}

#[test]
fn unknown_keys_are_answered_and_wrong_values_refused() {
    let operational = |pairs: &[&str], flags: u8| {
        let mut connection = start(config());
        answer(&mut connection, TO_OPERATIONAL, 0, &["AuthMethod=None"]);
        sent(&mut connection);
        answer(&mut connection, flags, 1, pairs);
        connection
    };
    let mut connection = operational(&["X-com.example.key=7", "HeaderDigest=CRC32C"], 0x04);
    assert_eq!(request(&mut connection), "X-com.example.key=NotUnderstood\0");
    answer(&mut connection, TO_FULL, 2, &[]);
    assert!(matches!(connection.poll_event(), Some(Event::LoggedIn(a)) if a.header_digest));
    for wrong in [
        "HeaderDigest=CRC64",
        "MaxRecvDataSegmentLength=511",
        "MaxRecvDataSegmentLength=16777216",
        "MaxRecvDataSegmentLength=Reject",
        "DataPDUInOrder=No",
        "DataSequenceInOrder=perhaps",
        "ErrorRecoveryLevel=2",
        "MaxBurstLength=1",
        "no pair",
    ] {
        let mut connection = operational(&[wrong], TO_FULL);
        assert_eq!(error(&mut connection).kind(), ErrorKind::Misbehaved, "{wrong}");
    }
    let mut twice = operational(&["InitialR2T=No", "InitialR2T=No"], TO_FULL);
    assert_eq!(error(&mut twice).kind(), ErrorKind::Misbehaved);
}
