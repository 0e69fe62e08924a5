//! The requests, pure: each function writes one method's arguments in WSDL order.

use crate::wire::{MoRef, WireError, Writer};

/// A method with its envelope, ready to be sent.
pub(crate) struct Request {
    /// Name of the method, for errors and logs.
    pub(crate) method: &'static str,
    /// The envelope. Never logged: that of Login holds the password.
    pub(crate) body: Result<Vec<u8>, WireError>,
    /// False for methods that change something: these are sent once or not at all.
    pub(crate) repeatable: bool,
}

fn request(
    method: &'static str,
    this: &MoRef,
    repeatable: bool,
    arguments: impl FnOnce(&mut Writer),
) -> Request {
    let mut writer = Writer::method(method, this);
    arguments(&mut writer);
    Request { method, body: writer.finish(), repeatable }
}

pub(crate) fn retrieve_service_content() -> Request {
    let this = MoRef::new("ServiceInstance", "ServiceInstance");
    request("RetrieveServiceContent", &this, true, |_| ())
}

pub(crate) fn login(manager: &MoRef, user: &str, password: &str) -> Request {
    request("Login", manager, true, |w| {
        w.text("userName", user).text("password", password);
    })
}

pub(crate) fn logout(manager: &MoRef) -> Request {
    request("Logout", manager, true, |_| ())
}

pub(crate) fn create_container_view(manager: &MoRef, root: &MoRef, kind: &str) -> Request {
    request("CreateContainerView", manager, true, |w| {
        w.moref("container", root).text("type", kind).boolean("recursive", true);
    })
}

pub(crate) fn destroy_view(view: &MoRef) -> Request {
    request("DestroyView", view, true, |_| ())
}

/// Properties of all objects of a view.
pub(crate) fn retrieve_view(
    collector: &MoRef,
    view: &MoRef,
    kind: &str,
    paths: &[&str],
    page: u32,
) -> Request {
    request("RetrievePropertiesEx", collector, true, |w| {
        w.open("specSet", Some("PropertyFilterSpec"));
        property_set(w, kind, paths);
        w.open("objectSet", Some("ObjectSpec")).moref("obj", view).boolean("skip", true);
        w.open("selectSet", Some("TraversalSpec")).text("name", "view");
        w.text("type", "ContainerView").text("path", "view").boolean("skip", false);
        w.close().close().close();
        options(w, page);
    })
}

/// Properties of one object.
pub(crate) fn retrieve_object(collector: &MoRef, object: &MoRef, paths: &[&str]) -> Request {
    request("RetrievePropertiesEx", collector, true, |w| {
        filter_spec(w, "specSet", object, paths);
        options(w, 1);
    })
}

pub(crate) fn continue_retrieve(collector: &MoRef, token: &str) -> Request {
    request("ContinueRetrievePropertiesEx", collector, true, |w| {
        w.text("token", token);
    })
}

pub(crate) fn create_property_collector(collector: &MoRef) -> Request {
    request("CreatePropertyCollector", collector, true, |_| ())
}

pub(crate) fn destroy_property_collector(collector: &MoRef) -> Request {
    request("DestroyPropertyCollector", collector, true, |_| ())
}

pub(crate) fn create_filter(collector: &MoRef, object: &MoRef, paths: &[&str]) -> Request {
    request("CreateFilter", collector, true, |w| {
        filter_spec(w, "spec", object, paths);
        w.boolean("partialUpdates", false);
    })
}

/// `version`: empty for the first question, then that of the last answer.
pub(crate) fn wait_for_updates(collector: &MoRef, version: &str, max_wait: u32) -> Request {
    request("WaitForUpdatesEx", collector, true, |w| {
        w.text("version", version);
        w.open("options", Some("WaitOptions")).number("maxWaitSeconds", max_wait).close();
    })
}

pub(crate) fn enable_change_tracking(vm: &MoRef) -> Request {
    request("ReconfigVM_Task", vm, false, |w| {
        w.open("spec", Some("VirtualMachineConfigSpec"));
        w.boolean("changeTrackingEnabled", true).close();
    })
}

/// Without memory: it costs time and space, and a backup does not restore it.
pub(crate) fn create_snapshot(vm: &MoRef, name: &str, description: &str, quiesce: bool) -> Request {
    request("CreateSnapshot_Task", vm, false, |w| {
        w.text("name", name).text("description", description);
        w.boolean("memory", false).boolean("quiesce", quiesce);
    })
}

pub(crate) fn remove_snapshot(snapshot: &MoRef) -> Request {
    request("RemoveSnapshot_Task", snapshot, false, |w| {
        w.boolean("removeChildren", false).boolean("consolidate", true);
    })
}

pub(crate) fn consolidate(vm: &MoRef) -> Request {
    request("ConsolidateVMDisks_Task", vm, false, |_| ())
}

pub(crate) fn query_changed_areas(
    vm: &MoRef,
    snapshot: &MoRef,
    disk_key: i32,
    start: u64,
    change_id: &str,
) -> Request {
    request("QueryChangedDiskAreas", vm, true, |w| {
        w.moref("snapshot", snapshot).number("deviceKey", disk_key);
        w.number("startOffset", start).text("changeId", change_id);
    })
}

pub(crate) fn export_snapshot(snapshot: &MoRef) -> Request {
    request("ExportSnapshot", snapshot, false, |_| ())
}

pub(crate) fn export_vm(vm: &MoRef) -> Request {
    request("ExportVm", vm, false, |_| ())
}

pub(crate) fn lease_progress(lease: &MoRef, percent: u8) -> Request {
    request("HttpNfcLeaseProgress", lease, true, |w| {
        w.number("percent", percent);
    })
}

pub(crate) fn lease_complete(lease: &MoRef) -> Request {
    request("HttpNfcLeaseComplete", lease, false, |_| ())
}

/// `reason` stands in the server's task list.
pub(crate) fn lease_abort(lease: &MoRef, reason: &str) -> Request {
    request("HttpNfcLeaseAbort", lease, true, |w| {
        w.open("fault", None).open("fault", Some("SystemError")).text("reason", reason).close();
        w.text("localizedMessage", reason).close();
    })
}

pub(crate) fn lease_manifest(lease: &MoRef) -> Request {
    request("HttpNfcLeaseGetManifest", lease, true, |_| ())
}

/// Where vCenter keeps what backup products use and the public interface lacks.
const INTERNAL: &str = "urn:internalvim25";

/// `source` names who disables; only the same name enables again.
pub(crate) fn disable_method(
    manager: &MoRef,
    vm: &MoRef,
    method: &str,
    reason: &str,
    source: &str,
) -> Request {
    let mut w = Writer::method_in(INTERNAL, "DisableMethods", manager);
    w.moref("entity", vm).open("method", None);
    w.text("method", method).text("reasonId", reason).close();
    w.text("sourceId", source);
    Request { method: "DisableMethods", body: w.finish(), repeatable: false }
}

/// Enabling what is enabled already changes nothing.
pub(crate) fn enable_method(manager: &MoRef, vm: &MoRef, method: &str, source: &str) -> Request {
    let mut w = Writer::method_in(INTERNAL, "EnableMethods", manager);
    w.moref("entity", vm).text("method", method).text("sourceId", source);
    Request { method: "EnableMethods", body: w.finish(), repeatable: true }
}

fn filter_spec(w: &mut Writer, name: &'static str, object: &MoRef, paths: &[&str]) {
    w.open(name, Some("PropertyFilterSpec"));
    property_set(w, object.kind(), paths);
    w.open("objectSet", Some("ObjectSpec")).moref("obj", object).boolean("skip", false);
    w.close().close();
}

fn property_set(w: &mut Writer, kind: &str, paths: &[&str]) {
    w.open("propSet", Some("PropertySpec")).text("type", kind).boolean("all", false);
    for path in paths {
        w.text("pathSet", path);
    }
    w.close();
}

fn options(w: &mut Writer, page: u32) {
    w.open("options", Some("RetrieveOptions")).number("maxObjects", page).close();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is inside the method's element, after `_this`.
    fn arguments(request: Request) -> String {
        let text = String::from_utf8(request.body.unwrap()).unwrap();
        let (_, rest) = text.split_once("</_this>").unwrap();
        let end = format!("</{}></soapenv:Body></soapenv:Envelope>", request.method);
        rest.strip_suffix(&end).unwrap().to_owned()
    }

    /// The order is that of the WSDL, which servers insist on and the simulator does not check.
    #[test]
    fn arguments_stand_in_the_order_of_the_wsdl() {
        let vm = MoRef::new("VirtualMachine", "vm-1");
        let snapshot = MoRef::new("VirtualMachineSnapshot", "s-1");
        let other = MoRef::new("X", "x");
        assert_eq!(
            arguments(query_changed_areas(&vm, &snapshot, 2000, 512, "52 a/1")),
            "<snapshot type=\"VirtualMachineSnapshot\">s-1</snapshot><deviceKey>2000</deviceKey>\
             <startOffset>512</startOffset><changeId>52 a/1</changeId>"
        );
        assert_eq!(
            arguments(create_snapshot(&vm, "n", "d", true)),
            "<name>n</name><description>d</description><memory>false</memory>\
             <quiesce>true</quiesce>"
        );
        assert_eq!(
            arguments(remove_snapshot(&snapshot)),
            "<removeChildren>false</removeChildren><consolidate>true</consolidate>"
        );
        assert_eq!(
            arguments(enable_change_tracking(&vm)),
            "<spec xsi:type=\"VirtualMachineConfigSpec\">\
             <changeTrackingEnabled>true</changeTrackingEnabled></spec>"
        );
        assert_eq!(
            arguments(wait_for_updates(&other, "", 30)),
            "<version></version><options xsi:type=\"WaitOptions\">\
             <maxWaitSeconds>30</maxWaitSeconds></options>"
        );
        assert_eq!(
            arguments(disable_method(&other, &vm, "RelocateVM_Task", "r", "s")),
            "<entity type=\"VirtualMachine\">vm-1</entity><method>\
             <method>RelocateVM_Task</method><reasonId>r</reasonId></method><sourceId>s</sourceId>"
        );
        assert_eq!(
            arguments(enable_method(&other, &vm, "RelocateVM_Task", "s")),
            "<entity type=\"VirtualMachine\">vm-1</entity>\
             <method>RelocateVM_Task</method><sourceId>s</sourceId>"
        );
        assert_eq!(arguments(lease_progress(&other, 7)), "<percent>7</percent>");
        assert_eq!(
            arguments(lease_abort(&other, "r")),
            "<fault><fault xsi:type=\"SystemError\"><reason>r</reason></fault>\
             <localizedMessage>r</localizedMessage></fault>"
        );
        assert_eq!(
            arguments(login(&other, "u", "p")),
            "<userName>u</userName><password>p</password>"
        );
    }

    #[test]
    fn filters_name_properties_before_objects() {
        let vm = MoRef::new("VirtualMachine", "vm-1");
        let other = MoRef::new("X", "x");
        let properties = "<propSet xsi:type=\"PropertySpec\"><type>VirtualMachine</type>\
             <all>false</all><pathSet>name</pathSet><pathSet>config.uuid</pathSet></propSet>";
        let one = "<objectSet xsi:type=\"ObjectSpec\"><obj type=\"VirtualMachine\">vm-1</obj>\
             <skip>false</skip></objectSet>";
        let paths = ["name", "config.uuid"];
        assert_eq!(
            arguments(create_filter(&other, &vm, &paths)),
            format!(
                "<spec xsi:type=\"PropertyFilterSpec\">{properties}{one}</spec>\
                 <partialUpdates>false</partialUpdates>"
            )
        );
        assert_eq!(
            arguments(retrieve_object(&other, &vm, &paths)),
            format!(
                "<specSet xsi:type=\"PropertyFilterSpec\">{properties}{one}</specSet>\
                 <options xsi:type=\"RetrieveOptions\"><maxObjects>1</maxObjects></options>"
            )
        );
        let view = "<objectSet xsi:type=\"ObjectSpec\"><obj type=\"X\">x</obj><skip>true</skip>\
             <selectSet xsi:type=\"TraversalSpec\"><name>view</name><type>ContainerView</type>\
             <path>view</path><skip>false</skip></selectSet></objectSet>";
        let all = arguments(retrieve_view(&other, &other, "VirtualMachine", &paths, 50));
        assert!(all.contains(&format!("{properties}{view}</specSet>")), "{all}");
    }
}
