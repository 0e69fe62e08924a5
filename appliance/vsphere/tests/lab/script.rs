//! A SOAP server that says what a test wants, for what neither simulator nor lab would do: old
//! servers, odd pages, tasks that are forgotten.

use crate::impostor::{Answer, certificate, serve};
use crate::site::told;
use model::ErrorKind;
use std::sync::{Arc, Mutex};
use vsphere::{Client, MoRef, VsphereError};

/// What was asked, in order: (method, whole request).
type Log = Arc<Mutex<Vec<(String, String)>>>;

const CONTENT: &str = "<returnval><rootFolder type=\"Folder\">root</rootFolder>\
    <propertyCollector type=\"PropertyCollector\">pc</propertyCollector>\
    <viewManager type=\"ViewManager\">views</viewManager><about><fullName>Old Server</fullName>\
    <apiType>HostAgent</apiType><apiVersion>7.0.3.0</apiVersion></about>\
    <sessionManager type=\"SessionManager\">sm</sessionManager></returnval>";

/// A client of a server that answers each method with what `say` returns: the inside of its
/// response. Connecting is answered already, and every call that has nothing to say.
async fn client(say: impl Fn(&str, &str) -> String + Send + Sync + 'static) -> (Client, Log) {
    let log = Log::default();
    let asked = Arc::clone(&log);
    let answer = move |request: &str| {
        let Some((_, call)) = request.split_once("<soapenv:Body><") else {
            return (404, String::new()); // vimServiceVersions.xml
        };
        let method = call.split([' ', '>']).next().unwrap().to_owned();
        asked.lock().unwrap().push((method.clone(), request.to_owned()));
        let inside = match method.as_str() {
            "RetrieveServiceContent" => CONTENT.to_owned(),
            "Login" => "<returnval><key>k</key></returnval>".to_owned(),
            "CreateContainerView" => {
                "<returnval type=\"ContainerView\">session[1]/v</returnval>".into()
            }
            "CreatePropertyCollector" => {
                "<returnval type=\"PropertyCollector\">session[1]/pc</returnval>".into()
            }
            "RemoveSnapshot_Task" | "CreateSnapshot_Task" => {
                "<returnval type=\"Task\">task-1</returnval>".into()
            }
            _ => say(&method, request),
        };
        let body = format!(
            "<e:Envelope xmlns:e=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"><e:Body>\
             <{method}Response xmlns=\"urn:vim25\">{inside}</{method}Response></e:Body>\
             </e:Envelope>"
        );
        (200, body)
    };
    let (certificate, key) = certificate();
    let config = serve(&certificate, &key, true, Answer::Soap(Arc::new(answer))).await;
    (Client::connect(config).await.unwrap(), log)
}

fn update(version: &str, kind: &str, state: &str) -> String {
    format!(
        "<returnval><version>{version}</version><filterSet><filter type=\"PropertyFilter\">f\
         </filter><objectSet><kind>{kind}</kind><obj type=\"Task\">task-1</obj><changeSet>\
         <name>info.state</name><op>assign</op><val xsi:type=\"TaskInfoState\">{state}</val>\
         </changeSet></objectSet></filterSet></returnval>"
    )
}

fn task_info(inside: &str) -> String {
    format!("<returnval><objects><obj type=\"Task\">task-1</obj>{inside}</objects></returnval>")
}

const GONE: &str = "<missingSet><path>info</path><fault><fault xsi:type=\"ManagedObjectNotFound\">\
    <obj type=\"Task\">task-1</obj></fault><localizedMessage/></fault></missingSet>";
const SUCCESS: &str = "<propSet><name>info</name><val><state>success</state></val></propSet>";

fn snapshot() -> MoRef {
    MoRef::new("VirtualMachineSnapshot", "snapshot-1")
}

#[tokio::test]
async fn a_server_without_a_version_list_is_asked_in_its_own_version() {
    let (client, log) = client(|_, _| String::new()).await;
    assert_eq!(client.about().api_version, "7.0.3.0");
    assert_eq!(client.about().instance_uuid, None);
    let log = log.lock().unwrap();
    let action = |at: usize| {
        let (method, request) = &log[at];
        let lower = request.to_lowercase();
        let line = lower.lines().find(|line| line.starts_with("soapaction: ")).unwrap();
        (method.clone(), line["soapaction: ".len()..].to_owned())
    };
    assert_eq!(action(0), ("RetrieveServiceContent".into(), "\"urn:vim25/6.5\"".into()));
    assert_eq!(action(1), ("Login".into(), "\"urn:vim25/7.0.3.0\"".into()));
}

#[tokio::test]
async fn a_wait_goes_on_from_the_version_of_the_last_answer() {
    let turn = Mutex::new(0);
    let (client, log) = client(move |method, _| match method {
        "WaitForUpdatesEx" => {
            let mut turn = turn.lock().unwrap();
            *turn += 1;
            match *turn {
                1 => update("v1", "enter", "queued"),
                2 => String::new(), // nothing happened within the time
                3 => update("v2", "modify", "running"),
                _ => update("v3", "modify", "success"),
            }
        }
        "RetrievePropertiesEx" => task_info(SUCCESS),
        _ => String::new(),
    })
    .await;
    client.remove_snapshot(&snapshot()).await.unwrap();
    let log = log.lock().unwrap();
    let versions: Vec<_> = log
        .iter()
        .filter(|(method, _)| method == "WaitForUpdatesEx")
        .map(|(_, request)| request.split("version>").nth(1).unwrap().trim_end_matches("</"))
        .collect();
    assert_eq!(versions, ["", "v1", "v1", "v2"]);
    assert_eq!(log.last().map(|(method, _)| method.as_str()), Some("RetrievePropertiesEx"));
    assert!(log.iter().any(|(method, _)| method == "DestroyPropertyCollector"));
}

/// A forgotten task must not look as if the snapshot were gone: the caller would not remove it.
#[tokio::test]
async fn a_forgotten_task_is_not_a_removed_snapshot() {
    let (by_read, _) = client(|method, _| match method {
        "WaitForUpdatesEx" => update("v1", "enter", "success"),
        "RetrievePropertiesEx" => task_info(GONE),
        _ => String::new(),
    })
    .await;
    let (by_update, _) = client(|method, _| match method {
        "WaitForUpdatesEx" => update("v1", "leave", ""),
        _ => String::new(),
    })
    .await;
    for client in [by_read, by_update] {
        let error = client.remove_snapshot(&snapshot()).await.unwrap_err();
        assert!(matches!(error, VsphereError::TaskLost { .. }), "{}", told(&error));
        assert_eq!(error.kind(), ErrorKind::Retryable);
    }
}

#[tokio::test]
async fn a_snapshot_without_a_reference_is_nonsense() {
    let (client, _) = client(|method, _| match method {
        "WaitForUpdatesEx" => update("v1", "enter", "success"),
        "RetrievePropertiesEx" => task_info(SUCCESS),
        _ => String::new(),
    })
    .await;
    let vm = MoRef::new("VirtualMachine", "vm-1");
    let error = client.create_snapshot(&vm, "s", "", false).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misbehaved, "{}", told(&error));
}

/// Pages of one VM each: a whole one, one that went away meanwhile, one that cannot be read.
#[tokio::test]
async fn all_pages_are_read_and_one_bad_vm_fails_nothing() {
    let vm = |at: u32, inside: &str, token: &str| {
        format!(
            "<returnval>{token}<objects><obj type=\"VirtualMachine\">vm-{at}</obj>{inside}\
             </objects></returnval>"
        )
    };
    let (client, log) = client(move |method, request| match method {
        "RetrievePropertiesEx" => vm(1, "", "<token>t&amp;1</token>"),
        "ContinueRetrievePropertiesEx" if request.contains("<token>t&amp;1</token>") => {
            let gone = GONE.replace("Task", "VirtualMachine").replace("task-1", "vm-2");
            vm(2, &gone, "<token>t2</token>")
        }
        "ContinueRetrievePropertiesEx" => {
            let name = "<propSet><name>name</name><val>bad</val></propSet>";
            let odd = "<propSet><name>snapshot</name><val><rootSnapshotList/></val></propSet>";
            vm(3, &format!("{name}{odd}"), "")
        }
        _ => String::new(),
    })
    .await;
    let vms = client.vms().await.unwrap();
    let names: Vec<_> = vms.iter().map(|vm| vm.name.as_str()).collect();
    assert_eq!(names, ["vm-1", "bad"]);
    assert!(vms[1].problems.iter().any(|line| line.contains("snapshot tree")), "{:?}", vms[1]);
    assert!(log.lock().unwrap().iter().any(|(method, _)| method == "DestroyView"));
}
