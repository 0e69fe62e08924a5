//! PDUs that no target should send. Each costs the session, never the bytes.

use super::{assert_reads, config, login, spec, start};
use fakes::target::{Exchange, Pdu, Rule, Spec, Then, When};
use model::ErrorKind;
use san::San;

const READ: When = When::Command(0x88);

fn in_place_of_a_read() -> Vec<(&'static str, Then)> {
    let whole = |exchange: &Exchange| exchange.data_in(0, 0..exchange.data.len(), true);
    vec![
        ("a hang-up", Then::Close),
        (
            "half a PDU",
            Then::last_words(|e| vec![Pdu { lie: Some(4096), ..e.data_in(0, 0..512, true) }]),
        ),
        ("DataSN that skips", Then::instead(move |e| vec![whole(e).with(36, 1)])),
        (
            "a repeated Data-In",
            Then::instead(|e| vec![e.data_in(0, 0..512, false), e.data_in(0, 512..1024, false)]),
        ),
        ("a hole in the data", Then::instead(|e| vec![e.data_in(0, 512..1024, false)])),
        (
            "data within a command out of order",
            Then::instead(|e| {
                let half = e.data.len() / 2;
                vec![e.data_in(0, half..e.data.len(), false), e.data_in(1, 0..half, true)]
            }),
        ),
        (
            "the same bytes twice",
            Then::instead(|e| vec![e.data_in(0, 0..512, false), e.data_in(1, 0..512, false)]),
        ),
        ("an offset far away", Then::instead(move |e| vec![whole(e).with(40, u32::MAX - 511)])),
        (
            "more data than asked for",
            Then::instead(|e| {
                let more = e.data_in(0, 0..e.data.len(), false);
                let end = u32::try_from(e.data.len()).unwrap();
                vec![more, e.data_in(1, 0..512, true).with(40, end)]
            }),
        ),
        ("another command's data", Then::instead(move |e| vec![whole(e).with(16, 0x0bad_0001)])),
        (
            "another command's status",
            Then::instead(|e| vec![e.answer(0x21, 0x80).with(16, 0x0bad_0001)]),
        ),
        (
            "a PDU larger than declared",
            Then::instead(move |e| vec![Pdu { lie: Some(0xff_fff0), ..whole(e) }]),
        ),
        ("an unknown opcode", Then::instead(|e| vec![e.answer(0x3e, 0x80)])),
        ("an initiator's opcode", Then::instead(|e| vec![e.answer(0x01, 0x80)])),
        ("a login response", Then::instead(|e| vec![e.answer(0x23, 0x87)])),
        ("a text response", Then::instead(|e| vec![e.answer(0x24, 0x80)])),
        ("a logout response", Then::instead(|e| vec![e.answer(0x26, 0x80)])),
        ("an answer to no abort", Then::instead(|e| vec![e.answer(0x22, 0x80).byte(2, 255)])),
        ("ready to transfer", Then::instead(|e| vec![e.answer(0x31, 0x80)])),
        (
            "additional headers without end",
            Then::last_words(|e| vec![e.answer(0x21, 0x80).byte(4, 255)]),
        ),
        (
            "sense data longer than its PDU",
            Then::instead(|e| vec![e.answer(0x21, 0x80).byte(3, 2).data([0xff, 0xff, 0x70, 0, 3])]),
        ),
    ]
}

#[tokio::test]
async fn malformed_answers_cost_at_most_the_session() {
    for (what, then) in in_place_of_a_read() {
        eprintln!("{what}");
        let (spec, disk) = spec();
        let target = start(spec).await;
        let (san, lun) = login(&target).await;
        let costs_the_read = what.starts_with("sense data");
        target.rule(Rule::once(READ, then));
        if costs_the_read {
            lun.read(0, 4096).await.unwrap_err();
        }
        assert_reads(&lun, &target, &disk).await;
        assert!(target.arrivals().len() <= 2, "{what}");
        san.logout().await;
    }
}

#[tokio::test]
async fn malformed_logins_are_errors() {
    let faults: Vec<(&str, Then)> = vec![
        ("a hang-up", Then::Close),
        ("an unknown stage", Then::instead(|e| vec![e.answer(0x23, 0x8b)])),
        ("a stage nobody asked for", Then::instead(|e| vec![e.answer(0x23, 0x83)])),
        ("another tag", Then::instead(|e| vec![e.answer(0x23, 0x81).with(16, 7)])),
        ("no login response", Then::instead(|e| vec![e.answer(0x21, 0x80)])),
        ("data before the login", Then::instead(|e| vec![e.answer(0x25, 0x80).data([1; 8])])),
        ("no pairs", Then::instead(|e| vec![e.answer(0x23, 0x81).data(*b"no pairs at all\0")])),
        ("not UTF-8", Then::instead(|e| vec![e.answer(0x23, 0x81).data([0xff, 0xfe, b'=', 0])])),
        ("a text without end", Then::instead(|e| vec![e.answer(0x23, 0x40).data([b'x'; 8192])])),
        (
            "a method nobody offered",
            Then::instead(|e| vec![e.answer(0x23, 0x81).text(&[("AuthMethod", "SRP")])]),
        ),
        ("a redirection to nowhere", Then::LoginStatus(1, 1, String::new())),
        (
            "a length beyond reason",
            Then::instead(|e| vec![Pdu { lie: Some(0xff_ffff), ..e.answer(0x23, 0x81) }]),
        ),
    ];
    for (what, then) in faults {
        let target = start(Spec::default()).await;
        target.rule(Rule::always(When::Login(0), then));
        let error = San::login(vec![config(target.address())]).await.unwrap_err();
        let kind = error.kind();
        let wanted = if what == "a hang-up" { ErrorKind::Retryable } else { ErrorKind::Misbehaved };
        assert_eq!(kind, wanted, "{what}: {}", model::chain(&error));
    }
}

#[tokio::test]
async fn malformed_negotiations_are_errors() {
    for (key, value) in [
        ("HeaderDigest", "CRC64"),
        ("MaxRecvDataSegmentLength", "511"),
        ("MaxRecvDataSegmentLength", "16777216"),
        ("ErrorRecoveryLevel", "2"),
        ("DataPDUInOrder", "No"),
        ("DefaultTime2Wait", "-1"),
        ("InitialR2T", "perhaps"),
    ] {
        let target = start(Spec::default()).await;
        let then = Then::instead(move |e| vec![e.answer(0x23, 0x87).text(&[(key, value)])]);
        target.rule(Rule::always(When::Login(1), then));
        let error = San::login(vec![config(target.address())]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misbehaved, "{key}={value}: {}", model::chain(&error));
    }
}

/// Replies of a device that make no sense leave its LUN out; they are never guessed at.
#[tokio::test]
async fn malformed_replies_of_a_device_leave_it_out() {
    for (opcode, data) in [
        (0x12, vec![0; 8]),
        (0x9e, [&[0xff; 8][..], &[0, 0, 2, 0], &[0; 20]].concat()),
        (0x9e, vec![0; 4]),
    ] {
        let target = start(Spec::default()).await;
        let reply = move |e: &Exchange| {
            let e = Exchange { data: data.clone(), ..e.clone() };
            vec![e.data_in(0, 0..data.len(), true)]
        };
        target.rule(Rule::always(When::Command(opcode), Then::instead(reply)));
        let san = San::login(vec![config(target.address())]).await.unwrap();
        assert!(san.luns().is_empty(), "{opcode:02x}");
        assert_eq!(san.skipped().len(), 1);
        assert_eq!(san.skipped()[0].error.kind(), ErrorKind::Misbehaved);
        san.logout().await;
    }
}
