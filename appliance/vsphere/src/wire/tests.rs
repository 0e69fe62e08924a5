//! The reader against answers in the style of vCenter and of the simulator, and against damage.

use super::parse::{Limits, parse};
use super::*;
use proptest::prelude::*;

/// A document for tests of decoders.
pub(crate) fn parse_fragment(text: &str) -> document::Document {
    parse(text.as_bytes(), Limits::ANSWER).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn envelope(body: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<soapenv:Envelope \
         xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\" \
         xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">\n\
         <soapenv:Body>\n{body}\n</soapenv:Body>\n</soapenv:Envelope>"
    )
}

fn fault(body: &str) -> Fault {
    match open("Login", envelope(body).as_bytes()) {
        Ok(Answer::Fault(fault)) => fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_tree_written_as_xml_is_the_same_tree_when_read_again() {
    let text = "<config xmlns=\"urn:vim25\" xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\" \
        xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"><name>a &lt;b&gt; &amp; \"c\"&#10;\
        d</name><device xsi:type=\"VirtualDisk\"><host type=\"HostSystem\">host-1</host></device>\
        <extra><value xsi:type=\"xsd:string\"> x </value><value/></extra></config>";
    let document = parse_fragment(text);
    let written = document.root().to_xml("config");
    let again = parse_fragment(&written);
    assert_eq!(again.root().render(100_000), document.root().render(100_000));
    assert!(written.contains("<value xsi:type=\"xsd:string\"> x </value>"), "{written}");
    assert_eq!(again.root().to_xml("config"), written);
}

#[test]
fn the_type_attribute_is_known_by_its_namespace_not_its_prefix() {
    let text = "<a xmlns:_XMLSchema-instance=\"http://www.w3.org/2001/XMLSchema-instance\" \
        xmlns:x=\"urn:other\"><b _XMLSchema-instance:type=\"xsd:string\" type=\"Folder\">v</b>\
        <c x:type=\"no\"/></a>";
    let document = parse_fragment(text);
    let b = document.root().child("b").unwrap();
    assert_eq!((b.xsi_type(), b.type_attr(), b.text()), (Some("string"), Some("Folder"), "v"));
    let c = document.root().child("c").unwrap();
    assert_eq!((c.xsi_type(), c.type_attr()), (None, None));
}

#[test]
fn text_survives_references_cdata_comments_and_line_ends() {
    let text =
        "\u{feff}<a>&lt;x&gt; &amp; &#233;&#x20AC;<!-- no --><![CDATA[<raw>&amp;]]>\r\nend</a>";
    assert_eq!(parse_fragment(text).root().text(), "<x> & é€<raw>&amp;\nend");
}

#[test]
fn what_is_not_one_document_is_an_error() {
    for wrong in [
        "",
        "   ",
        "text",
        "<a>",
        "</a>",
        "<a></b>",
        "<a/><b/>",
        "<a/>x",
        "<a b=\"1\" b=\"2\"/>",
        "<a>&nbsp;</a>",
        "<a>&#0;</a>",
        "<a>&#xFFFFFFFF;</a>",
        "<a>&</a>",
        "<p:a/>",
        "<a p:type=\"x\"/>",
        "<!DOCTYPE a [<!ENTITY e \"x\">]><a>&e;</a>",
        "<a type=\"&bogus;\"/>",
        "<a",
        "<a><![CDATA[",
    ] {
        assert!(parse(wrong.as_bytes(), Limits::ANSWER).is_err(), "{wrong}");
    }
    let not_utf8 = parse(b"<a>\xff</a>", Limits::ANSWER).unwrap_err();
    assert_eq!(not_utf8, WireError::NotUtf8 { at: 3 });
}

#[test]
fn depth_elements_attributes_and_size_have_limits() {
    let limits = Limits { bytes: 4000, nodes: 50, depth: 10, attributes: 100 };
    let what = |text: String| match parse(text.as_bytes(), limits) {
        Err(WireError::TooMuch { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(what("<a>".repeat(11)), "levels of elements");
    assert_eq!(what(format!("<a>{}</a>", "<b/>".repeat(50))), "elements");
    assert_eq!(what(format!("<a b=\"{}\"/>", "x".repeat(100))), "bytes of attributes");
    assert_eq!(what("x".repeat(4001)), "bytes");
    assert!(parse(format!("{}{}", "<a>".repeat(10), "</a>".repeat(10)).as_bytes(), limits).is_ok());
}

#[test]
fn bombs_end_quickly() {
    let deep = "<a>".repeat(1_000_000);
    assert!(matches!(
        parse(deep.as_bytes(), Limits::ANSWER),
        Err(WireError::TooMuch { what: "levels of elements", .. })
    ));
    let wide = format!("<a>{}</a>", "<b/>".repeat(1_000_001));
    assert!(matches!(
        parse(wide.as_bytes(), Limits::ANSWER),
        Err(WireError::TooMuch { what: "elements", .. })
    ));
    let long = format!("<a>{}</a>", "x&amp;".repeat(2_000_000));
    assert_eq!(parse_fragment(&long).root().text().len(), 4_000_000);
    let attributes: String = (0..100_000).map(|n| format!(" a{n}=\"\"")).collect();
    assert!(parse(format!("<a{attributes}/>").as_bytes(), Limits::ANSWER).is_err());
    let prefixes: String = (0..1000).map(|n| format!(" xmlns:p{n}=\"u\"")).collect();
    assert!(parse(format!("<a{prefixes}/>").as_bytes(), Limits::ANSWER).is_err());
}

#[test]
fn a_response_is_opened_and_another_method_s_is_refused() {
    let text =
        envelope("<LoginResponse xmlns=\"urn:vim25\"><returnval>a</returnval></LoginResponse>");
    let Ok(Answer::Returned(response)) = open("Login", text.as_bytes()) else { panic!() };
    assert_eq!(response.value().unwrap().text(), "a");
    let other = open("Logout", text.as_bytes()).unwrap_err();
    assert!(matches!(other, WireError::OtherAnswer { .. }), "{other}");
    assert!(open("Login", envelope("").as_bytes()).is_err());
    assert!(open("Login", b"<html><body>503</body></html>").is_err());
    let no_soap = text.replace("schemas.xmlsoap.org", "example.org");
    assert!(open("Login", no_soap.as_bytes()).is_err());
}

#[test]
fn faults_of_all_styles_tell_type_message_and_object() {
    let vcenter = fault(
        "<soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>Cannot complete login \
         due to an incorrect user name or password.</faultstring><detail><InvalidLoginFault \
         xmlns=\"urn:vim25\" xsi:type=\"InvalidLogin\"></InvalidLoginFault></detail>\
         </soapenv:Fault>",
    );
    assert_eq!(vcenter.type_name, "InvalidLogin");
    assert!(vcenter.to_string().starts_with("InvalidLogin: Cannot complete login"));
    assert!(
        vcenter.raw.contains("<InvalidLoginFault xsi:type=\"InvalidLogin\">"),
        "{}",
        vcenter.raw
    );
    let simulator = fault(
        "<soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>gone</faultstring>\
         <detail><Fault xmlns=\"urn:vim25\" xsi:type=\"ManagedObjectNotFound\">\
         <obj type=\"VirtualMachine\">vm-9</obj></Fault></detail></soapenv:Fault>",
    );
    assert!(simulator.is_gone());
    assert_eq!(simulator.object, Some(MoRef::new("VirtualMachine", "vm-9")));
    let untyped = fault(
        "<soapenv:Fault><faultcode>x:Server</faultcode><faultstring/>\
         <detail><FileLockedFault/></detail></soapenv:Fault>",
    );
    assert_eq!(untyped.to_string(), "FileLocked");
    let bare = fault("<soapenv:Fault><faultcode>soapenv:Client</faultcode></soapenv:Fault>");
    assert_eq!(bare.type_name, "Client");
    let nothing = fault("<soapenv:Fault/>");
    assert_eq!(nothing.type_name, "Fault");
}

#[test]
fn a_huge_fault_is_cut() {
    let huge = "é".repeat(1_000_000);
    let fault = fault(&format!(
        "<soapenv:Fault><faultstring>{huge}</faultstring><detail><{0}Fault><a>{huge}</a><b/>\
         </{0}Fault></detail></soapenv:Fault>",
        "T".repeat(10_000)
    ));
    assert!(fault.type_name.chars().count() <= 101);
    assert!(fault.message.chars().count() <= 1001);
    assert!(fault.raw.len() < 30_000, "{}", fault.raw.len());
}

#[test]
fn a_localized_fault_without_its_inner_element_is_tolerated() {
    let document = parse_fragment("<error><localizedMessage>busy</localizedMessage></error>");
    assert_eq!(localized_fault(document.root()).message, "busy");
}

#[test]
fn missing_properties_without_a_session_are_the_fault_they_are() {
    let page = |fault: &str| {
        envelope(&format!(
            "<RetrievePropertiesExResponse xmlns=\"urn:vim25\"><returnval><token>t</token><objects>\
             <obj type=\"VirtualMachine\">vm-1</obj><propSet><name>name</name><val \
             xsi:type=\"xsd:string\">web</val></propSet><missingSet><path>config</path><fault>\
             <fault xsi:type=\"{fault}\"/><localizedMessage/></fault></missingSet></objects>\
             </returnval></RetrievePropertiesExResponse>"
        ))
    };
    let returned = |text: &str| match open("RetrievePropertiesEx", text.as_bytes()) {
        Ok(Answer::Returned(response)) => response,
        other => panic!("{other:?}"),
    };
    let response = returned(&page("NotAuthenticated"));
    assert!(decode_page(&response).unwrap().err().unwrap().is_not_authenticated());
    let response = returned(&page("NoPermission"));
    let page = decode_page(&response).unwrap().ok().unwrap();
    assert_eq!(page.token, Some("t"));
    assert_eq!(page.objects[0].text("name"), Some("web"));
    let missing: Vec<_> = page.objects[0].missing().map(|(path, f)| (path, f.type_name)).collect();
    assert_eq!(missing, [("config", "NoPermission".to_owned())]);
}

#[test]
fn nothing_found_is_an_empty_page() {
    let text = envelope("<RetrievePropertiesExResponse xmlns=\"urn:vim25\"/>");
    let Ok(Answer::Returned(response)) = open("RetrievePropertiesEx", text.as_bytes()) else {
        panic!()
    };
    assert!(decode_page(&response).unwrap().ok().unwrap().objects.is_empty());
}

#[test]
fn the_newest_version_of_vim25_is_taken() {
    let list = "<?xml version=\"1.0\" encoding=\"UTF-8\" ?><namespaces version=\"1.0\">\
        <namespace><name>urn:pbm</name><version>2.0</version></namespace>\
        <namespace><name>urn:vim25</name><version>8.0.2.0</version><priorVersions>\
        <version>8.0.1.0</version></priorVersions></namespace></namespaces>";
    let version = server_version(list.as_bytes()).unwrap();
    assert_eq!(version.soap_action(), "\"urn:vim25/8.0.2.0\"");
    assert_eq!(version.release(), (8, 0));
    assert!(server_version(b"<namespaces/>").is_err());
    for bad in ["", "v8", "8.0\"\r\nX: y", "8 0", &"8".repeat(33)] {
        assert!(ApiVersion::parse(bad).is_none(), "{bad}");
    }
    assert_eq!(ApiVersion::parse("9").unwrap().release(), (9, 0));
}

/// Real-looking answers that the damage is done to.
const SAMPLES: [&str; 3] = [
    include_str!("../../fixtures/vms.xml"),
    include_str!("../../fixtures/datastores.xml"),
    include_str!("../../fixtures/hosts.xml"),
];

/// Pieces of envelopes, whole and broken.
const PARTS: &[&str] = &[
    "<soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\">",
    "<soapenv:Body>",
    "</soapenv:Body>",
    "</soapenv:Envelope>",
    "<soapenv:Fault>",
    "</soapenv:Fault>",
    "<detail>",
    "<LoginResponse>",
    "<a>",
    "</a>",
    "<a/>",
    "&lt;",
    "&x;",
    "<![CDATA[",
    "]]>",
    "<!--",
    "-->",
    "<?x?>",
    "text",
    "\"",
    "'",
    "=",
];

proptest! {
    #[test]
    fn any_bytes_give_a_document_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = open("Login", &bytes);
        let _ = server_version(&bytes);
    }

    #[test]
    fn any_tags_give_a_document_or_an_error(
        parts in prop::collection::vec(
            prop::sample::select(PARTS),
            0..30,
        ),
    ) {
        let _ = open("Login", parts.concat().as_bytes());
    }

    /// Bytes of a whole answer changed or cut: an error or a decodable page, never a panic.
    #[test]
    fn a_damaged_answer_is_no_danger(
        sample in prop::sample::select(&SAMPLES[..]),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = sample.as_bytes().to_vec();
        let (at, cut) = (at.index(bytes.len()), cut.index(bytes.len()));
        bytes[at] = byte;
        for bytes in [&bytes[..], &bytes[..cut]] {
            if let Ok(Answer::Returned(response)) = open("RetrievePropertiesEx", bytes)
                && let Ok(Ok(page)) = decode_page(&response)
            {
                for object in &page.objects {
                    let _ = crate::inventory::decode_vm(object);
                    let _ = crate::inventory::decode_datastore(object);
                    let _ = crate::inventory::decode_luns(object);
                }
            }
        }
    }
}
